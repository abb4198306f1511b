"""Separation: mixtures of two samples, of which each is sought again by what is seen."""

import json
import math

import pytest
import torch

from objectives import OBJECTIVES
from pipeline.evaluate.measures.contract import Judged
from pipeline.evaluate.measures.separation import Separation
from pipeline.evaluate.registry import SeparationSettings
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.tasks.mix_and_separate_settings import MixAndSeparateSettings
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.train.load import Trained, untrained
from tiny_run import NAMES, RATE_HZ, located_rows, tiny_experiment, write_shards


@pytest.fixture(scope="module")
def various_shards(tmp_path_factory):
    """Frames with the one instrument that sounds, with two, and with all."""
    rows = located_rows(16)
    for number, row in enumerate(rows):
        row["visible"] = (row["labels"], row["labels"], row["visible"], list(NAMES))[number % 4]
    return write_shards(tmp_path_factory.mktemp("various") / "shards", rows)


def experiment(**task):
    settings = MixAndSeparateSettings.model_validate({"group": 4, "widths": [8, 16], "pool": "mean"} | task)
    return tiny_experiment().model_copy(update={"task": settings})


def measure_of(url, settings, system=None, batch_size=16):
    evaluate = EvaluateSettings(batch_size=batch_size)
    samples = EvaluationSamples.open(url, settings, evaluate, torch.device("cpu"))
    trained = Trained(system or untrained(settings, "cpu", 0).eval(), settings, 1, "run")
    assert Separation.reason_against(trained, samples) is None
    return Separation(SeparationSettings(), Judged(trained, samples, None, evaluate)), samples


def separate(*args, **words):
    measure, samples = measure_of(*args, **words)
    chunks = samples.go_through(samples.chunks(measure.group))
    return measure.tables([measure.judge(as_tones(chunk)) for chunk in chunks])


def as_tones(chunk):
    """The chunk with sounds that masks can take apart: two partials each, all of different pitch."""
    sound = chunk.shown.inputs["sound"]
    time_s = torch.arange(sound.shape[-1]) / RATE_HZ
    for place, index in enumerate(chunk.shown.indices):
        pitch = 150 * 1.22**index
        sound[place] = 0.3 * (torch.sin(2 * math.pi * pitch * time_s) + torch.sin(5.2 * math.pi * pitch * time_s))
    return chunk


def rows_of(table):
    return {row.name: row for row in table.rows}


def test_the_mixture_gains_nothing_and_ideal_masks_gain_most(various_shards):
    for table in separate(various_shards, experiment()):
        rows = rows_of(table)
        assert rows["the mixture itself"].values["gain"] == 0
        ideal = rows["ideal binary mask"].values
        assert ideal["share"] == 1
        for name in ("model", "click on the source", "a wrong frame"):
            assert rows[name].values["gain"] < ideal["gain"]
            assert rows[name].values["sdr"] < ideal["sdr"]
        assert {name: row.kind for name, row in rows.items()} == {
            "model": "model",
            "the other not in sight": "readout",
            "click on the source": "readout",
            "two in one frame, by place": "readout",
            "a wrong frame": "control",
            "no frame": "control",
            "two in one frame, the other's place": "control",
            "the mixture itself": "control",
            "ideal binary mask": "ceiling",
            "ideal ratio mask": "ceiling",
        }
        assert all(row.values["sounds"] for row in table.rows)


def test_sounds_of_different_classes_are_judged_apart(located_shards):
    different, everything = separate(located_shards, experiment())
    assert (different.measure, everything.measure) == ("separation", "separation_any")
    assert 0 < different.samples < everything.samples <= 12
    assert len(different.headlines) == 1
    assert not everything.headlines


def test_pairs_with_a_duet_are_judged_apart_from_those_of_solos(tmp_path):
    rows = located_rows(16)
    for row in rows[::4]:
        row["labels"] = [*row["labels"], *(name for name in NAMES if name not in row["labels"])][:2]
    tables = {table.measure: table for table in separate(write_shards(tmp_path / "shards", rows), experiment())}
    assert list(tables) == ["separation", "separation_solos", "separation_duets", "separation_any"]
    solos, duets = (tables[f"separation_{which}"].samples for which in ("solos", "duets"))
    assert solos > 0
    assert duets > 0
    assert solos + duets == tables["separation"].samples
    assert [len(table.headlines) for table in tables.values()] == [1, 0, 0, 0]


