"""gavt events: what happens in videos of any length, when and where."""

import io
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pipeline.api as gavt
from cluster.errors import StorageError
from jobs.cli import main
from pipeline.evaluate.events.events import watch
from pipeline.evaluate.events.picture import draw_events
from pipeline.evaluate.events.track import EventTrack, tell_events
from pipeline.evaluate.events.windows import Segments, windows_of
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiment import ExperimentSettings
from pipeline.models.contract import AUDIO, VISUAL
from pipeline.prepare.manifests.row import VideoRow
from pipeline.train.load import load_trained
from small_video import write_video
from tiny_run import tiny_experiment, write_run

SEGMENTS, RATE_HZ, SAMPLES = 4, 8000, 16256
LENGTH_S = SAMPLES / RATE_HZ / SEGMENTS
SETTINGS = EvaluateSettings()
CLASSES = ("bell", "harp")
EMBEDDER = {"kind": "convolution", "widths": [8, 16, 16, 16], "kernel": 4, "last_kernel": 1}


def tiny_events() -> ExperimentSettings:
    made = tiny_experiment().model_dump(mode="json")
    made["features"] |= {"frames": SEGMENTS, "audio_samples": SAMPLES}
    embedders = {"visual_embedder": EMBEDDER, "audio_embedder": EMBEDDER, "width": 8}
    model = {"kind": "av_transformer", "segments": SEGMENTS, "embedders": embedders, "hidden": 8, "event_width": 8}
    return ExperimentSettings.model_validate(
        made | {"model": model, "task": {"kind": "events", "segments": SEGMENTS, "classes": CLASSES, "apart_weight": 1}}
    )


@pytest.fixture(scope="module")
def events_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("events") / "run", tiny_events())


def film(file: Path, seconds: float, **how) -> str:
    return str(
        write_video(file, times_s=[number / 10 for number in range(round(10 * seconds))], sound_s=seconds, **how)
    )


def test_windows_are_half_a_window_apart_and_the_last_ends_with_the_video() -> None:
    def windows(count):
        return Segments(Fraction(1), count, 10).windows

    assert windows(10) == windows(3) == [0]
    assert windows(11) == [0, 1]
    assert windows(25) == [0, 5, 10, 15]
    for count in range(10, 60):
        assert {first + number for first in windows(count) for number in range(10)} == set(range(count))


def test_a_video_is_cut_into_segments_of_training_the_last_of_which_is_half_there(events_run: str) -> None:
    features = load_trained(events_run, torch.device("cpu")).settings.features
    length = Fraction(SAMPLES, RATE_HZ * SEGMENTS)
    for count, seconds in (
        (1, Fraction(1, 10)),
        (2, length * 2),
        (2, length * Fraction(249, 100)),
        (3, length * Fraction(5, 2)),
    ):
        assert Segments.of(seconds, features) == Segments(length, count, SEGMENTS)


def test_each_segment_is_the_mean_of_what_the_windows_say_that_show_it(events_run: str, tmp_path: Path) -> None:
    video = film(tmp_path / "long.mp4", 4.6)  # nine segments of 0.508 s
    trained = load_trained(events_run, torch.device("cpu"))
    track = tell_events(video, trained, SETTINGS)
    assert track.segments.tolist() == list(range(9))
    assert track.segment_s == LENGTH_S
    assert track.classes == (*CLASSES, "background")
    likely: dict[int, list] = {}
    looked: dict[int, list] = {}
    model = trained.system.model
    for _, window in windows_of(video, trained.settings.features, SETTINGS.shown_geometry):
        with torch.no_grad():
            inputs = {name: values[None] for name, values in window.inputs.items()}
            tokens = model.embed(inputs)
            _, weights = model.tell(tokens[VISUAL].view(1, SEGMENTS, -1, 8), tokens[AUDIO])
            answers = trained.system.task.logits(model.fuse(tokens)).softmax(-1)
        for number in range(SEGMENTS):
            likely.setdefault(window.first + number, []).append(answers[0, number].numpy())
            looked.setdefault(window.first + number, []).append(weights[0, number].view(4, 4).numpy())
    assert [len(likely[number]) for number in range(9)] == [1, 1, 2, 2, 2, 3, 2, 2, 1]
    for number in range(9):
        np.testing.assert_allclose(track.probabilities[number], np.mean(likely[number], 0), rtol=1e-4)
        np.testing.assert_allclose(track.maps[number], np.mean(looked[number], 0), rtol=1e-3)


