"""What synchronisation is judged by."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from moving_shards import MOVING, write_moving_set
from pipeline.evaluate.measures.contract import Judged
from pipeline.evaluate.measures.synchronisation import Offsets, Told
from pipeline.evaluate.registry import OffsetsSettings
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiment import ExperimentSettings
from pipeline.tasks.synchronisation_settings import SynchronisationSettings
from pipeline.train.load import Trained, untrained
from tiny_run import tiny_experiment, write_shards

EMBEDDER = {"kind": "convolution", "widths": [8, 16, 16], "norm": "group"}
TOWERS = {"kind": "towers", "visual_embedder": EMBEDDER, "audio_embedder": EMBEDDER, "width": 16}
TASK = {"kind": "synchronisation", "range_s": 0.1, "jitter_s": 0.01, "classes": 5, "segments": 4, "head": "lags"}
CLIPS = 20


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    return str(write_moving_set(tmp_path_factory.mktemp("moving") / "shards", CLIPS, 0))


def measure_of(url, batch_size=8, **words):
    """A model with random weights."""
    sections = {"features": MOVING, "model": TOWERS, "task": TASK | words, "data": {"workers": 0}}
    settings = ExperimentSettings.model_validate(sections)
    evaluate = EvaluateSettings(batch_size=batch_size)
    samples = EvaluationSamples.open(url, settings, evaluate, torch.device("cpu"))
    trained = Trained(untrained(settings, "cpu", 0), settings, 1, "run")
    assert Offsets.reason_against(trained, samples) is None
    return Offsets(OffsetsSettings(among=4), Judged(trained, samples, None, evaluate))


def tables_of(measure):
    samples = measure.judged.samples
    return measure.tables([measure.judge(chunk) for chunk in samples.go_through(samples.chunks(measure.group))])


def row(table, name):
    return next(one.values for one in table.rows if one.name == name)


def test_every_clip_is_shown_with_every_offset_beside_who_says_the_same_always(moving):
    offsets, segments = tables_of(measure_of(moving))
    assert (offsets.samples, offsets.details["others"]) == (CLIPS, CLIPS)
    said = np.array(next(one.details["said"] for one in offsets.rows if one.name == "model"))
    assert said.sum(1).tolist() == [CLIPS] * 5
    near = np.trace(said) + np.trace(said, 1) + np.trace(said, -1)
    assert row(offsets, "model")["first"] == pytest.approx(np.trace(said) / said.sum())
    assert row(offsets, "model")["near"] == pytest.approx(near / said.sum())
    assert row(offsets, "the same answer always") == {"first": 1 / 5, "near": 3 / 5, "sync": 1 / 2}
    assert row(segments, "guessing") == {"first": pytest.approx(1 / 16), "in_clip": 1 / 4}


@pytest.mark.parametrize("words", [{}, {"answer": "in_sync", "least_s": 0.1}])
def test_samples_give_the_figures_of_all_rows(moving, words):
    measure = measure_of(moving, **words)
    samples = measure.judged.samples
    found = [measure.judge(chunk) for chunk in samples.go_through(samples.chunks(measure.group))]
    offsets, segments = measure.tables(found)
    for table, scores in zip((offsets, segments), measure.sample_scores(found), strict=True):
        assert scores.measure == table.measure
        assert len(set(scores.ids)) == len(scores.clusters) == CLIPS
        for name in scores.values:
            assert scores.figures(name) == row(table, name)


def test_figures_do_not_hang_on_how_many_clips_go_through_the_model_at_once(moving):
    assert tables_of(measure_of(moving, 8)) == tables_of(measure_of(moving, 64))


def test_who_hears_how_far_a_sound_is_moved_tells_all_and_of_another_clip_s_or_of_silence_nothing(moving):
    """Its answer is the offset at which the clip's own sound is what it hears."""
    measure = measure_of(moving)
    task, known = measure._task, {}
    moved = task.moved

    def remember(inputs, offset_s):
        sounds = moved(inputs, offset_s)
        for frames, sound in zip(inputs["frames"], sounds, strict=True):
            known[frames.sum().item(), sound.sum().item()] = float(offset_s[0])
        return sounds

    def answer(model, embedded):
        pairs = zip(embedded["visual"].tolist(), embedded["audio"].tolist(), strict=True)
        offsets = torch.tensor([known.get(pair, -0.1) for pair in pairs])
        return F.one_hot((offsets / 0.05).round().long() + 2, 5).float() * 9

    model = measure.judged.trained.system.model
    model.embed = lambda inputs: {
        {"frames": "visual", "sound": "audio"}[name]: torch.stack([one.sum() for one in inputs[name]])
        for name in ("frames", "sound")
        if name in inputs
    }
    task.moved, task.offset_logits = remember, answer
    measure._told = task.settings.model_copy(update={"segment_weight": 0.0, "clip_weight": 0.0})
    (offsets,) = tables_of(measure)
    assert row(offsets, "model") == {"first": 1, "near": 1, "sync": 1}
    other = {"first": 1 / 5, "near": 2 / 5, "sync": 1 / 2}
    for name in ("sound of another clip", "silence"):
        assert row(offsets, name) == pytest.approx(other)


def test_whether_a_sound_is_moved_at_all_is_judged_on_as_many_that_are_as_are_not(moving):
    (offsets,) = tables_of(measure_of(moving, answer="in_sync", least_s=0.1, segment_weight=0, clip_weight=0))
    told = row(offsets, "model")
    assert told["first"] == pytest.approx((told["in_sync"] + told["moved"]) / 2)
    assert row(offsets, "the same answer always")["first"] == 0.5


def test_answers_that_are_no_numbers_are_right_nowhere():
    told = Told(2, SynchronisationSettings(classes=3))
    for number in range(3):
        told.count(number, torch.tensor([[torch.nan, 0, 0], [0, 9, 0]]))
    assert told.not_finite == 3
    shares = {name: of_clips.tolist() for name, of_clips in told.shares.items()}
    assert shares == {"first": [0, 1 / 3], "near": [0, 1], "sync": [0, 0.5], "in_sync": [0, 1], "moved": [0, 0]}


def test_segments_alone_have_a_table_of_their_own(moving):
    (table,) = tables_of(measure_of(moving, offset_weight=0))
    assert table.title == "segments of clips"


def test_a_model_that_was_not_trained_so_is_refused(tmp_path):
    settings = tiny_experiment()
    url = write_shards(tmp_path / "shards", [{}])
    samples = EvaluationSamples.open(url, settings, EvaluateSettings(), torch.device("cpu"))
    reason = Offsets.reason_against(Trained(untrained(settings, "cpu", 0), settings, 1, "run"), samples)
    assert reason == "it needs a model that was trained by synchronisation, found task.kind = mma"
