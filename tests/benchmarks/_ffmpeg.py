"""The ffmpeg command line as a peer, and CPU time."""

import resource
import subprocess
from collections.abc import Callable

import imageio_ffmpeg

ONE_THREAD = ("-threads", "1")


def ffmpeg(*words: str) -> None:
    """Run ffmpeg on one thread for decoding, filters and encoding each; `words` begin with an input's options.

    Raises:
        RuntimeError: it failed, with what it said.
    """
    begin = (imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", "-filter_threads", "1")
    done = subprocess.run([*begin, *words], capture_output=True, text=True)
    if done.returncode or done.stderr:
        raise RuntimeError(f"ffmpeg {' '.join(words)}: {done.stderr}")


def cpu_s(work: Callable[[], object]) -> float:
    """CPU time (s, user and system) that `work` takes in this process and in those that it starts and waits for."""
    before = _used()
    work()
    return _used() - before


def _used() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