def test_frames_are_from_the_middle_of_their_segments_and_sound_lies_beside_them(
    events_run: str, tmp_path: Path
) -> None:
    video = film(tmp_path / "in.mp4", 4.6)
    features = load_trained(events_run, torch.device("cpu")).settings.features
    for _, window in windows_of(video, features, "centre"):
        assert window.inputs["sound"].shape == (1, SAMPLES)
        assert window.inputs["sound"].abs().mean() > 0.02
        for number, frame in enumerate(window.inputs["frames"]):
            middle = (window.first + number + 0.5) * LENGTH_S
            expected = (40 + int(60 * np.floor(middle * 10) / 10) % 180) / 255  # how bright write_video makes it
            assert float(frame[:, 20:, 20:].mean()) == pytest.approx(expected, abs=0.03)


def test_a_video_shorter_than_a_window_is_told_to_its_end_only(events_run: str, tmp_path: Path) -> None:
    trained = load_trained(events_run, torch.device("cpu"))
    track = tell_events(film(tmp_path / "short.mp4", 1.0), trained, SETTINGS)
    assert track.segments.tolist() == [0, 1]
    assert track.probabilities.sum(1) == pytest.approx([1, 1])


def told(likely: list[list[float]], segments: list[int], apart: dict | None = None) -> EventTrack:
    maps = np.random.default_rng(0).random((len(likely), 4, 4), np.float32)
    return EventTrack(
        (*CLASSES, "background"),
        np.array(segments),
        0.5,
        np.array(likely, np.float32),
        apart or {},
        maps,
        (0.0, 0.0, 1.0, 1.0),
        None,
    )


TOLD = told(
    [[0.6, 0.3, 0.1], [0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.9, 0.0, 0.1], [0.5, 0.2, 0.3]],
    [0, 1, 2, 3, 5, 7],
)


def test_consecutive_segments_of_a_class_are_one_event() -> None:
    rows = [(row["begin_s"], row["end_s"], row["class"], round(row["confidence"], 3)) for row in TOLD.rows]
    # of segment 3 nothing happens; 4 and 6 were not told, so that nothing goes on over them
    assert rows == [(0.0, 1.0, "bell", 0.7), (1.0, 1.5, "harp", 0.7), (2.5, 3.0, "bell", 0.9), (3.5, 4.0, "bell", 0.5)]


def test_what_is_seen_or_heard_only_has_rows_of_its_own() -> None:
    apart = {"seen": [[0.9, 0.1], [0.8, 0.4], [0.2, 0.9]], "heard": [[0.6, 0.2], [0.3, 0.1], [0.4, 0.3]]}
    shares = {what: np.array(likely, np.float32) for what, likely in apart.items()}
    track = told([[0.7, 0.1, 0.2], [0.2, 0.1, 0.7], [0.1, 0.2, 0.7]], [0, 1, 2], shares)
    rows = [
        (row["begin_s"], row["end_s"], row["class"], row["what"], round(row["confidence"], 3)) for row in track.rows
    ]
    assert rows == [
        (0.0, 0.5, "bell", "both", 0.7),
        (0.0, 0.5, "bell", "heard", 0.6),
        (0.0, 1.0, "bell", "seen", 0.85),
        (1.0, 1.5, "harp", "seen", 0.9),
    ]
    assert np.array_equal(track.arrays["seen"], shares["seen"])


def test_the_picture_shows_at_most_ten_segments_and_a_line_a_class_that_happens(tmp_path: Path) -> None:
    video = film(tmp_path / "in.mp4", 4.0, size=(90, 60))
    likely = np.eye(3)[[0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2]].tolist()

    def drawn(track):
        return np.array(Image.open(io.BytesIO(draw_events(video, track))).convert("RGB")).astype(int)

    both = drawn(told(likely, list(range(12))))
    alone = drawn(told(likely[2:], list(range(2, 12))))
    assert both.shape == (alone.shape[0] + 24, alone.shape[1], 3)  # a line more
    blue = (both == (29, 92, 171)).all(-1)
    lines = [row for row in range(len(blue)) if blue[row].any()]
    first, second = blue[lines[0] + 4], blue[lines[-1] - 4]
    width = 10 * 90 + 9 * 4
    assert first.sum() == pytest.approx(width * 2 / 12, abs=4)  # bell for two segments of twelve
    assert second.sum() == pytest.approx(width / 12, abs=3)
    assert np.flatnonzero(first)[0] < np.flatnonzero(second)[0]


