"""Loading decord without NVIDIA's libraries, and hearing what the FFmpeg in it complains about.

decord2 opens every CUDA library that it finds among the installed packages when it is imported, which with torch on
board takes 600 MB and a second, although its CPU build uses none of them. So they are hidden from it while it loads.

Where data is damaged, FFmpeg patches the picture from its neighbours and only logs an error; decord hands the patched
picture out like any other. So the log of its FFmpeg is listened to.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_missing = object()
_nvidia = sys.modules.get("nvidia", _missing)
# None in sys.modules makes importlib find nothing of that name
sys.modules["nvidia"] = None  # type: ignore[assignment]  # typeshed leaves out that None is allowed
try:
    import decord
finally:
    del sys.modules["nvidia"]
    if isinstance(_nvidia, ModuleType):
        sys.modules["nvidia"] = _nvidia

decord.logging.set_level(decord.logging.QUIET)  # what fails comes back as an exception

_LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class Complaints:
    """What FFmpeg logs while decord is listened to.

    Attributes:
        count: errors since listening began.
    """

    def __init__(self) -> None:
        self.count = 0

    def hear(self, context: int | None, level: int, text: bytes, arguments: int | None) -> None:
        """FFmpeg's log callback."""
        self.count += level <= decord.logging.ERROR


_complaints = Complaints()
# kept for good: a thread of decord's may be about to call it when listening ends
_callback = _LogCallback(_complaints.hear)


def _ffmpeg() -> ctypes.CDLL | None:
    found = list((Path(decord.__file__).parents[1] / "decord2.libs").glob("libavutil-*"))
    return ctypes.CDLL(str(found[0])) if len(found) == 1 else None


_libavutil = _ffmpeg()
can_be_heard = _libavutil is not None
"""False where decord was built another way than its wheels for Linux, with its FFmpeg elsewhere."""


@contextmanager
def listening() -> Iterator[Complaints]:
    """Count what the FFmpeg in decord complains about; only where it `can_be_heard`."""
    assert _libavutil is not None
    _complaints.count = 0
    _libavutil.av_log_set_callback(_callback)
    try:
        yield _complaints
    finally:
        _libavutil.av_log_set_callback(_libavutil.av_log_default_callback)


__all__ = ["Complaints", "can_be_heard", "decord", "listening"]
