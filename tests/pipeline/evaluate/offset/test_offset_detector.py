"""By how much sound and picture are apart: what the detector finds, and where it says that it can't tell."""

from pathlib import Path

import numpy as np
import pytest
import torch

from moved_sound import with_sound_later, write_movers
from pipeline.errors import MediaError
from pipeline.evaluate.offset.by_model import apart_of
from pipeline.evaluate.offset.detector import Apart, find_offset
from pipeline.evaluate.offset.judge import judge_video
from pipeline.evaluate.offset.onsets import HOP_S, Onsets
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason

RANGE_S = 2.0
SURE = 0.9


@pytest.fixture(scope="module")
def movers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_movers(tmp_path_factory.mktemp("movers"), 3)


def judged(path: Path) -> tuple[Apart | None, float]:
    found = judge_video(VideoRow(path.stem, str(path)), PrepareSettings(), RANGE_S, str(path))
    return found.apart, found.within_s


def onsets(seen_s: list[float], heard_s: list[float], seconds: float = 20.0) -> Onsets:
    """A picture of one cell that changes at some times, and a sound that begins at others."""
    times_s = np.arange(1, round(seconds * 25)) / 25
    picture, sound = np.zeros((2, len(times_s))), np.zeros(round(seconds / HOP_S))
    picture[:, np.searchsorted(times_s, seen_s)] = 1
    sound[[round(time / HOP_S) for time in heard_s]] = 1
    return Onsets(sound, picture, times_s, 1 / 25)


def test_what_moves_as_it_sounds_tells_by_how_much_the_sound_was_moved(movers: list[Path], tmp_path: Path) -> None:
    told = 0
    for path, by_s in zip(
        [one for one in movers if not one.stem.endswith("c")], (0, 0.4, -0.7, 1.3, -1.6, 0.1), strict=True
    ):
        moved = with_sound_later(path, tmp_path / path.name, by_s)
        apart, frame_s = judged(moved)
        assert apart is not None
        assert apart.every_s is None
        assert apart.offset_s == pytest.approx(by_s, abs=frame_s)
        told += apart.confidence >= SURE
    assert told >= 4


def test_it_cannot_tell_of_what_sounds_off_the_screen(movers: list[Path]) -> None:
    for path in movers:
        if path.stem.endswith("c"):
            apart, _ = judged(path)
            assert apart is None or apart.confidence < SURE


def test_one_cut_and_one_bang_are_a_coincidence() -> None:
    apart = find_offset(onsets([7.0], [7.4]), RANGE_S)
    assert apart is None or apart.confidence < SURE
    many = np.cumsum(np.random.default_rng(0).uniform(0.4, 1.6, 15))
    apart = find_offset(onsets(list(many), list(many + 0.4)), RANGE_S)
    assert apart is not None
    assert apart.confidence >= SURE
    assert apart.offset_s == pytest.approx(0.4, abs=0.05)


def test_onsets_that_have_nothing_to_do_with_each_other_are_hardly_ever_told() -> None:
    random, told = np.random.default_rng(1), 0
    for _ in range(40):
        seen, heard = (np.cumsum(random.uniform(0.3, 1.6, 18)) for _ in range(2))
        apart = find_offset(onsets(list(seen[seen < 19]), list(heard[heard < 19])), RANGE_S)
        told += apart is not None and apart.confidence >= SURE
    assert told <= 1


def test_a_rhythm_is_told_with_its_period_and_the_least_of_its_offsets() -> None:
    beats = np.arange(1.0, 18.5, 0.8)
    for by_s, expected_s in ((0.2, 0.2), (-0.3, -0.3), (0.7, -0.1), (1.6, 0.0)):
        heard = beats + by_s
        apart = find_offset(onsets(list(beats), list(heard[heard < 19.5])), RANGE_S)
        assert apart is not None
        assert apart.confidence >= SURE
        assert apart.every_s == pytest.approx(0.8, abs=0.02)
        assert apart.offset_s == pytest.approx(expected_s, abs=0.05)


def test_a_rhythm_in_the_picture_alone_says_nothing() -> None:
    beats = np.arange(1.0, 18.5, 0.8)
    heard = np.cumsum(np.random.default_rng(3).uniform(0.3, 2, 14))
    apart = find_offset(onsets(list(beats), list(heard[heard < 19])), RANGE_S)
    assert apart is None or apart.confidence < SURE


def test_what_is_still_silent_or_shorter_than_the_range_cannot_be_told() -> None:
    assert find_offset(onsets([], [1, 2, 3.3]), RANGE_S) is None
    assert find_offset(onsets([1, 2, 3.3], []), RANGE_S) is None
    with pytest.raises(MediaError, match=r"expected 4 s or more.*±2 s \(--range\), found 3.90 s") as short:
        find_offset(onsets([1, 2, 3.3], [1, 2, 3.3], seconds=3.9), RANGE_S)
    assert short.value.reason == Reason.TOO_SHORT


@pytest.mark.parametrize("by_s", [0.0, 0.2, -0.31])
def test_a_test_pattern_of_a_ball_and_beeps_is_told_to_a_frame(corpus: Path, tmp_path: Path, by_s: float) -> None:
    moved = with_sound_later(corpus / "videos/energon_sync_test.mp4", tmp_path / "moved.mp4", by_s)
    apart, frame_s = judged(moved)
    assert apart is not None
    assert apart.confidence >= SURE
    assert apart.every_s == pytest.approx(1.0, abs=0.02)
    assert apart.offset_s == pytest.approx(by_s, abs=frame_s)


def test_a_model_s_class_of_a_later_sound_is_a_sound_that_comes_early() -> None:
    offsets_s = (-0.4, 0.0, 0.4)
    logits = torch.tensor([[0.0, 1.0, 9.0], [0.0, 0.0, 9.0]])
    apart = apart_of(logits, offsets_s)
    assert apart.offset_s == pytest.approx(-0.4)
    assert apart.confidence == pytest.approx(0.9995, abs=5e-4)
    assert apart_of(logits.flip(1), offsets_s).offset_s == pytest.approx(0.4)
    assert apart_of(torch.zeros(3, 3), offsets_s).confidence == pytest.approx(1 / 3)
