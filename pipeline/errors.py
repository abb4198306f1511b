"""Errors of the pipeline that a user can cause; the base class is `cluster.errors.UserError`."""

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.errors import UserError
from cluster.masking import mask_urls


class SettingsError(UserError):
    """A settings file or override that can't be understood."""


class ManifestError(UserError):
    """A list of videos with a wrong row, or none at all."""


class ShardSetError(UserError):
    """A shard set that is missing, unfinished, damaged or made with other settings."""


class RunError(UserError):
    """A run folder that is missing, or made with other settings."""


class CheckpointError(UserError):
    """A checkpoint that is missing, torn or does not fit the model."""


class MediaError(UserError):
    """A video that can't be turned into samples.

    Attributes:
        reason: one word of `pipeline.reasons`, for the ledger.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # survives the way between processes
        return (type(self), (self.reason, str(self)))


@contextmanager
def of_video(source: str) -> Iterator[None]:
    """Have what is wrong with a video in this block name it."""
    try:
        yield
    except MediaError as error:
        raise MediaError(error.reason, naming(source, str(error))) from error


def naming(source: str, message: str) -> str:
    """A sentence about a video as one that names it, and no secret of its URL; those of storage do so already."""
    return mask_urls(message if message.startswith(f"{source}: ") else f"{source}: {message}")


class BenchmarkError(UserError):
    """Maps or a list of a benchmark that can't be judged."""


class SynthError(UserError):
    """A synthetic world that can't be rendered where it was asked for."""
