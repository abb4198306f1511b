"""Sounds that look for their frames, and frames for their sounds."""

import dataclasses
import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline.evaluate.measures.contract import Judged
from pipeline.evaluate.measures.kept_embeddings import KeptEmbeddings
from pipeline.evaluate.measures.likeness import ALL_TOKENS, STAGES
from pipeline.evaluate.measures.retrieval import Retrieval
from pipeline.evaluate.registry import EmbeddingsSettings, RetrievalSettings
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiment import ExperimentSettings
from pipeline.models.pooling import pooled
from pipeline.tasks.dense_contrastive import DenseContrastive
from pipeline.train.load import Trained, untrained
from tiny_run import NAMES, tiny_experiment, write_shards

COUNT = 21
TO_SOUND, TO_FRAME = "retrieval, frame → sound", "retrieval, sound → frame"


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Three samples of each of seven videos, which share a label with others."""
    rows = [{"video": f"video-{n // 3}", "source": f"{n // 3}", "labels": [NAMES[n // 3 % 4]]} for n in range(COUNT)]
    return write_shards(tmp_path_factory.mktemp("retrieval") / "shards", rows)


def dense_experiment():
    sections = tiny_experiment().model_dump(mode="json")
    return ExperimentSettings.model_validate(sections | {"task": {"kind": "dense_contrastive"}})


def measure_of(url, settings=None, validation=None, batch_size=8, **words):
    settings = settings or tiny_experiment()
    evaluate = EvaluateSettings(batch_size=batch_size)
    sets = [EvaluationSamples.open(one, settings, evaluate, torch.device("cpu")) for one in (url, validation) if one]
    trained = Trained(untrained(settings, "cpu", 3), settings, 1, "run")
    assert Retrieval.reason_against(trained, sets[0]) is None
    judged = Judged(trained, sets[0], sets[1] if validation else None, evaluate)
    return Retrieval(RetrievalSettings(**words), judged)


def found_by(measure):
    samples = measure.judged.samples
    return [measure.judge(chunk) for chunk in samples.go_through(samples.chunks(measure.group))]


def changed(found, **vectors):
    """The same where vectors are others."""
    (one,) = found
    own = dataclasses.replace(one.own, vectors=one.own.vectors | {k.replace("_", "/"): v for k, v in vectors.items()})
    return [dataclasses.replace(one, own=own)]


def rows_of(table):
    return {row.name: row.values for row in table.rows}


def test_figures_are_those_of_the_definition_written_out(shards):
    measure = measure_of(shards)
    found = found_by(measure)
    tables = {table.title: table for table in measure.tables(found)}
    chunk = measure.judged.samples.read(range(COUNT))
    with torch.no_grad():
        vectors = pooled(measure.judged.trained.system.model, chunk.shown.inputs)
    videos = [one.video for one in chunk.shown.metadata]
    labels = [one.labels[0] for one in chunk.shown.metadata]
    for title, query, gallery in ((TO_SOUND, "visual", "audio"), (TO_FRAME, "audio", "visual")):
        for stage, name in STAGES.items():
            alike = F.cosine_similarity(vectors[f"{stage}/{query}"][:, None], vectors[f"{stage}/{gallery}"], dim=2)
            ranks, precisions = [], []
            for one in range(COUNT):
                others = [other for other in range(COUNT) if videos[other] != videos[one]]
                ranks.append(1 + sum(alike[one, other] > alike[one, one] for other in others))
                order = sorted(others, key=lambda other: -alike[one, other])
                hits = [labels[other] == labels[one] for other in order]
                if any(hits):
                    precisions.append(np.mean([np.mean(hits[: k + 1]) for k, hit in enumerate(hits) if hit]))
            values = rows_of(tables[title])[name]
            assert values["rank"] == np.median(ranks)
            for k, column in ((1, "first"), (5, "fifth"), (10, "tenth")):
                assert values[column] == pytest.approx(np.mean([rank <= k for rank in ranks]), abs=1e-6)
            assert values["by_label"] == pytest.approx(np.mean(precisions), abs=1e-6)
    assert rows_of(tables[TO_SOUND])["guessing"]["first"] == pytest.approx(1 / (COUNT - 2))
    assert rows_of(tables[TO_SOUND])["guessing"]["choice"] == pytest.approx(1 / 8)


def test_who_knows_which_belong_together_finds_all_and_shuffled_they_find_none(shards):
    measure = measure_of(shards)
    same = np.eye(COUNT, dtype=np.float32)
    for table in measure.tables(changed(found_by(measure), encoded_visual=same, encoded_audio=same)):
        rows = rows_of(table)
        assert rows["model"]["first"] == rows["model"]["choice"] == rows["model"]["rank"] == 1
        shuffled = next(name for name in rows if name.endswith("another's"))
        assert rows[shuffled]["first"] < 0.01  # of one the own video stands there, which counts neither way
        assert rows["untrained network"]["first"] < 0.5


def test_an_embedding_that_is_always_the_same_scores_what_guessing_does(shards):
    measure = measure_of(shards)
    same = np.full((COUNT, 16), 0.3, np.float32)
    for table in measure.tables(changed(found_by(measure), encoded_visual=same, encoded_audio=same)):
        rows = rows_of(table)
        assert rows["model"] == pytest.approx(rows["guessing"])


def test_other_samples_of_the_own_video_count_as_the_setting_says(shards):
    of_videos = np.repeat(np.eye(7, dtype=np.float32), 3, axis=0)
    for own_video, first in (("left_out", 1.0), ("wrong", 1 / 3)):
        measure = measure_of(shards, own_video=own_video)
        found = found_by(measure)
        numbers = [int(key[-4:]) for key in found[0].known.keys]
        vectors = of_videos[numbers]
        (table, _) = measure.tables(changed(found, encoded_visual=vectors, encoded_audio=vectors))
        assert rows_of(table)["model"]["first"] == pytest.approx(first)


def test_vectors_that_are_no_numbers_are_told_and_found_last(shards):
    measure = measure_of(shards)
    found = found_by(measure)
    broken = np.full_like(found[0].own.vectors["encoded/visual"], np.nan)
    (table, _) = measure.tables(changed(found, encoded_visual=broken))
    assert rows_of(table)["model"]["first"] == 0
    assert table.warnings == (f"the vectors of {COUNT} samples are not finite (NaN or infinite): they are found last",)


def test_all_tokens_are_compared_as_the_objective_does(shards):
    measure = measure_of(shards, dense_experiment())
    found = found_by(measure)
    table = next(table for table in measure.tables(found) if table.title == TO_SOUND)
    system = measure.judged.trained.system
    assert isinstance(system.task, DenseContrastive)
    embedded = system.model.embed(measure.judged.samples.read(range(COUNT)).shown.inputs)
    with torch.no_grad():
        alike = torch.stack(
            [
                system.task.match(
                    system.model, {"visual": frame.expand_as(embedded["visual"]), "audio": embedded["audio"]}
                )
                for frame in embedded["visual"][:, None]
            ]
        )
    scenes = torch.from_numpy(found[0].known.scenes[:, 0])
    wrong = scenes[:, None] != scenes
    ranks = 1 + ((alike > alike.diagonal()[:, None] + 1e-6) & wrong).sum(1)
    assert rows_of(table)[ALL_TOKENS]["rank"] == ranks.median()
    assert [row.made_by for row in table.rows if row.kind == "model"] == [ALL_TOKENS]
    few = measure_of(shards, dense_experiment(), all_tokens_up_to=20)
    table, _ = few.tables(found_by(few))
    assert ALL_TOKENS not in rows_of(table)
    assert any("more than 20 samples" in note for note in table.notes)


@pytest.mark.parametrize("batch_size", [3, 16])
def test_who_only_answers_pairs_chooses_the_sound_that_it_answers_most_surely(shards, batch_size):
    measure = measure_of(shards, batch_size=batch_size, ways=4)
    found = found_by(measure)
    system, shown = measure.judged.trained.system, measure.judged.samples.read(range(COUNT)).shown
    with torch.no_grad():
        embedded = system.model.embed(shown.inputs)
        answers = np.stack(
            [
                system.task.match(system.model, embedded | {"audio": sound.expand_as(embedded["audio"])}).numpy()
                for sound in embedded["audio"][:, None]
            ],
            axis=1,
        )  # [frames, sounds]
    videos = [one.video for one in shown.metadata]
    for title, alike in ((TO_SOUND, answers), (TO_FRAME, answers.T)):
        chosen = []
        for start in range(0, COUNT - 3, 4):
            group = range(start, start + 4)
            for one in group:
                if sum(videos[other] == videos[one] for other in group) == 1:
                    chosen.append(alike[one, start : start + 4].argmax() == one - start)
        (table,) = (table for table in measure.tables(found) if table.title == title)
        assert rows_of(table)["answers to pairs"]["choice"] == pytest.approx(np.mean(chosen))
        assert rows_of(table)["answers to pairs"]["first"] is None


def test_what_finds_most_on_the_validation_split_is_the_model(shards, validation_shards):
    measure = measure_of(shards, validation=validation_shards)
    samples = measure.judged.choosing
    found = [measure.choose(chunk) for chunk in samples.go_through(samples.chunks())]
    same = np.eye(len(samples), dtype=np.float32)
    measure.chosen(changed(found, embedded_visual=same, embedded_audio=same))
    for table in measure.tables(found_by(measure)):
        assert table.rows[0].made_by == STAGES["embedded"]


def test_means_of_what_is_told_of_samples_are_the_figures(shards):
    measure = measure_of(shards, pool=10)
    found = found_by(measure)
    tables = {table.measure: table for table in measure.tables(found)}
    assert set(tables) == {"retrieval_frame_to_sound", "retrieval_sound_to_frame"}
    for scores in measure.sample_scores(found):
        for row in scores.values:
            told = rows_of(tables[scores.measure])[row]
            assert scores.figures(row) == pytest.approx({name: told[name] for name in scores.columns})


def test_embeddings_are_written_with_what_the_samples_are(shards):
    judged = measure_of(shards).judged
    measure = KeptEmbeddings(EmbeddingsSettings(), judged)
    found = [measure.judge(chunk) for chunk in judged.samples.go_through(judged.samples.chunks())]
    (content,) = measure.files(found).values()
    kept = np.load(io.BytesIO(content))
    shown = judged.samples.read(range(COUNT)).shown
    assert kept["keys"].tolist() == shown.keys
    assert kept["labels"].tolist() == [one.labels[0] for one in shown.metadata]
    with torch.no_grad():
        vectors = pooled(judged.trained.system.model, shown.inputs)
    assert set(kept.files) == {"keys", "videos", "labels", *vectors}
    for name, one in vectors.items():
        assert kept[name] == pytest.approx(one.numpy(), abs=1e-6)
    (table,) = measure.tables(found)
    assert (table.rows, table.samples) == ((), COUNT)


def test_a_third_stream_is_looked_for_in_all_directions(shards):
    measure = measure_of(shards)
    (one,) = found_by(measure)
    pose = {f"{stage}/pose": one.own.vectors[f"{stage}/audio"] for stage in STAGES}
    changed = {
        name: dataclasses.replace(getattr(one, name), vectors=getattr(one, name).vectors | pose)
        for name in ("own", "fresh")
    }
    tables = measure.tables([dataclasses.replace(one, **changed)])
    assert len({table.title for table in tables}) == 6
    figures = {table.title: table.rows[0].values for table in tables}
    assert figures["retrieval, frame → pose"] == figures[TO_SOUND]
    assert figures["retrieval, sound → pose"]["first"] == 1


def test_who_knows_all_labels_finds_classes_and_of_them_any(shards):
    measure = measure_of(shards)
    (table, _) = measure.tables(found_by(measure))
    values = rows_of(table)["who knows all labels"]
    classes = [n // 3 % 4 for n in range(COUNT)]
    alike = [sum(classes[m] == classes[n] and m // 3 != n // 3 for m in range(COUNT)) for n in range(COUNT)]
    assert values["by_label"] == 1
    assert values["first"] == pytest.approx(np.mean([1 / (1 + others) for others in alike]))


def test_figures_do_not_hang_on_how_many_samples_go_through_the_model_at_once(shards):
    one, other = (measure_of(shards, batch_size=size) for size in (4, 32))
    for few, many in zip(one.tables(found_by(one)), other.tables(found_by(other)), strict=True):
        assert rows_of(few) == rows_of(many)


def test_it_needs_two_streams_of_one_width():
    settings = tiny_experiment()
    trained = Trained(untrained(settings, "cpu", 0), settings, 1, "run")
    embed = trained.system.model.embed
    trained.system.model.embed = lambda inputs: {"audio": embed(inputs)["audio"]}
    reason = "it needs two streams of inputs of the same width, found audio of width 16"
    assert Retrieval.reason_against(trained, None) == reason


def test_samples_are_only_compared_where_they_looked_among_the_same(shards):
    """The same query finds its own more easily among fewer: evaluations of other sets have no samples in common."""
    whole, pooled_ones = measure_of(shards), measure_of(shards, pool=10)
    found = found_by(whole)
    again, other = (measure.sample_scores(found)[0] for measure in (measure_of(shards), pooled_ones))
    scores = whole.sample_scores(found)[0]
    assert scores.ids == again.ids
    assert scores.ids[0].startswith(f"{found[0].known.keys[0]} among {COUNT} (")
    assert not set(scores.ids) & set(other.ids)
    part = dataclasses.replace(
        found[0],
        known=found[0].known.select(range(12)),
        answers=found[0].answers[:12],
        **{
            name: dataclasses.replace(
                getattr(found[0], name), vectors={key: one[:12] for key, one in getattr(found[0], name).vectors.items()}
            )
            for name in ("own", "fresh")
        },
    )
    assert not set(scores.ids) & set(whole.sample_scores([part])[0].ids)
