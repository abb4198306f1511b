from pathlib import Path

import numpy as np
import pytest

import pipeline.api as gavt
from moved_sound import with_sound_later, write_movers
from pipeline.experiment import ExperimentSettings
from pipeline.prepare.settings import KeypointSettings
from pipeline.settings.load import load_settings
from pipeline.train.load import Trained, untrained


@pytest.fixture(scope="module")
def in_sync(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_movers(tmp_path_factory.mktemp("movers"), 1)[0]


@pytest.fixture(scope="module")
def late(in_sync: Path) -> Path:
    """Its sound comes 0.9 s late."""
    return with_sound_later(in_sync, in_sync.parent / "late.mp4", 0.9)


def test_an_offset_is_told_without_a_model(late: Path) -> None:
    found = gavt.offset(late)
    assert found.offset_s == pytest.approx(0.9, abs=found.within_s)
    assert found.confidence > 0.9


def test_nothing_is_told_where_nothing_changes() -> None:
    tone = 0.5 * np.sin(np.arange(40_000) / 3)
    still = gavt.Clip(np.zeros((125, 32, 32, 3), np.uint8), tone, 8000)
    assert gavt.offset(still).offset_s is None


def test_a_model_tells_it_in_its_own_steps(in_sync: Path) -> None:
    settings = load_settings("sync_movers", ExperimentSettings).settings
    trained = Trained(untrained(settings, "cpu", 0), settings, 0, "runs/movers")
    found = gavt.Model(trained, settings.evaluate, KeypointSettings()).offset(in_sync)
    assert found.within_s == pytest.approx(0.1)
    assert 0 < found.confidence < 0.5


def test_a_wrong_range_and_a_torn_video_are_refused(late: Path, tmp_path: Path) -> None:
    with pytest.raises(gavt.SettingsError, match="within_s: expected seconds above 0, found 0"):
        gavt.offset(late, 0)
    (tmp_path / "torn.mp4").write_bytes(late.read_bytes()[:3000])
    with pytest.raises(gavt.MediaError, match=r"torn\.mp4: "):
        gavt.offset(tmp_path / "torn.mp4")
