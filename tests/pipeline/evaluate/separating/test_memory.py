"""What is held of a video that is taken apart does not grow with its length."""

import gc
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.evaluate.separating.places import places_asked
from pipeline.evaluate.separating.separate import separate
from pipeline.evaluate.separating.windows import Windows
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.sound.channels import Float
from sounding_video import low_and_high, write_video
from tiny_run import tiny_separator, write_run

SECONDS, PICTURES_A_SECOND, SIZE = 25, 5, (640, 360)
PICTURE_BYTES = SIZE[0] * SIZE[1] * 3 // 2


@pytest.fixture
def uncollected() -> Iterator[None]:
    """The garbage collector hides what goes only when it comes: between its visits, hundreds of pictures."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def resident_bytes() -> int:
    """Of this process, without files."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon:"))


def held_frames() -> int:
    return sum(isinstance(one, (av.VideoFrame, av.AudioFrame)) for one in gc.get_objects())


@pytest.mark.usefixtures("uncollected")
def test_a_long_video_takes_no_more_memory_than_its_beginning(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tiny_separator())
    low, high = low_and_high(SECONDS, 8000, 1)
    times = [number / PICTURES_A_SECOND for number in range(PICTURES_A_SECOND * SECONDS)]
    video = write_video(tmp_path / "in.mkv", low + high, rate_hz=8000, times_s=times, size=SIZE)
    others, resident, frames = held_frames(), dict[int, int](), dict[int, int]()

    def look(doing: str, done: float, total: float) -> None:
        if doing == "separating" and int(done) % 5 == 0:
            resident[int(done)], frames[int(done)] = resident_bytes(), held_frames() - others

    separate(
        str(video),
        run,
        str(tmp_path / "out"),
        EvaluateSettings(geometry="squash"),
        places_asked(["0.2,0.5"], [], None, False),
        overlay_s=2.0,
        on_progress=look,
    )
    assert max(resident) >= SECONDS - 5
    assert max(frames.values()) <= 16
    begin, end = resident[10], max(level for second, level in resident.items() if second > 10)
    assert end - begin < 20 * PICTURE_BYTES  # 75 pictures lie between them


def test_windows_far_apart_hold_no_sound_between_them() -> None:
    piece, pieces = 10_000, 400
    windows = Windows(starts=[0, 15_000, 39_900], steps=32, samples=3200, hop=100, count=40_001, rate_hz=8000)

    def sound() -> Iterator[Float]:
        for number in range(pieces):
            yield np.arange(number * piece, (number + 1) * piece, dtype=np.float32)[None]

    tracemalloc.start()
    cut = list(windows.cut(sound()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 4 * piece
    for start, one in zip(windows.starts, cut, strict=True):
        np.testing.assert_array_equal(one[0], np.arange(start * 100, start * 100 + 3200, dtype=np.float32))
    assert windows.middle_s(1) == Fraction(1_501_600, 8000)
