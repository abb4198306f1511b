"""What is seen and what is heard in each segment, told apart."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from label_head import row

from moving_shards import PICTURES, write_moving_set
from objectives import OBJECTIVES
from pipeline.evaluate.measures.contract import Judged
from pipeline.evaluate.measures.seen_and_heard import Apart, SeenAndHeard
from pipeline.evaluate.registry import SeenAndHeardSettings
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.load import Trained, untrained

SEEN = [["drum"], ["click", "drum"], *[[]] * (PICTURES - 2)]


def trained_with(weight: float, tmp_path: Path) -> Trained:
    """A model of as many segments as the set has; untrained."""
    (tmp_path / "empty.yaml").write_text("")
    task = {"kind": "events", "classes": ["click", "drum"], "segments": PICTURES, "apart_weight": weight}
    segments = [f"{name}={PICTURES}" for name in ("model.segments", "features.frames")]
    words = [*OBJECTIVES["surest_event"].words(), *segments, "features.audio_samples=8190", f"task={json.dumps(task)}"]
    settings = load_settings(str(tmp_path / "empty.yaml"), ExperimentSettings, words).settings
    return Trained(untrained(settings, "cpu", 0), settings, 0, "run")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of its samples it is said what is seen, not what is heard."""
    return str(write_moving_set(tmp_path_factory.mktemp("moving"), 4, 0, segment_visible=SEEN))


def measure_on(url: str, trained: Trained) -> SeenAndHeard:
    settings = EvaluateSettings(batch_size=3)
    samples = EvaluationSamples.open(url, trained.settings, settings, torch.device("cpu"))
    assert SeenAndHeard.reason_against(trained, samples) is None
    return SeenAndHeard(SeenAndHeardSettings(), Judged(trained, samples, None, settings))


def test_each_has_a_row_of_the_samples_that_say_it(shards: str, tmp_path: Path) -> None:
    measure = measure_on(shards, trained_with(1.0, tmp_path))
    samples = measure.judged.samples
    found = [measure.judge(chunk) for chunk in samples.go_through(samples.chunks())]
    (table,) = measure.tables(found)
    assert [(one.name, one.kind) for one in table.rows] == [
        ("seen", "model"),
        ("seen: the same of all segments", "control"),
    ]
    (one,) = found
    assert one.there["seen"].shape == one.scores["seen"].shape == (4, PICTURES, 2)
    assert one.there["seen"][0, :2].tolist() == [[False, True], [True, True]]
    chunk = next(samples.go_through(samples.chunks()))
    with torch.no_grad():
        task, model = measure.judged.trained.system.task, measure.judged.trained.system.model
        told = task.tell_apart(model.embed(chunk.shown.inputs))["seen"]
    np.testing.assert_allclose(one.scores["seen"], told.numpy(), atol=1e-5)


def test_figures_are_by_hand(shards: str, tmp_path: Path) -> None:
    measure = measure_on(shards, trained_with(1.0, tmp_path))
    there = np.array([[[1, 0], [1, 0], [0, 1], [0, 0]]], bool)
    scores = np.array([[[2, -1], [-1, -2], [-3, 3], [-2, -4]]], np.float32)
    (table,) = measure.tables([Apart({"seen": there, "heard": there[:0]}, {"seen": scores, "heard": scores[:0]})])
    assert row(table, "seen") == pytest.approx({"balanced": ((0.5 + 1) / 2 + 1) / 2, "mean_precision": 1})
    assert row(table, "seen: the same of all segments")["balanced"] == 0.5


def test_without_heads_it_says_what_it_needs(shards: str, tmp_path: Path) -> None:
    trained = trained_with(0.0, tmp_path)
    samples = EvaluationSamples.open(shards, trained.settings, EvaluateSettings(), torch.device("cpu"))
    assert (
        SeenAndHeard.reason_against(trained, samples) == "it needs heads of what is seen and heard, task.apart_weight"
    )
