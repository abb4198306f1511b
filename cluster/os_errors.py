"""What the operating system says is wrong, as words of a sentence, and whose fault it is."""

import errno

OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
"""The place where something is written is full or may not be written, whatever is written."""
OF_THE_MACHINE = {errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.ENOMEM}
"""No fault of the file that was opened or read: too many are open, memory is short, a disk or server has failed."""


def why(error: OSError) -> str:
    """What the system says is wrong, without number and name: the sentence around it names the file."""
    return error.strerror or " ".join(str(error).split()) or type(error).__name__
