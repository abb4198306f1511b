"""Maps that are judged as a model trains."""

import json
from functools import partial
from pathlib import Path

import pytest
import yaml

from pipeline.errors import ShardSetError
from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.measures.contract import tables_of
from pipeline.evaluate.readouts.build import one_pass_readout
from pipeline.evaluate.report.curves import draw_curves, said_of_maps
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.evaluate.training_maps import TrainingMaps
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.load import untrained
from pipeline.train.loop import train
from pipeline.train.metric_names import MAP_METRICS
from pipeline.train.records.metrics_log import read_records
from tiny_shards import FEATURES, write_shard_set

FIGURES = ("pointing", "ciou_adap", "iiou_adap")


class ToldMaps:
    """Maps of which only is noted when they are asked for."""

    def __init__(self, can_judge=True):
        self.asked, self.can = [], can_judge

    def can_judge(self):
        self.asked.append("can_judge")
        if self.can == "damaged":
            raise ShardSetError("shards/validation: a sample is damaged")
        return self.can

    def judge(self, weights, step):
        self.asked.append(step)
        return {"step": step, "validation/maps/pointing": 0.5}

    def draw(self, weights, step):
        raise AssertionError("nobody has asked for pictures")


def read(command, *words):
    return load_settings(str(command.config), ExperimentSettings, words).settings


def judged(record):
    return {name: record[f"validation/maps/{name}"] for name in FIGURES if f"validation/maps/{name}" in record}


def curve(run):
    return [
        [record.get(name) for name in ("step", "loss", "grad_norm", "validation/loss")]
        for record in read_records(run / "metrics.jsonl")
    ]


@pytest.fixture(autouse=True)
def _no_wandb(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def of_an_evaluation(run, settings):
    """The same figures of the run's last checkpoint, on the same samples."""
    chosen = settings.evaluate.model_copy(update={"readouts": ("attention",), "examples": 0})
    data = settings.data.validation
    result = evaluate(str(run), data, data, str(run / "evaluation"), chosen)
    (rows,) = [table.rows for table in tables_of(result) if table.measure == "localisation"]
    (values,) = [row.values for row in rows if row.name == "attention"]
    return {name: values[name] for name in FIGURES}


def test_validation_records_what_an_evaluation_of_the_same_weights_would_find(command, group, tmp_path):
    settings = read(command)
    maps = partial(TrainingMaps, settings, settings.evaluate)
    train(settings, str(tmp_path / "run"), group, lambda record: None, make_maps=maps)
    records = read_records(tmp_path / "run" / "metrics.jsonl")
    assert [record["step"] for record in records if judged(record)] == [6, 12]
    assert judged(records[-1]) == of_an_evaluation(tmp_path / "run", settings)
    assert records[-1]["validation/maps/samples"] == 24
    assert records[-1]["validation/maps/iiou_adap"] is None  # no image has several sounds
    never = read(command, "train.maps_judged_every=null")
    train(never, str(tmp_path / "never"), group, lambda record: None, make_maps=maps)
    assert not any(map(judged, read_records(tmp_path / "never" / "metrics.jsonl")))
    assert curve(tmp_path / "run") == curve(tmp_path / "never")  # training goes on as without it


def test_two_processes_record_the_figures_that_one_finds_of_the_same_weights(command, tmp_path):
    command.finish(tmp_path / "run", "--nproc", "2", "train.steps=6", "train.zero_stage=3")
    records = read_records(tmp_path / "run" / "metrics.jsonl")
    assert judged(records[-1]) == of_an_evaluation(tmp_path / "run", read(command))


def test_maps_are_judged_at_every_kth_validation_and_at_the_end(command, group, tmp_path):
    maps = ToldMaps()
    settings = read(command, "train.validate_every=2", "train.maps_judged_every=3", "train.steps=8")
    train(settings, str(tmp_path), group, lambda record: None, make_maps=lambda run, group: maps)
    assert maps.asked == ["can_judge", 6, 8]


@pytest.mark.parametrize("can_judge", [False, "damaged"])
def test_what_can_t_be_judged_stops_no_training(can_judge, command, group, tmp_path):
    maps = ToldMaps(can_judge)
    settings = read(command, "train.validate_every=2", "train.steps=4")
    result = train(settings, str(tmp_path), group, lambda record: None, make_maps=lambda run, group: maps)
    assert (result.step, maps.asked) == (4, ["can_judge"])
    assert not any(map(judged, read_records(tmp_path / "metrics.jsonl")))
    said = [event["reason"] for event in read_records(tmp_path / "events.jsonl") if event["event"] == "warning"]
    assert said == ([] if can_judge is False else ["maps are not judged: shards/validation: a sample is damaged"])


def test_where_no_boxes_are_known_nothing_is_judged(command, group, tmp_path):
    folder = write_shard_set(tmp_path / "unlabelled", 8, known={"boxes": None})
    for words, can in (([f"data.validation={folder}"], False), (["train.maps_judged_samples=5"], True)):
        settings = read(command, *words)
        maps = TrainingMaps(settings, settings.evaluate, tmp_path, group)
        assert maps.can_judge() is can
    weights = untrained(settings, "cpu", 0).state_dict()
    assert maps.judge(weights, 7)["validation/maps/samples"] == 5


def test_maps_are_watched_by_a_readout_of_one_pass(command, tmp_path):
    assert one_pass_readout(EvaluateSettings(), untrained(read(command), "cpu", 0)) == "attention"
    bases = [str(Path(f"configs/{name}.yaml").resolve()) for name in ("models/towers_mini", "tasks/dense_contrastive")]
    (tmp_path / "towers.yaml").write_text(yaml.safe_dump({"base": bases, "features": FEATURES}))
    towers = load_settings(str(tmp_path / "towers.yaml"), ExperimentSettings, []).settings
    assert one_pass_readout(EvaluateSettings(), untrained(towers, "cpu", 0)) == "similarity"


def records_of(*shares, name="iiou_adap", samples=200):
    return [
        {"step": 100 * number, f"validation/maps/{name}": share, "validation/maps/samples": samples}
        for number, share in enumerate(shares, 1)
    ]


def test_the_report_says_where_maps_were_best_when_they_end_clearly_worse():
    said = said_of_maps(records_of(0.2, 0.7, 0.65, 0.4))
    assert said is not None
    assert said.startswith("Maps were best at step 200 and are worse at the end: maps: iiou adap was 70 % and is 40 %")
    assert "at step 400" in said
    assert said_of_maps(records_of(0.2, 0.7, 0.65)) is None  # within what chance does to 100 images
    assert said_of_maps(records_of(0.2, 0.7, 0.5, samples=20)) is None
    assert said_of_maps(records_of(0.2, 0.4, 0.7)) is None
    assert "maps: pointing" in str(said_of_maps(records_of(0.9, 0.5, name="pointing")))
    assert said_of_maps([{"step": 1, "loss": 0.5}]) is None


def test_figures_of_maps_have_curves_beside_the_tasks():
    drawn = draw_curves(json.loads(json.dumps(records_of(0.2, None, 0.4))), MAP_METRICS)
    assert [caption for caption, _ in drawn] == ["Maps: iiou adap"]
