"""Multi-modal alignment: balanced pairs, and the ceiling that nobody can beat."""

from pathlib import Path

import pytest
import torch

from pipeline.evaluate.measures.alignment import Alignment
from pipeline.evaluate.measures.contract import Judged, Table
from pipeline.evaluate.registry import AlignmentSettings
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.tasks.mma import MultiModalAlignment
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.tasks.task import System
from pipeline.train.load import Trained, untrained
from tiny_run import located_rows, tiny_experiment, write_shards


def align(url: str, task: MmaSettings, system: System | None = None) -> Table:
    """The table of a model with random weights."""
    settings = tiny_experiment().model_copy(update={"task": task})
    evaluate = EvaluateSettings(batch_size=16)
    samples = EvaluationSamples.open(url, settings, evaluate, torch.device("cpu"))
    trained = Trained(system or untrained(settings, "cpu", 0), settings, 1, "run")
    assert Alignment.reason_against(trained, samples) is None
    measure = Alignment(AlignmentSettings(), Judged(trained, samples, None, evaluate))
    (table,) = measure.tables([measure.judge(chunk) for chunk in samples.go_through(samples.chunks(measure.group))])
    return table


def figure(table: Table, row: str, column: str = "accuracy") -> float | None:
    return next(one.values[column] for one in table.rows if one.name == row)


def test_each_sound_comes_once_with_its_frame_and_once_with_another(located_shards: str) -> None:
    table = align(located_shards, MmaSettings(group=4))
    assert table.samples == 12
    assert table.details["pairs"] == 24
    accuracy, ceiling = figure(table, "model"), figure(table, "ceiling")
    assert accuracy is not None
    assert ceiling is not None
    assert 0 <= accuracy <= 1
    assert 0.5 <= ceiling < 1  # some neighbours show the same two instruments
    assert figure(table, "guessing") == 0.5


def test_negatives_that_never_show_the_sound_can_all_be_told(located_shards: str) -> None:
    table = align(located_shards, MmaSettings(group=4, negatives="unlike"))
    assert figure(table, "ceiling") == 1.0
    assert 0 < table.details["pairs"] <= 24


def test_silence_and_noise_are_shown_with_every_frame(located_shards: str) -> None:
    """A head that says match to all calls silence one, and one that says so to none does not."""
    system = untrained(tiny_experiment(), "cpu", 0)
    assert isinstance(system.task, MultiModalAlignment)
    for bias, share, accuracy in ((50.0, 1.0, 0.5), (-50.0, 0.0, 0.5), (float("nan"), 0.0, 0.0)):
        with torch.no_grad():
            system.task.head.bias.copy_(torch.tensor([-bias, bias]))
        table = align(located_shards, MmaSettings(), system)
        called = [figure(table, row, "match") for row in ("silence", "noise as loud as the sound")]
        assert (*called, figure(table, "model")) == (share, share, accuracy)
        assert table.details["not_finite"] == (0 if accuracy else 24 + 12 + 12)
        assert len(table.warnings) == (0 if accuracy else 1)


def test_the_same_seed_gives_the_same_pairs(located_shards: str) -> None:
    assert align(located_shards, MmaSettings(group=4)) == align(located_shards, MmaSettings(group=4))


def test_a_single_sample_gives_no_pairs(tmp_path_factory: pytest.TempPathFactory) -> None:
    url = write_shards(tmp_path_factory.mktemp("single") / "shards", located_rows(1))
    table = align(url, MmaSettings())
    assert (figure(table, "model"), figure(table, "ceiling"), table.details["pairs"]) == (None, None, 0)
    assert table.headlines == ()


def test_what_an_objective_takes_beside_a_model_of_sound_is_nothing_that_the_model_sees(tmp_path: Path) -> None:
    settings = tiny_experiment()
    url = write_shards(tmp_path / "data", located_rows(2))
    samples = EvaluationSamples.open(url, settings, EvaluateSettings(), torch.device("cpu"))
    trained = Trained(untrained(settings, "cpu", 0), settings, 1, "run")
    trained.system.inputs = ("sound",)
    assert set(samples.inputs) == {"frames", "sound"}
    reason = Alignment.reason_against(trained, samples)
    assert reason == "the model hears no sound beside something else, it takes sound"
