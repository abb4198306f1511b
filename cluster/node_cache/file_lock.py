"""Files locked by one process at a time; a lock goes with the process that holds it."""

import fcntl
import os
import time

_LONGEST_NAP_S = 0.01


def lock(file: int, limit_s: float) -> bool:
    """Lock an open file as its only user; whether that was possible within a time, for who holds it may be stopped."""
    end, nap_s = time.monotonic() + limit_s, 0.0002
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(nap_s)
            nap_s = min(_LONGEST_NAP_S, nap_s * 1.5)
        else:
            return True


def remove_if_nobodys(path: str) -> bool:
    """Remove a file that nobody has locked; whether it is gone."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_nlink == 0:
            return False  # its owner removed it meanwhile; what has its name now is another's
        os.unlink(path)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True