def test_poses_are_shown_wrong_alone_and_not_at_all(tmp_path):
    objective = OBJECTIVES["separate_and_classify"]
    words = [*objective.words(), f"task.classes={json.dumps(list(NAMES))}", f"features.audio_rate_hz={RATE_HZ}"]
    settings = load_settings(None, ExperimentSettings, words).settings
    rows = [row | {"visible": row["labels"]} for row in located_rows(8)]
    measure, samples = measure_of(write_shards(tmp_path / "shards", rows), settings)
    shown, find = [], measure._task.frame_masks
    measure._task.frame_masks = lambda model, inputs: shown.append(inputs) or find(model, inputs)
    (chunk,) = samples.go_through(samples.chunks(measure.group))
    torch.manual_seed(0)
    chunk.shown.inputs["keypoints"][:] = torch.rand_like(chunk.shown.inputs["keypoints"])
    found = measure.judge(chunk)
    assert {"the pose without a frame", "the frame without a pose"} <= found.sought[0].found.keys()
    own, wrong, nothing, alone, blind, mixed_up = shown
    assert not any(values.any() for values in (nothing["frames"], nothing["keypoints"], alone["frames"]))
    assert torch.equal(alone["keypoints"], own["keypoints"])
    assert torch.equal(blind["frames"], own["frames"])
    assert not blind["keypoints"].any()
    assert torch.equal(mixed_up["keypoints"], wrong["keypoints"])
    assert not torch.equal(mixed_up["keypoints"], own["keypoints"][: len(mixed_up["keypoints"])])


def test_where_nobody_knows_what_sounds_any_two_are_mixed(unlabelled_shards):
    (table,) = separate(unlabelled_shards, experiment())
    assert table.measure == "separation_any"
    assert table.samples == 8  # of nine
    assert "1 samples are silent or had no other video to be mixed with" in table.notes
    assert "click on the source" not in rows_of(table)
    assert len(table.headlines) == 1


def test_figures_hang_on_nothing_but_the_samples(located_shards):
    system = untrained(experiment(), "cpu", 0).eval()
    one, other = (separate(located_shards, experiment(), system, batch_size=size) for size in (16, 3))
    for ours, theirs in zip(one, other, strict=True):
        for name, row in rows_of(ours).items():
            assert row.values == pytest.approx(rows_of(theirs)[name].values, rel=1e-3, abs=1e-3)


def test_pairs_are_the_same_whatever_else_is_judged_and_by_whichever_process(various_shards):
    system = untrained(experiment(), "cpu", 0).eval()

    def judge(*shares):
        """What is found by a process for each share of the chunks, in order of the chunks."""
        sought, left_out = [], 0
        for chunks in shares:
            measure, samples = measure_of(various_shards, experiment(), system)
            assert all(chunk.start % measure.group == 0 for chunk in chunks)
            found = [measure.judge(as_tones(chunk)) for chunk in samples.go_through(chunks)]
            sought += [one for mixed in found for one in mixed.sought]
            left_out += sum(mixed.left_out for mixed in found)
        return sought, left_out

    whole, left_out = judge([range(16)])  # as where a measure needs groups of 16
    assert len(whole) == 16
    for parts in ([[range(8), range(8, 16)]], [[range(8)], [range(8, 16)]]):
        sought, also_left_out = judge(*parts)
        assert also_left_out == left_out == 0
        assert [one.disjoint for one in sought] == [one.disjoint for one in whole]
        for ours, theirs in zip(sought, whole, strict=True):
            assert list(ours.found) == list(theirs.found)
            for row, figures in ours.found.items():
                assert figures == pytest.approx(theirs.found[row], rel=1e-3, abs=1e-3)


def test_masks_of_the_model_are_what_is_judged(located_shards, monkeypatch):
    """One that keeps all gains nothing; by one that keeps what the ideal mask keeps the row is the ideal's."""
    measure, samples = measure_of(located_shards, experiment())
    chunk = next(iter(samples.go_through(samples.chunks())))
    monkeypatch.setattr(measure._task, "frame_masks", lambda model, inputs: torch.ones(len(inputs["sound"]), 32, 32))
    found = measure.tables([measure.judge(chunk)])
    for table in found:
        assert rows_of(table)["model"].values["gain"] == pytest.approx(0, abs=1e-3)


