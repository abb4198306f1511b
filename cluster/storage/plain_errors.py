"""What the storage libraries raise, said in one sentence that names the file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.errors import (
    ChangedFileError,
    ForbiddenError,
    GaveUpError,
    MissingFileError,
    OtherVersionError,
    StorageError,
    UnreachableError,
)
from cluster.os_errors import OF_THE_MACHINE
from cluster.storage.location import Location

_LIBRARIES = {"botocore", "aiobotocore", "aiohttp", "gcsfs", "google"}


@contextmanager
def said_plainly(action: str, url: Location) -> Iterator[None]:
    """Turn what the storage library raises into one sentence.

    Raises:
        MissingFileError, ForbiddenError, UnreachableError, ChangedFileError, StorageError: as the names say.
    """
    try:
        yield
    except FileNotFoundError:
        raise MissingFileError(f"{os.fspath(url)}: no such file or bucket") from None
    except PermissionError as error:
        raise ForbiddenError(f"{os.fspath(url)}: not allowed to {action} it ({_one_line(error)})") from None
    except GaveUpError as error:
        raise UnreachableError(f"{os.fspath(url)}: can't {action} it: {_one_line(error)}") from error
    except OtherVersionError:
        raise ChangedFileError(changed(url)) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
            raise UnreachableError(f"{os.fspath(url)}: can't {action} it: {_one_line(error)}") from error
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] in _LIBRARIES:
            raise StorageError(f"{os.fspath(url)}: can't {action} it: {_one_line(error)}") from error
        raise


def changed(url: Location) -> str:
    """What is said of a file that was replaced."""
    return f"{os.fspath(url)}: expected the version that was there before, found another"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
