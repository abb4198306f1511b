"""Errors of the machines, and the base of every error that a user can cause."""

from cluster.exit_codes import IN_USE, WRONG_INPUT


class UserError(Exception):
    """Wrong input. The message is one sentence that names the file, the setting or the row, what was expected and
    what was found. The command prints it without a traceback and ends with its exit code.

    Attributes:
        exit_code: with which a process ends that met it.
        said_by_main: the job's main process has the same error and says it.
    """

    exit_code = WRONG_INPUT
    said_by_main = False


class StorageError(UserError):
    """A path or URL that can't be read or written."""


class MissingFileError(StorageError):
    """There is no such file."""


class ForbiddenError(StorageError):
    """The file or bucket is there, but may not be read or written."""


class ChangedFileError(StorageError):
    """The file was replaced: the version that was asked for is no longer there."""


class UnreachableError(StorageError):
    """The storage failed for longer than patience lasts; nothing is known about the file."""


class WorkerPoolError(UserError):
    """The worker pool can't be reached or started."""


class LaunchError(UserError):
    """A rank of a launched job failed to start or ended with an error."""


class JobError(UserError):
    """A submitted job that can't be found, started or changed."""


class VariableError(UserError):
    """An environment variable that can't be understood."""


class InUseError(UserError):
    """Somebody else holds what only one may write at a time."""

    exit_code = IN_USE


class GaveUpError(OSError):
    """A request failed for longer than patience lasts."""


class OtherVersionError(OSError):
    """An object is there, in another version than was asked for."""


class AfterTheEndError(OSError):
    """An object has no byte where one was asked for."""


class CutOffError(ConnectionError):
    """Fewer bytes came than were announced."""


class NotOnceError(OSError):
    """A server that writes an object although it is there, or does not know how not to."""
