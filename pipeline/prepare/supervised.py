"""What is wrong with a video, in the ledger's words, whatever decoding it comes to."""

from collections.abc import Callable
from typing import TypeVar

import av

from cluster import storage
from cluster.errors import StorageError, UserError
from cluster.isolation import ProcessLost
from pipeline.errors import MediaError
from pipeline.prepare.settings import LimitSettings
from pipeline.reasons import Reason

R = TypeVar("R")

_MOST_CRASHES = 2  # a process can die of what an earlier video did to it, so the last word is a fresh one's
_MOST_KILLS = 3  # and somebody who kills processes at random rarely meets the same video three times
_LIMITS = {
    "timeout": ", which prepare.limits.deadline_s and deadline_s_per_gb allow",
    "memory": ", which prepare.limits.memory_mb allows",
}


def supervised(decode: Callable[[], R]) -> R:
    """What `decode` gives, which decodes one video, in a process of its own perhaps (`cluster.isolation`).

    Raises:
        MediaError: whatever is wrong with the video.
        UserError: what is not its fault.
    """
    crashes = kills = 0
    while True:
        try:
            return decode()
        except ProcessLost as error:
            crashes += error.fate == "crash"
            kills += error.fate == "killed"
            if (error.fate == "crash" and crashes < _MOST_CRASHES) or (error.fate == "killed" and kills < _MOST_KILLS):
                continue
            reason = Reason.MEMORY if error.fate == "killed" else Reason(error.fate)
            raise MediaError(reason, f"{error}{_LIMITS.get(error.fate, '')}") from error
        except UserError:
            raise
        except av.FFmpegError as error:
            raise MediaError(Reason.DAMAGED, f"decoding it failed: {error.strerror}") from error
        except Exception as error:  # a complaint about this file must not end the work on thousands of others
            said = f"decoding raised {type(error).__name__}: {' '.join(str(error).split())}"
            raise MediaError(Reason.ERROR, said) from error


def deadline_s(place: str, limits: LimitSettings) -> float:
    """Longest time (s) that a video may take, by its size."""
    try:
        size = storage.size(place)
    except StorageError:
        size = 0  # decoding finds out what is wrong with it
    return limits.deadline_s + limits.deadline_s_per_gb * size / 1e9
