"""Multi-modal alignment: balanced pairs, and the ceiling that nobody can beat."""

import pytest
import torch
from tiny_run import located_rows, tiny_experiment, write_shards

from pipeline.evaluate.measures.alignment import MmaResult, evaluate_alignment
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.stream.settings import DataSettings
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.train.load import untrained


def align(url: str, task: MmaSettings) -> tuple[MmaResult, int]:
    settings = tiny_experiment()
    samples = EvaluationSamples(url, settings.features, EvaluateSettings(), torch.device("cpu"))
    seen: list[int] = []
    result = evaluate_alignment(untrained(settings, "cpu", 0), samples, task, DataSettings(), 0, 16, seen.append)
    return result, sum(seen)


def test_each_sound_comes_once_with_its_frame_and_once_with_another(located_shards: str) -> None:
    result, seen = align(located_shards, MmaSettings(group=4))
    assert seen == 12
    assert result["pairs"] == 24
    assert result["accuracy"] is not None
    assert 0 <= result["accuracy"] <= 1
    assert result["ceiling"] is not None
    assert 0.5 <= result["ceiling"] < 1  # some neighbours show the same two instruments


def test_negatives_that_never_show_the_sound_can_all_be_told(located_shards: str) -> None:
    result, _ = align(located_shards, MmaSettings(group=4, negatives="unlike"))
    assert result["ceiling"] == 1.0
    assert 0 < result["pairs"] <= 24


def test_silence_and_noise_are_shown_with_every_frame(located_shards: str) -> None:
    """A head that says match to all calls silence one, and one that says so to none does not."""
    settings = tiny_experiment()
    samples = EvaluationSamples(located_shards, settings.features, EvaluateSettings(), torch.device("cpu"))
    system = untrained(settings, "cpu", 0)
    for bias, share, accuracy in ((50.0, 1.0, 0.5), (-50.0, 0.0, 0.5), (float("nan"), 0.0, 0.0)):
        with torch.no_grad():
            system.task.head.bias.copy_(torch.tensor([-bias, bias]))
        result = evaluate_alignment(system, samples, MmaSettings(), DataSettings(), 0, 16, lambda done: None)
        assert (result["silence"], result["noise"], result["accuracy"]) == (share, share, accuracy)
        assert result["not_finite"] == (0 if accuracy else 24 + 12 + 12)


def test_the_same_seed_gives_the_same_pairs(located_shards: str) -> None:
    assert align(located_shards, MmaSettings(group=4)) == align(located_shards, MmaSettings(group=4))


def test_a_single_sample_gives_no_pairs(tmp_path_factory: pytest.TempPathFactory) -> None:
    url = write_shards(tmp_path_factory.mktemp("single") / "shards", located_rows(1))
    result, _ = align(url, MmaSettings())
    assert (result["accuracy"], result["ceiling"], result["pairs"]) == (None, None, 0)