def test_the_first_mixtures_can_be_played_place_by_place(located_shards):
    measure, samples = measure_of(located_shards, experiment())
    found = [measure.judge(as_tones(chunk)) for chunk in samples.go_through(samples.chunks())]
    (file,) = [json.loads(content)["samples"] for content in measure.files(found).values()]
    assert len(file) == 4
    for entry in file:
        names = [sound["title"].removesuffix(" alone") for sound in entry["sounds"]]
        assert set(names) <= set(NAMES)
        assert [view["title"] for view in entry["views"]] == [f"frame of {name}" for name in names]
        for view in entry["views"]:
            assert len(view["sound_of"]) == view["rows"] * view["columns"] == 16
            assert all(0 <= share <= 1 for share in view["kept"])
    by_tokens, _ = measure_of(located_shards, experiment(head="audio"))
    assert by_tokens.files([by_tokens.judge(chunk) for chunk in samples.go_through(samples.chunks())]) == {}


def test_two_sounds_of_one_frame_are_sought_by_their_own_places_and_by_each_others(located_shards, monkeypatch):
    measure, samples = measure_of(located_shards, experiment())
    grid, asked = measure._model.grids["visual"], []

    def keep_half(model, inputs, weights):
        """Half of the mixture's bins for the own place, the others for the other's."""
        asked.append((inputs["frames"], weights))
        upper = (torch.arange(32) < 16).float().view(1, 1, 32, 1).expand(len(weights), 1, 32, 32)
        return torch.cat([upper, 1 - upper], 1)[:, : weights.shape[1]]

    monkeypatch.setattr(measure._task, "place_masks", keep_half)
    monkeypatch.setattr(measure, "_is_playable", lambda index: False)
    chunk = as_tones(next(iter(samples.go_through(samples.chunks()))))
    found = measure.judge(chunk)
    frames, weights = next(one for one in asked if one[1].shape[1] == 2)
    assert torch.equal(frames[::2], frames[1::2])  # one for both
    keys = [one.key for one in found.sought]
    own = torch.stack([chunk.shown.inputs["frames"][chunk.shown.keys.index(key)] for key in keys])
    for which, half in enumerate(frames.chunk(2, dim=-1)):
        assert (half[which::2].mean((-1, -2)) - own[which::2].mean((-1, -2))).abs().max() < 0.02
    columns = weights.unflatten(-1, grid.shape).sum((2, 3))  # [B, 2, columns]
    left = columns.chunk(2, dim=-1)[0].sum(-1)
    assert left.tolist() == [pytest.approx([1, 0]), pytest.approx([0, 1])] * (len(keys) // 2)
    by_place, by_click, crossed = (
        [one.found[name][0] for one in found.sought]
        for name in ("two in one frame, by place", "click on the source", "two in one frame, the other's place")
    )
    assert by_place == pytest.approx(by_click)
    assert by_place != pytest.approx(crossed)


def test_what_can_not_be_separated_says_why(located_shards):
    settings = tiny_experiment().model_copy(update={"task": MmaSettings(group=4)})
    samples = EvaluationSamples.open(located_shards, settings, EvaluateSettings(), torch.device("cpu"))
    trained = Trained(untrained(settings, "cpu", 0), settings, 1, "run")
    reason = Separation.reason_against(trained, samples)
    assert reason == "it needs a model that was trained by mix-and-separate, found task.kind = mma"


def test_silent_sounds_and_videos_without_another_are_left_out(tmp_path):
    one_video = write_shards(tmp_path / "one", [{"video": "v"} for _ in range(4)])
    (table,) = separate(one_video, experiment())
    assert (table.samples, table.rows) == (0, ())
    assert "there are no two sounds to be mixed" in table.notes


def test_a_head_without_places_has_no_click(located_shards):
    for table in separate(located_shards, experiment(head="audio")):
        assert "click on the source" not in rows_of(table)


def test_frames_that_show_the_other_sounds_class_are_told_from_those_that_do_not(various_shards):
    different, everything = separate(various_shards, experiment())
    for table in (different, everything):
        rows = rows_of(table)
        assert 0 < rows["the other not in sight"].values["sounds"] < rows["model"].values["sounds"]
