"""A decoded frame becomes upright as its display matrix says, with square pixels."""

import gc
import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from barcode_video import write_video
from media_patches import remux, set_matrix
from pipeline.video.frames import read_moments
from pipeline.video.upright import SQUARE, Display, display_of
from pipeline.video.video_file import open_video

Pixels = npt.NDArray[np.uint8]
# numbers a, b, c, d of the matrix → what it does to a picture (ISO 14496-12, y downwards)
MATRICES: dict[tuple[float, float, float, float], Callable[[Pixels], Pixels]] = {
    (1, 0, 0, 1): lambda picture: picture,
    (0, 1, -1, 0): lambda picture: np.rot90(picture, -1),  # clockwise
    (-1, 0, 0, -1): lambda picture: picture[::-1, ::-1],
    (0, -1, 1, 0): lambda picture: np.rot90(picture),
    (-1, 0, 0, 1): lambda picture: picture[:, ::-1],
    (1, 0, 0, -1): lambda picture: picture[::-1],
    (0, 1, 1, 0): lambda picture: picture.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda picture: picture[::-1, ::-1].transpose(1, 0, 2),
    # twice as large, and twice as wide: sizes are the encoder's business
    (2, 0, 0, 2): lambda picture: picture,
    (0, 2, -1, 0): lambda picture: np.rot90(picture, -1),
    # not by quarter turns: the nearest
    (math.cos(0.5), math.sin(0.5), -math.sin(0.5), math.cos(0.5)): lambda picture: picture,
    (math.cos(1.2), math.sin(1.2), -math.sin(1.2), math.cos(1.2)): lambda picture: np.rot90(picture, -1),
    (-math.cos(0.3), math.sin(0.3), math.sin(0.3), math.cos(0.3)): lambda picture: picture[:, ::-1],
    # flat: none
    (0, 0, 0, 0): lambda picture: picture,
    (1, 0, 0, 0): lambda picture: picture,
    (0, 1, 0, 0): lambda picture: picture,
    (1, 1, 1, 1): lambda picture: picture,
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_video(tmp_path_factory.mktemp("upright") / "a.mp4", 0.4).read_bytes()


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_display_matrix_turns_and_mirrors(
    matrix: tuple[float, float, float, float], plain: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(plain)
    set_matrix(path, *matrix)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    pixels = frame.to_ndarray(format="rgb24")
    display = display_of(frame)
    upright = MATRICES[matrix](pixels)
    np.testing.assert_array_equal(display.upright(pixels), upright)
    assert display.sideways == (upright.shape[:2] == pixels.shape[1::-1])
    assert display.moves_pixels == (not np.array_equal(upright, pixels))


def test_a_frame_that_was_looked_at_goes_without_the_garbage_collector(plain: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(plain)
    set_matrix(path, 0, 1, -1, 0)
    gc.collect()
    gc.disable()
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                assert display_of(frame).turns == 3
            del frame
        assert not any(isinstance(one, av.VideoFrame) for one in gc.get_objects())
    finally:
        gc.enable()


@pytest.mark.parametrize("turns", [0, 1])
@pytest.mark.parametrize("aspect", [SQUARE, Fraction(2), Fraction(1, 2), Fraction(16, 11)])
@pytest.mark.parametrize("most_rows", [50, 1000])
def test_sizes_have_square_pixels_and_are_never_enlarged(aspect: Fraction, turns: int, most_rows: int) -> None:
    wide, high = Display(turns, pixel_aspect=aspect).scaled_size(280, 160, most_rows)
    assert wide / high == 280 * aspect / 160
    assert (wide if turns else high) <= most_rows
    assert wide <= 280
    assert high <= 160
    # as large as these allow
    assert (wide if turns else high) == most_rows or wide == 280 or high == 160


def test_a_pixel_aspect_that_changes_counts_from_its_frame_on(tmp_path: Path) -> None:
    how = {"audio_codec": "aac", "options": {"x264-params": "keyint=30:bframes=2:scenecut=0"}}
    parts = [
        write_video(tmp_path / f"{number}.ts", 2, pixel_aspect=aspect, start_s=2.2 * number, **how)
        for number, aspect in enumerate((SQUARE, Fraction(2), Fraction(4, 3)))
    ]
    path = tmp_path / "all.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_video(str(path)) as video:
        wanted = [Fraction(number, 10) + Fraction(1, 50) for number in range(2, 63)]
        found = [frame for _, frame in read_moments(video, wanted) if frame is not None]
    aspects = [aspect for aspect, _ in itertools.groupby(frame.display.pixel_aspect for frame in found)]
    assert aspects == [SQUARE, Fraction(2), Fraction(4, 3)]
    changes = [
        float(later.time_s)
        for earlier, later in itertools.pairwise(found)
        if earlier.display.pixel_aspect != later.display.pixel_aspect
    ]
    assert changes == pytest.approx([2.2, 4.4], abs=0.2)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_what_the_container_says_of_the_whole_track_counts(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"plain-{name}", 1, pixel_aspect=SQUARE)
    stretched = remux(tmp_path / name, "-i", str(path), "-aspect", "7:2")
    with open_video(str(stretched)) as video:
        (_, frame), *_ = read_moments(video, [Fraction(1, 2)])
    assert frame is not None
    assert frame.display.pixel_aspect == 2
