"""Streams of a sample that are found by small networks, which learnt on frozen embeddings."""

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.errors import SettingsError
from pipeline.evaluate.embeddings import Known
from pipeline.evaluate.measures.contract import Judged
from pipeline.evaluate.measures.match_heads import Matched, MatchHeads, Pairs, train_heads
from pipeline.evaluate.measures.retrieval_head import Found, RetrievalHead
from pipeline.evaluate.published import with_published
from pipeline.evaluate.registry import RetrievalHeadSettings
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.load import Trained, untrained
from tiny_run import NAMES, tiny_experiment, write_shards

CPU = torch.device("cpu")
STREAMS = ("visual", "pose", "audio")
NINE = [
    *("visual_to_pose", "visual_to_audio", "pose_to_visual", "pose_to_audio", "audio_to_visual", "audio_to_pose"),
    *("visual+pose_to_audio", "visual+audio_to_pose", "pose+audio_to_visual"),
]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A TriBERT and its samples, in whose place vectors are made up below."""
    url = write_shards(tmp_path_factory.mktemp("head") / "test", [{}] * 2)
    task = "task={kind: classification, classes: [violin, drum], streams: [visual, pose, audio]}"
    sections = load_settings("configs/models/tribert_mini.yaml", ExperimentSettings, [task]).settings
    sections = sections.model_dump(mode="json") | {"data": {"train": "lessons", "workers": 0}}
    sections["features"] |= {"audio_rate_hz": 8000, "audio_samples": 4095, "stft_frame": 254, "stft_hop": 64}
    settings, evaluate = ExperimentSettings.model_validate(sections), EvaluateSettings()
    samples = EvaluationSamples.open(url, settings, evaluate, CPU)
    return Judged(Trained(untrained(settings, "cpu", 3), settings, 1, "run"), samples, samples, evaluate)


def known(count, first=0):
    numbers = np.arange(first + 1, first + count + 1)
    scenes = np.stack([numbers, numbers, np.zeros(count, int)], 1)
    keys = [f"sample-{number}" for number in numbers]
    return Known(keys, keys, scenes, [[NAMES[number % 4]] for number in numbers])


def made_up(count, first=0):
    """Samples whose streams have numbers in common where they are encoded, and more so together; not as embedded, and
    not by an untrained network."""
    rng, own, fresh = np.random.default_rng(first), {}, {}
    shared = rng.choice([-1.0, 1.0], (count, 9))
    for stream in STREAMS:
        for stage, noise in (("embedded", None), ("encoded", 0.7), ("fused", 0.1)):
            vectors = rng.normal(size=(count, 9)) * (noise or 1) + (shared if noise else 0)
            own[f"{stage}/{stream}"] = np.hstack([vectors, rng.normal(size=(count, 3))]).astype(np.float32)
            fresh[f"{stage}/{stream}"] = rng.normal(size=(count, 12)).astype(np.float32)
    return Found(known(count, first), own, fresh)


def pairs_of(found, stage="fused", queries=("audio",), target="visual"):
    return Pairs.of([found.own[f"{stage}/{one}"] for one in queries], found.own[f"{stage}/{target}"], found.known, CPU)


def measure_of(judged, validation=True, train=None, **words):
    """One that has learnt, of three sets of samples."""
    settings = {"steps": 150, "seeds": 2, "learning_rate": 3e-3, "variants": ("audio_to_visual",), **words}
    measure = RetrievalHead(RetrievalHeadSettings(**settings), judged)
    measure.learnt([train or made_up(300)])
    if validation:
        measure.chosen([made_up(60, 300)])
    return measure


@pytest.fixture(scope="module")
def table(judged):
    """Of what has learnt, and was told when to stop."""
    (found,) = measure_of(judged).tables([made_up(80, 400)])
    return found


def rows_of(table):
    return {row.name: row.values for row in table.rows}


def test_a_logit_is_what_the_equations_say():
    rng = np.random.default_rng(0)
    visual, audio, pose = (torch.from_numpy(rng.normal(2, 3, (5, size)).astype(np.float32)) for size in (6, 4, 7))
    pairs = Pairs((visual, audio), pose, torch.zeros(5, 3, dtype=torch.int64))
    heads = MatchHeads(pairs, 8, range(2))
    weights = {name: one.detach()[1].double().numpy() for name, one in heads.named_parameters()}

    def side(name, stream):
        values = stream.double().numpy()
        values = (values - values.mean(0)) / values.std(0)
        return values @ weights[f"{name}.1.weight"] + weights[f"{name}.1.bias"]

    def layers(name, values):
        numbers = sorted({int(key.split(".")[1]) for key in weights if key.startswith(f"{name}.")})
        for number in numbers:
            values = values @ weights[f"{name}.{number}.weight"] + weights[f"{name}.{number}.bias"]
            values = values if number == numbers[-1] else np.tanh(values)
        return values

    v, a, p = side("looking.0", visual), side("looking.1", audio), side("looked_for", pose)
    softmax = np.exp(a * v) / np.exp(a * v).sum(1, keepdims=True)
    mixed = softmax * v + a
    who_looks = layers("together", mixed) + mixed
    expected = [[layers("align", (one * other)[None]).item() for other in p] for one in who_looks]
    found = Matched(heads.only(1), [visual.numpy(), audio.numpy()], pose.numpy()).alike("", "", slice(1, 4))
    np.testing.assert_allclose(found.numpy(), expected[1:4], rtol=1e-4, atol=1e-6)
    widths = [
        tuple(one.shape[1:]) for name, one in heads.named_parameters() if name.startswith("align") and one.shape[1] > 1
    ]
    assert widths == [(8, 4), (4, 2), (2, 1)]  # halves, down to one


def test_what_streams_have_in_common_is_found_and_nothing_where_they_have_nothing(table):
    rows = rows_of(table)
    assert rows["encoded together"]["first"] > 0.6
    assert rows["encoded together"]["first"] > rows["encoded alone"]["first"] > 5 / 80
    for name in ("as embedded", "untrained network, encoded together", "trained on shuffled pairs"):
        assert rows[name]["first"] < 5 / 80
    assert rows["guessing"]["first"] == pytest.approx(1 / 80)
    assert table.samples == 80


def test_the_row_model_is_a_stage_in_which_streams_have_not_seen_each_other(judged, table):
    model = table.rows[0]
    assert (model.kind, model.made_by) == ("model", "encoded alone")
    assert model.values == rows_of(table)["encoded alone"]
    assert dict(table.headlines[0].beside).keys() == {"encoded together", "encoded alone", "as embedded", "guessing"}
    (table,) = measure_of(judged, validation=False, steps=2).tables([made_up(80, 400)])
    assert "no validation split said when to stop, or which stage the row model is" in table.notes


def test_two_streams_look_together(judged):
    (table,) = measure_of(judged, variants=("visual+audio_to_pose",)).tables([made_up(80, 400)])
    assert table.title == "retrieval by a trained head, visual + audio → pose"
    assert rows_of(table)["encoded together"]["first"] > 0.4


def test_a_seed_gives_the_same_whatever_is_trained_beside_it():
    train, held_out = pairs_of(made_up(100)), pairs_of(made_up(30, 100))
    settings = {"steps": 20, "near": 5}
    (one, _), (three, _), (again, _) = (
        train_heads(train, held_out, RetrievalHeadSettings(seeds=seeds, **settings)) for seeds in (1, 3, 3)
    )
    for first, last, other in zip(one.parameters(), three.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(first, last[:1])
        assert torch.equal(last, other)
        assert last.shape[1] == 1 or not torch.equal(last[0], last[1])


def test_of_a_training_the_weights_are_kept_that_were_best_on_held_out_pairs():
    """Whoever learns what belongs together gets ever worse where nothing does: the first of ten checks was best."""
    train, words = pairs_of(made_up(60)), {"seeds": 1, "learning_rate": 3e-3}
    kept, _ = train_heads(train, pairs_of(made_up(60, 100)).shuffled(), RetrievalHeadSettings(steps=200, **words))
    begun, _ = train_heads(train, None, RetrievalHeadSettings(steps=20, **words))
    last, _ = train_heads(train, None, RetrievalHeadSettings(steps=200, **words))
    for at_the_check, found, in_the_end in zip(begun.parameters(), kept.parameters(), last.parameters(), strict=True):
        assert torch.equal(found, at_the_check)
        assert not torch.equal(found, in_the_end)


def test_what_is_of_the_own_scene_is_no_distractor():
    pairs = pairs_of(made_up(40))
    one_scene = dataclasses.replace(pairs, scenes=torch.ones_like(pairs.scenes))
    _, loss = train_heads(one_scene, None, RetrievalHeadSettings(seeds=1, steps=1))
    assert loss == 0  # nothing is left to be taken for the own one
    _, loss = train_heads(pairs, None, RetrievalHeadSettings(seeds=1, steps=1))
    assert loss == pytest.approx(np.log(3), abs=0.2)


def test_near_distractors_are_harder():
    losses = {}
    for near in (None, 2):
        settings = RetrievalHeadSettings(seeds=2, steps=200, learning_rate=3e-3, near=near)
        _, losses[near] = train_heads(pairs_of(made_up(200), "encoded"), None, settings)
    assert losses[2] > losses[None] + 0.1


def test_vectors_that_are_no_numbers_are_told_not_learnt_from_and_found_last(judged):
    train, test = made_up(300), made_up(40, 400)
    for found, count in ((train, 30), (test, 10)):
        found.own["fused/audio"][:count] = np.nan
    (table,) = measure_of(judged, train=train, seeds=1).tables([test])
    assert 0.4 < rows_of(table)["encoded together"]["first"] <= 0.75
    assert [warning.partition(":")[2] for warning in table.warnings] == [
        " nothing is learnt from such",
        " they are found last",
    ]


def test_who_has_nothing_to_learn_from_finds_all_alike(judged):
    train, test = made_up(30), made_up(20, 400)
    for vectors in train.own.values():
        vectors[:] = np.nan
    (table,) = measure_of(judged, train=train, seeds=1, steps=2).tables([test])
    rows = rows_of(table)
    assert rows["model"] == rows["encoded together"] == rows["guessing"]
    assert "the vectors of 30 samples are not finite" in table.warnings[0]


def test_samples_of_videos_that_were_learnt_from_are_told(judged):
    (table,) = measure_of(judged, steps=1).tables([made_up(20, 295)])
    assert table.warnings == ("5 samples are of videos or images that the networks learnt from",)


def test_means_over_samples_and_seeds_are_the_figures(judged):
    measure, found = measure_of(judged, steps=20), [made_up(40, 400)]
    (table,), (scores,) = measure.tables(found), measure.sample_scores(found)
    assert {row.name: scores.figures(row.name) for row in table.rows} == {
        name: pytest.approx(values) for name, values in rows_of(table).items()
    }
    row = next(row for row in table.rows if row.name == "encoded together")
    assert row.values["first"] == pytest.approx(np.mean(row.details["of_seeds"]["first"]))
    assert len(row.details["of_seeds"]["first"]) == 2
    assert row.spread["first"] >= 0


def test_each_stream_looks_for_each_and_each_two_for_a_third(judged):
    measure = measure_of(judged, variants=None, steps=1, seeds=1)
    tables = measure.tables([made_up(12, 400)])
    assert [table.measure for table in tables] == [f"retrieval_head_{name}" for name in NINE]
    shown = with_published(tables, ["music21-retrieval"])
    published = [[row.values["first"] for row in table.rows if row.kind == "other"] for table in shown]
    assert [len(one) for one in published] == [0, 2, 0, 2, 2, 2, 0, 2, 0]
    assert published[4] == pytest.approx([0.681, 0.0143])


@pytest.mark.parametrize("name", ["audio", "audio_to_audio", "audio_to_frame", "visual+visual_to_pose", "a+b+c_to_d"])
def test_streams_that_are_not_there_are_refused_in_a_sentence(judged, name):
    known_ones = ", ".join(NINE)
    with pytest.raises(SettingsError) as raised:
        RetrievalHead(RetrievalHeadSettings(variants=(name,)), judged)
    assert str(raised.value) == (
        f"evaluate.measures: retrieval_head.variants: expected one of {known_ones}, found {name!r}"
    )


def test_a_model_of_one_stream_has_nothing_to_look_for():
    settings = tiny_experiment()
    trained = Trained(untrained(settings, "cpu", 1), settings, 1, "run")
    embed = trained.system.model.embed
    trained.system.model.embed = lambda inputs: {"audio": embed(inputs)["audio"]}
    assert RetrievalHead.reason_against(trained, None) == "it needs two streams of inputs, found audio"
