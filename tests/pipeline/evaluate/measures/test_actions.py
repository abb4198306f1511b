"""Actions: a video is what its sub-clips say on average."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from label_head import measure_of, row

from pipeline.evaluate.measures.actions import Actions, Answers
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.samples.metadata import SampleMetadata
from pipeline.sound.flac import encode_flac
from pipeline.stream.worker_pool import WorkerPool
from pipeline.video.clip import ClipEncoder, convert
from tiny_run import RATE_HZ
from written_shards import write_shards

FPS, FRAMES = 25, 50
FIRST_S, LAST_S = 0.256, 1.744
"""Middles of the first and the last 0.512 s of 2 s, as much as the model takes."""


def clip(number, video, labels):
    """Two seconds, brighter from frame to frame."""
    import av

    encoder = ClipEncoder(32, 32, Fraction(FPS), 18)
    for place in range(FRAMES):
        picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 5 * place, np.uint8), format="rgb24")
        encoder.add(convert(picture, 32, 32, "yuv420p"))
    metadata = SampleMetadata(
        layout="clip",
        video=video,
        source=f"{video}.mp4",
        frame_times_s=[place / FPS for place in range(FRAMES)],
        fps=FPS,
        audio_start_s=0.0,
        audio_rate_hz=RATE_HZ,
        audio_samples=2 * RATE_HZ,
        labels=labels,
    )
    sound = np.random.default_rng(number).integers(-8000, 8000, (1, 2 * RATE_HZ), dtype=np.int16)
    files = {"json": metadata.model_dump_json().encode(), "mp4": encoder.finish(), "flac": encode_flac(sound, RATE_HZ)}
    return f"sample-{number:04d}", files


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Five clips of four videos; one has no label."""
    rows = [("a", ["violin"]), ("a", ["violin"]), ("b", ["drum"]), ("c", []), ("d", ["drum"])]
    samples = [clip(number, *words) for number, words in enumerate(rows)]
    return str(write_shards(tmp_path_factory.mktemp("clips") / "shards", [samples], "clip"))


def brightness(inputs):
    return inputs["frames"].mean((1, 2, 3, 4))


def of_brightness(measure, logits):
    """A measure of a model whose logits are made of how bright the frame is."""
    measure.judged.trained.system.model.embed = lambda inputs: inputs
    measure.judged.trained.system.model.fuse = lambda inputs: inputs
    measure._task.logits = lambda inputs: logits(brightness(inputs))[:, None]
    return measure


def table_of(measure):
    samples = measure.judged.samples
    (table,) = measure.tables([measure.judge(chunk) for chunk in samples.go_through(samples.chunks())])
    return table


def test_sub_clips_lie_evenly_from_the_beginning_to_the_end(clips):
    samples = measure_of(clips, kind=Actions, clips=7).judged.samples
    shown = [brightness(inputs) for inputs in samples.in_views([0, 3], 7)]
    seconds = torch.linspace(FIRST_S, LAST_S, 7)
    for of_sample in shown:
        assert of_sample.tolist() == pytest.approx((seconds * FPS).floor().mul(5 / 255).tolist(), abs=0.02)


def test_a_video_is_what_its_sub_clips_say_on_average_and_not_what_the_middle_one_does(clips):
    """In the middle of each clip the model is sure that it is a violin; else it thinks that it is a drum."""

    def logits(bright):
        middle = ((bright - 0.49).abs() < 0.05).float()
        return torch.stack([6 * middle, 1 - middle, 0 * middle, 0 * middle], 1)

    table = table_of(of_brightness(measure_of(clips, kind=Actions, clips=25), logits))
    assert table.samples == 3
    assert row(table, "model") == pytest.approx({"accuracy": 2 / 3, "balanced": 1 / 2})
    assert row(table, "the middle sub-clip alone")["accuracy"] == pytest.approx(1 / 3)
    assert row(table, "the commonest class always")["accuracy"] == pytest.approx(2 / 3)
    assert table.notes == (
        "videos are judged by 25 evenly spaced sub-clips of each of 4 samples, probabilities averaged",
        "1 samples without a label are left out",
    )


def test_by_hand_over_all_clips_of_a_video(clips):
    measure = measure_of(clips, kind=Actions)
    there = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]], bool)
    said = np.array([[0.9, 0.1, 0, 0], [0.2, 0.8, 0, 0], [0.6, 0.4, 0, 0]])
    found = [Answers(["a", "a", "b"], there, said, said, 0)]
    (table,), (scores,) = measure.tables(found), measure.sample_scores(found)
    assert row(table, "model") == pytest.approx({"accuracy": 1 / 2, "balanced": 1 / 2})
    assert scores.ids == ["a", "b"]
    assert {name: scores.figures(name) for name in scores.values} == {one.name: one.values for one in table.rows}


def test_the_right_class_is_also_looked_for_among_five_of_more(clips):
    classes = tuple("abcdefg")
    measure, there = measure_of(clips, kind=Actions, classes=classes), np.eye(7, dtype=bool)[[0, 6]]
    said = np.array([[0.05, 0.1, 0.15, 0.2, 0.25, 0.15, 0.1], [0.3, 0.25, 0.2, 0.1, 0.1, 0.05, 0.0]])
    said[0, 0] = 0.12
    (table,) = measure.tables([Answers(["a", "b"], there, said, said, 0)])
    assert row(table, "model") == pytest.approx({"accuracy": 0, "first": 1 / 2, "balanced": 0})


def test_a_likelier_right_class_never_scores_less(clips):
    measure, generator = measure_of(clips, kind=Actions), np.random.default_rng(0)
    for _ in range(20):
        there, said = np.eye(4, dtype=bool)[generator.integers(0, 4, 3)].repeat(2, 0), generator.random((6, 4))
        videos = [f"v{place // 2}" for place in range(6)]
        better = said + there * generator.random((6, 1))
        one, other = (row(measure.tables([Answers(videos, there, of, of, 0)])[0], "model") for of in (said, better))
        assert all(other[name] >= value for name, value in one.items())


def test_answers_that_are_no_numbers_are_wrong_and_told(clips):
    nothing = of_brightness(
        measure_of(clips, kind=Actions, clips=2), lambda bright: torch.full((len(bright), 4), torch.nan)
    )
    table = table_of(nothing)
    assert row(table, "model") == {"accuracy": 0, "balanced": 0}
    assert "4 answers of actions are not finite" in table.warnings[0]


def test_views_are_the_same_read_by_workers_while_chunks_are_read(clips):
    here, chunks = measure_of(clips, kind=Actions).judged.samples, [range(3), range(3, 5)]
    with WorkerPool(1, 60.0, [clips]) as pool:
        theirs = EvaluationSamples(here.plan, here.settings, here.device, pool)
        for places, ours, chunk in zip(chunks, here.go_through(chunks), theirs.go_through(chunks), strict=True):
            assert torch.equal(ours.shown.inputs["frames"], chunk.shown.inputs["frames"])
            pairs = zip(here.in_views(places, 4), theirs.in_views(places, 4), strict=True)
            assert all(torch.equal(one[name], other[name]) for one, other in pairs for name in one)


def test_frames_and_heads_of_segments_are_refused(located_shards):
    plain, parts = measure_of(located_shards).judged, measure_of(located_shards, labels="several").judged
    assert Actions.reason_against(plain.trained, plain.samples) == (
        "it needs samples of layout clip, of which there are parts, found frame"
    )
    assert "one label a sample" in (Actions.reason_against(parts.trained, parts.samples) or "")
