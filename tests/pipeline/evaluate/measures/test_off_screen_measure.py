"""Whether the model knows that nothing visible sounds."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.evaluate.measures.contract import Judged, Row, Table
from pipeline.evaluate.measures.off_screen import OffScreenMeasure
from pipeline.evaluate.registry import OffScreenSettings
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel, Tokens
from pipeline.tasks.mma import MultiModalAlignment
from pipeline.train.load import Trained, untrained
from tiny_run import located_rows, tiny_experiment, write_shards

SURE = 3.0


class Knowing(MultiModalAlignment):
    """Says of each pair what `answer` says, of samples of which each has a level of sound and of light of its own."""

    answer = "own"

    def match(self, model: AudioVisualModel, embedded: Tokens) -> Tensor:
        if self.answer == "nan":
            return torch.full((len(embedded[AUDIO]),), torch.nan)
        heard, seen = embedded[AUDIO].flatten(), embedded[VISUAL].flatten()
        return torch.where(heard == seen, SURE, -SURE)


class Levels(torch.nn.Module):
    """Tokens: a hash of the first sample of the sound that belongs to a frame, and of the frame."""

    def __init__(self, own: dict[float, float]) -> None:
        super().__init__()
        self.own = own

    def embed(self, inputs: dict[str, Tensor]) -> Tokens:
        found: Tokens = {}
        if "sound" in inputs:
            found[AUDIO] = inputs["sound"].double().sum((1, 2))[:, None, None]
        if "frames" in inputs:
            keys = inputs["frames"].double().sum((1, 2, 3, 4)).tolist()
            found[VISUAL] = torch.tensor([self.own[key] for key in keys])[:, None, None].double()
        return found


def judge(url: str, validation: str | None = None, answer: str = "own") -> list[Table]:
    settings = tiny_experiment()
    evaluate = EvaluateSettings(batch_size=8)
    samples = EvaluationSamples.open(url, settings, evaluate, torch.device("cpu"))
    choosing = None if validation is None else EvaluationSamples.open(validation, settings, evaluate, samples.device)
    system = untrained(settings, "cpu", 0)
    own: dict[float, float] = {}
    for split in (samples, choosing):
        for chunk in [] if split is None else split.go_through(split.chunks(8)):
            keys = chunk.shown.inputs["frames"].double().sum((1, 2, 3, 4)).tolist()
            own |= dict(zip(keys, chunk.shown.inputs["sound"].double().sum((1, 2)).tolist(), strict=True))
    system.task = Knowing(settings.task, system.model)  # type: ignore[arg-type]  # multi-modal alignment's own settings
    system.task.answer = answer
    system.model = Levels(own)  # type: ignore[assignment]  # embeds is all that is asked of it
    trained = Trained(system, settings, 1, "run")
    assert OffScreenMeasure.reason_against(trained, samples) is None
    measure = OffScreenMeasure(OffScreenSettings(), Judged(trained, samples, choosing, evaluate))
    if choosing is not None:
        measure.chosen([measure.choose(chunk) for chunk in choosing.go_through(choosing.chunks(measure.group))])
    return measure.tables([measure.judge(chunk) for chunk in samples.go_through(samples.chunks(measure.group))])


def row(table: Table, name: str) -> Row:
    return next(one for one in table.rows if one.name == name)


@pytest.fixture(scope="module")
def validation(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("validation") / "shards", located_rows(16), seed=5)


def test_a_model_that_knows_its_own_sounds_tells_all_of_them(located_shards: str, validation: str) -> None:
    table, sweep = judge(located_shards, validation)
    assert table.rows[0].values == {"auroc": 1.0, "told": 1.0, "found": 1.0, "false_alarms": 0.0}
    assert {one.name for one in table.rows if one.kind == "readout"} == {
        "against silence", "against noise as loud as the sound", "against another's sound",
    }  # fmt: skip
    assert 0 < table.details["threshold"] < 1
    assert "chosen on the validation split" in table.notes[0]
    chosen = next(one for one in sweep.rows if one.kind == "model")
    assert chosen.values["found"] == 1.0
    found = [one.values["found"] or 0.0 for one in sweep.rows]
    assert found == sorted(found, reverse=True)
    assert max(found) == 1.0


def test_loudness_alone_tells_silence_but_not_noise_as_loud(located_shards: str, validation: str) -> None:
    table, _ = judge(located_shards, validation)
    louder = row(table, "loudness of the sound alone").values["auroc"]
    assert louder is not None
    assert 0.55 < louder < 0.95


def test_answers_that_are_no_number_count_as_the_lowest_and_are_told(located_shards: str) -> None:
    table, _ = judge(located_shards, answer="nan")
    assert table.rows[0].values["auroc"] == 0.5
    assert "not finite" in table.warnings[0]
    assert "for want of a validation split" in table.notes[0]


def test_samples_that_the_data_says_are_off_screen_count_as_absent(tmp_path: Path) -> None:
    rows = located_rows(16)
    for one in rows[:4]:
        one |= {"labels": ["organ"], "visible": ["violin"]}
    rows[4] |= {"labels": [], "visible": ["violin"]}
    table, _ = judge(write_shards(tmp_path / "shards", rows))
    assert table.samples == 11
    given = row(table, "against sounds that the data says are off-screen or silent")
    assert given.values["auroc"] == 0.5  # this model knows only whose sound it is
