"""Why a video gave no samples: the words of the ledger."""

from enum import Enum


class Reason(str, Enum):
    """One word a failed row of the ledger; every one is produced somewhere in `pipeline.prepare`."""

    MISSING = "missing"
    """There is no file at the source."""
    FORBIDDEN = "forbidden"
    """The file is there, but may not be read."""
    UNREACHABLE = "unreachable"
    """It could not be fetched, and may be another time: the server failed, was too slow or asked to wait too long."""
    UNREADABLE = "unreadable"
    """Not a media file: empty, a folder, text, or cut off before its header."""
    NO_VIDEO = "no_video"
    """No video track, or only a cover picture."""
    NO_AUDIO = "no_audio"
    """No audio track."""
    SILENT = "silent"
    """The audio around every wanted frame is quieter than `prepare.silence_dbfs`."""
    TOO_SHORT = "too_short"
    """Shorter than `prepare.min_clip_s`, or than what one sample needs; or its audio is shorter than one window, or is
    not there where the frames are: it begins later, ends before or has a hole."""
    DAMAGED = "damaged"
    """It opens, but no wanted frame with its audio could be decoded; or its parts can't be told from each other: clocks
    that don't start again together, files behind each other."""
    SHAPE_CHANGES = "shape_changes"
    """Clips only: in the middle of each of them the picture becomes wider or narrower, so one clip can't show it."""
    TOO_LARGE = "too_large"
    """It is larger than `fetch.max_gb`, or unpacks to more."""
    TIMEOUT = "timeout"
    """Decoding took longer than its deadline (`prepare.limits.deadline_s`)."""
    MEMORY = "memory"
    """Decoding took more memory than `prepare.limits.memory_mb`."""
    CRASH = "crash"
    """The process that decoded it died, twice."""
    ERROR = "error"
    """Decoding raised something that nobody expected: a fault of gavt or of a library, which the message names."""

    @property
    def transient(self) -> bool:
        """Whether the same video may work another time, on another machine or with other limits."""
        return self in (Reason.UNREACHABLE, Reason.TIMEOUT, Reason.MEMORY, Reason.CRASH)

    def __str__(self) -> str:
        return self.value
