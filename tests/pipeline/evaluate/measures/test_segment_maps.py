"""Where each segment sounds, by a model that knows it."""

import json
from pathlib import Path

import pytest
import torch
from label_head import row
from torch import Tensor, nn

from moving_shards import PICTURES, write_moving_set
from objectives import OBJECTIVES
from pipeline.evaluate.measures.contract import Judged
from pipeline.evaluate.measures.segment_maps import SegmentMaps
from pipeline.evaluate.registry import SegmentMapsSettings
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.load import Trained, untrained

SOUNDING = {1: (0, 3), 5: (2, 0), PICTURES - 1: (3, 2)}
"""Row and column, of 4×4 cells, of what sounds in some segments."""
BOXES = [
    [(cell[1] / 4, cell[0] / 4, (cell[1] + 1) / 4, (cell[0] + 1) / 4)] if (cell := SOUNDING.get(segment)) else []
    for segment in range(PICTURES)
]


class Knowing(nn.Module):
    """Sounds look at what sounds, or beside it."""

    def __init__(self, beside: int) -> None:
        super().__init__()
        self.beside = beside

    def forward(self, encoded: Tensor, sounds: Tensor) -> Tensor:
        batch, segments, places, _ = encoded.shape
        side = round(places**0.5)
        looked = encoded.new_full((segments, side, side), 1 / places)
        for segment, (down, right) in SOUNDING.items():
            cells = side // 4
            looked[segment] = 0
            at = (right + self.beside) % 4
            looked[segment, down * cells : (down + 1) * cells, at * cells : (at + 1) * cells] = 1 / cells**2
        return looked.flatten(1).expand(batch, -1, -1)


def measure_on(folder: Path) -> SegmentMaps:
    task = {"kind": "events", "classes": ["click", "drum"], "segments": PICTURES}
    segments = [f"{name}={PICTURES}" for name in ("model.segments", "features.frames")]
    words = [*OBJECTIVES["surest_event"].words(), *segments, "features.audio_samples=8190", f"task={json.dumps(task)}"]
    settings = load_settings(None, ExperimentSettings, words).settings
    trained = Trained(untrained(settings, "cpu", 0), settings, 0, "run")
    evaluate = EvaluateSettings(batch_size=3, map_size=64)
    samples = EvaluationSamples.open(str(folder), settings, evaluate, torch.device("cpu"))
    assert SegmentMaps.reason_against(trained, samples) is None
    return SegmentMaps(SegmentMapsSettings(), Judged(trained, samples, None, evaluate))


def judged(measure: SegmentMaps) -> object:
    samples = measure.judged.samples
    (table,) = measure.tables([measure.judge(chunk) for chunk in samples.go_through(samples.chunks())])
    return table


@pytest.fixture(scope="module")
def located(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving_set(tmp_path_factory.mktemp("located"), 4, 0, segment_boxes=BOXES)


def test_who_knows_it_points_at_every_segment_and_who_looks_beside_at_none(located: Path) -> None:
    measure = measure_on(located)
    measure.judged.trained.system.model.co_attention = Knowing(0)
    table = judged(measure)
    assert table.samples == 4 * len(SOUNDING)
    assert row(table, "model") == pytest.approx({"pointing": 1, "ciou_adap": 1, "half": 1}, abs=0.05)
    assert row(table, "oracle ceiling")["pointing"] == 1
    assert row(table, "centre disc") == {"pointing": 0, "ciou_adap": 0, "half": 0.5}
    measure.judged.trained.system.model.co_attention = Knowing(2)
    assert row(judged(measure), "model") == pytest.approx({"pointing": 0, "ciou_adap": 0, "half": 0}, abs=0.05)


def test_a_network_without_training_is_beside_itself(located: Path) -> None:
    """The model is that network, and all sounds are of one label, so that there are no others."""
    table = judged(measure_on(located))
    assert row(table, "model") == row(table, "untrained network")
    assert "shuffled audio" not in [one.name for one in table.rows]
    assert table.notes[-1] == "shuffled audio is left out: for some samples there is no sound of other labels"


def test_what_has_no_boxes_or_looks_at_no_place_is_said(tmp_path: Path) -> None:
    folder = write_moving_set(tmp_path / "shards", 1, 0)
    measure = measure_on(folder)
    assert judged(measure).notes == ("no sample has boxes of its segments",)
    settings = load_settings(None, ExperimentSettings, OBJECTIVES["classification"].words()).settings
    reason = SegmentMaps.reason_against(Trained(untrained(settings, "cpu", 0), settings, 0, "run"), None)
    assert reason == "it needs visual tokens that lie by time, row, column, and one of audio for each of their times"