def test_videos_are_watched_though_one_of_them_can_t_be(
    events_run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    film(folder / "a.mp4", 2.5)
    write_video(folder / "mute.mp4", sound_s=None)
    film(folder / "b.mp4", 1.0)
    with pytest.raises(SystemExit) as left:
        main(["events", str(folder), "--checkpoint", events_run, "--out", str(tmp_path / "out"), "--json"])
    assert left.value.code == 2
    said = capsys.readouterr()
    result = json.loads(said.out.splitlines()[-1])
    assert [(one["video"], one["segments"]) for one in result["videos"]] == [("a", 5), ("b", 2), ("mute", 0)]
    assert result["failed"] == 1
    assert "mute.mp4: it has no audio track" in said.err
    assert "Traceback" not in said.err
    rows = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    told = [event for video in result["videos"] for event in video["events"]]
    assert [{name: row[name] for name in told[0]} for row in rows] == told
    assert {row["video"] for row in rows} <= {"a", "b"}
    of_each = [f"{name}.{kind}" for name in "ab" for kind in ("json", "npz", "png")]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [*of_each, "events.jsonl"]
    assert np.load(tmp_path / "out" / "a.npz")["maps"].shape == (5, 4, 4)


def test_what_was_watched_before_is_not_watched_again(events_run: str, tmp_path: Path) -> None:
    videos = [VideoRow(name, film(tmp_path / f"{name}.mp4", 1.0)) for name in "ab"]
    out, watched = tmp_path / "out", []

    def stopped(video: str, done: float, total: float) -> None:
        watched.append(video)
        if video == "b":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(videos, events_run, str(out), SETTINGS, stopped)
    assert (out / "a.json").exists()
    assert not (out / "events.jsonl").exists()
    result = watch(videos, events_run, str(out), SETTINGS, lambda video, done, total: watched.append(video))
    assert watched == ["a", "b", "b"]
    (tmp_path / "anew").mkdir()
    anew = watch(videos, events_run, str(tmp_path / "anew"), SETTINGS)
    assert [one["events"] for one in result["videos"]] == [one["events"] for one in anew["videos"]]
    assert (out / "events.jsonl").read_bytes() == (tmp_path / "anew" / "events.jsonl").read_bytes()
    film(tmp_path / "b.mp4", 2.0)  # another video in its place
    replaced = watch(videos, events_run, str(out), SETTINGS, lambda video, done, total: watched.append(video))
    assert watched[3:] == ["b"] * len(watched[3:])
    assert replaced["videos"][0] == result["videos"][0]
    assert replaced["videos"][1]["segments"] > result["videos"][1]["segments"]
    (tmp_path / "b.mp4").unlink()
    assert watch(videos, events_run, str(out), SETTINGS)["videos"] == replaced["videos"]
    (out / "a.json").write_text("[]")
    with pytest.raises(StorageError, match=r"a\.json: expected what gavt events found in a video"):
        watch(videos, events_run, str(out), SETTINGS)


def test_ids_of_a_list_never_lead_out_of_the_folder(
    events_run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = [("../a", film(tmp_path / "in.mp4", 1.0)), ("b", "youtube:abcdefghijk")]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps({"video": v, "source": s}) + "\n" for v, s in videos))
    with pytest.raises(SystemExit):
        main(["events", str(tmp_path / "list.jsonl"), "--checkpoint", events_run, "--out", str(tmp_path / "out")])
    assert {file.name for file in tmp_path.iterdir()} == {"in.mp4", "list.jsonl", "out"}
    assert len(list((tmp_path / "out").glob("-a-*.npz"))) == 1
    assert "youtube:abcdefghijk: it is an id, and gavt events downloads nothing" in capsys.readouterr().err


def test_a_model_that_tells_no_segments_is_refused(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = film(tmp_path / "in.mp4", 1.0)
    with pytest.raises(SystemExit) as left:
        main(["events", video, "--checkpoint", run, "--out", str(tmp_path / "out")])
    assert left.value.code == 2
    assert "expected a model that tells what happens in each segment (task.kind = events)" in capsys.readouterr().err
    assert not (tmp_path / "out" / "events.jsonl").exists()


def test_the_library_says_the_same(events_run: str, tmp_path: Path) -> None:
    video = film(tmp_path / "in.mp4", 2.5)
    found = gavt.load(events_run, "cpu").events(video)
    trained = load_trained(events_run, torch.device("cpu"))
    track = tell_events(video, trained, SETTINGS)
    assert found.events == track.rows
    assert np.array_equal(found.probabilities, track.probabilities)
    assert np.array_equal(found.maps, track.maps)
    assert found.begin_s.tolist() == pytest.approx([number * LENGTH_S for number in range(5)])
