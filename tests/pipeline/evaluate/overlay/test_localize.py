"""gavt localize: any video in, the same video with a heat map out."""

import json
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pipeline.errors import CheckpointError, MediaError, SettingsError
from pipeline.evaluate.overlay.localize import Localized, localize
from pipeline.evaluate.overlay.overlay import lay_heat
from pipeline.evaluate.overlay.track import MapTrack, make_track
from pipeline.evaluate.readouts.readout import Readout
from pipeline.evaluate.registry import DEFAULT_READOUT
from pipeline.evaluate.settings import AttentionSettings, EvaluateSettings
from pipeline.features.settings import Geometry
from pipeline.models.contract import Inputs
from pipeline.tasks.task import System
from pipeline.train.load import load_trained
from small_video import frame_times, picture_size, sound_span, turn, write_video
from tiny_run import tiny_experiment, write_run

SETTINGS = EvaluateSettings()


def run_on(video: Path, run: str, out: Path, every_s: float = 0.5, readout: str | None = None) -> Localized:
    return localize(str(video), run, str(out), SETTINGS, every_s, readout)


def test_the_overlay_keeps_every_frame_s_time_and_the_sound(run: str, tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mp4")
    result = run_on(video, run, tmp_path / "out")
    assert frame_times(result["overlay"]) == pytest.approx(frame_times(str(video)), abs=0.001)
    assert sound_span(result["overlay"]) == pytest.approx(sound_span(str(video)), abs=0.07)  # AAC counts in 64 ms here
    with av.open(result["overlay"]) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"
    maps = np.load(result["maps"])
    assert maps["times_s"].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert maps["maps"].shape == (6, 32, 32)
    assert maps["maps"].dtype == np.float32
    assert maps["square"].tolist() == pytest.approx([1 / 6, 0, 5 / 6, 1])
    assert ((maps["match"] > 0) & (maps["match"] < 1)).all()
    assert (result["moments"], result["readout"]) == (6, DEFAULT_READOUT)


def test_frames_at_uneven_times_stay_where_they_are(run: str, tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.15, 0.6, 0.61, 1.4, 2.0]
    video = write_video(tmp_path / "in.mkv", times_s=times)
    result = run_on(video, run, tmp_path / "out")
    assert frame_times(result["overlay"]) == pytest.approx(times, abs=0.002)


def test_sound_that_begins_late_stays_late(run: str, tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mp4", sound_from_s=0.8, sound_s=2.0)
    result = run_on(video, run, tmp_path / "out")
    assert sound_span(result["overlay"])[0] == pytest.approx(sound_span(str(video))[0], abs=0.07)


def test_a_picture_of_odd_size_is_drawn_at_an_even_one(run: str, tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mkv", size=(97, 65))
    assert picture_size(run_on(video, run, tmp_path / "out")["overlay"]) == (96, 64)


def test_large_pictures_are_scaled_down_to_720_rows(run: str, tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mp4", size=(1600, 900), times_s=[0.0, 0.1, 0.2])
    assert picture_size(run_on(video, run, tmp_path / "out")["overlay"]) == (1280, 720)


def test_a_turned_picture_is_drawn_upright(run: str, tmp_path: Path) -> None:
    video = turn(write_video(tmp_path / "in.mp4"))
    result = run_on(video, run, tmp_path / "out")
    assert picture_size(result["overlay"]) == (64, 96)
    with av.open(result["overlay"]) as container:
        pixels = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    # turned clockwise, the upper left corner becomes the upper right one
    redness = pixels[..., 0] - pixels[..., 1:].mean(2)
    assert redness[:12, 50:].mean() > redness[:12, :14].mean() + 40
    maps = np.load(result["maps"])
    assert maps["square"].tolist() == pytest.approx([0, 1 / 6, 1, 5 / 6])


def test_the_strip_shows_at_most_eight_moments(run: str, tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mp4")
    result = run_on(video, run, tmp_path / "out", every_s=0.2)
    with Image.open(result["strip"]) as strip:
        assert strip.size == (8 * 96 + 7 * 8, 64 + 28)


def test_the_readout_that_evaluation_chose_is_used(run: str, tmp_path: Path) -> None:
    Path(run, "evaluation.json").write_text(
        json.dumps({"tables": [{"measure": "localisation", "details": {"readout": "class_token"}}]})
    )
    video = write_video(tmp_path / "in.mp4")
    assert run_on(video, run, tmp_path / "out")["readout"] == "class_token"
    assert run_on(video, run, tmp_path / "out", readout="attention")["readout"] == "attention"


def test_maps_lie_where_the_evaluation_found_that_they_lie(run: str, tmp_path: Path) -> None:
    placement = {"attention": "centres", "class_token": "even"}
    details = {"readout": "attention", "placement": placement}
    Path(run, "evaluation.json").write_text(json.dumps({"tables": [{"measure": "localisation", "details": details}]}))
    video = write_video(tmp_path / "in.mp4")
    centres, even = [(0.5 + 8 * token) / 32 for token in range(4)], [0.125, 0.375, 0.625, 0.875]
    assert np.load(run_on(video, run, tmp_path / "out")["maps"])["rows"].tolist() == centres
    assert np.load(run_on(video, run, tmp_path / "out", readout="class_token")["maps"])["columns"].tolist() == even


@pytest.mark.parametrize(
    ("make", "reason", "sentence"),
    [
        (lambda folder: write_video(folder / "mute.mp4", sound_s=None), "no_audio", "no audio track"),
        (
            lambda folder: write_video(folder / "late.mp4", sound_s=1.0, sound_from_s=9.0),
            "too_short",
            "begins after its",
        ),
        (lambda folder: folder / "gone.mp4", "missing", "no such file"),
        (lambda folder: folder, "unreadable", "it is a folder"),
    ],
)
def test_what_is_no_video_with_sound_is_said_in_one_sentence(
    make: object, reason: str, sentence: str, run: str, tmp_path: Path
) -> None:
    assert callable(make)
    video = make(tmp_path)
    with pytest.raises(MediaError, match=sentence) as caught:
        run_on(video, run, tmp_path / "out")
    assert caught.value.reason == reason
    assert str(caught.value).startswith(f"{video}: ")
    assert not (tmp_path / "out").exists()


def test_a_video_shorter_than_the_model_hears_at_once_has_maps_and_says_that_its_sound_is_repeated(
    run: str, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "short.mp4", times_s=[0.0, 0.1, 0.2], sound_s=0.3)
    result = run_on(video, run, tmp_path / "out", every_s=0.1)
    assert (result["moments"], result["sound_repeated"]) == (3, True)
    assert np.load(result["maps"])["times_s"].tolist() == pytest.approx([0.0, 0.1, 0.2])


def test_text_with_a_video_s_name_is_said(run: str, tmp_path: Path) -> None:
    video = tmp_path / "text.mp4"
    video.write_text("not a video")
    with pytest.raises(MediaError, match=r"text\.mp4: not a media file"):
        run_on(video, run, tmp_path / "out")


def test_wrong_checkpoints_and_readouts_are_said(run: str, tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mp4")
    with pytest.raises(CheckpointError, match="expected a run folder or a checkpoint"):
        run_on(video, str(tmp_path), tmp_path / "out")
    with pytest.raises(SettingsError, match="^readout: expected one of"):
        run_on(video, run, tmp_path / "out", readout="nonsense")
    over_spectrogram = EvaluateSettings(attention=AttentionSettings(perspective="audio"))
    with pytest.raises(SettingsError, match=r"evaluate\.attention\.perspective: expected visual"):
        localize(str(video), run, str(tmp_path / "out"), over_spectrogram, readout="attention")


def test_a_model_of_three_frames_follows_a_video(tmp_path: Path) -> None:
    one = tiny_experiment()
    settings = one.model_copy(update={"features": one.features.model_copy(update={"frames": 3})})
    video = write_video(tmp_path / "in.mp4")
    result = run_on(video, write_run(tmp_path / "run", settings), tmp_path / "out")
    assert frame_times(result["overlay"]) == pytest.approx(frame_times(str(video)), abs=0.001)
    maps = np.load(result["maps"])
    assert maps["maps"].shape == (6, 32, 32)
    with Image.open(result["strip"]) as strip:
        assert strip.size == (6 * 96 + 5 * 8, 64 + 28)


@pytest.mark.parametrize("geometry", [None, "centre", "squash", "letterbox"])
@pytest.mark.parametrize("size", [(160, 90), (90, 160)])
def test_heat_lies_where_its_place_is_seen_in_every_geometry(
    geometry: Geometry | None, size: tuple[int, int], run: str, tmp_path: Path
) -> None:
    """A readout that points at what is red is drawn over the red corner, as far as the model sees it."""

    class Red:
        name = "red"

        def __call__(self, system: System, inputs: Inputs) -> Tensor:
            frames = inputs["frames"]
            return functional.avg_pool2d((frames[:, 0, 0] - frames[:, 0, 1]).clamp(min=0), 2)

    trained = load_trained(run, "cpu")
    video = write_video(tmp_path / "in.mp4", size=size, times_s=[0.0, 0.5, 1.0])
    chosen = EvaluateSettings(geometry=geometry).shown_geometry
    track = make_track(
        str(video),
        trained.system,
        trained.settings.features,
        cast("Readout", Red()),
        0.5,
        torch.device("cpu"),
        chosen,
        lambda done, total: None,
    )
    width, height = size
    grey = np.full((height, width, 3), 100, dtype=np.uint8)
    drawn = lay_heat(grey, track.heat(0.0), track.square).astype(int)
    hot = np.argwhere(np.ptp(drawn, axis=2) > 30)  # the border is grey
    left, top = (max(one - other, 0) // 2 if chosen == "centre" else 0 for one, other in (size, size[::-1]))
    expected = (top + height // 4) / 2, (left + width // 4) / 2  # the middle of what is seen of the red corner
    assert hot.mean(0) == pytest.approx(expected, abs=4)
    assert (hot.max(0) < (height // 4 + 10, width // 4 + 10)).all()


def test_maps_that_are_not_finite_show_no_heat_and_are_counted(tmp_path: Path) -> None:
    spoilt = write_run(tmp_path / "run", tiny_experiment(), spoil=True)
    video = write_video(tmp_path / "in.mp4", times_s=[0.0, 0.5, 1.0])
    result = run_on(video, spoilt, tmp_path / "out")
    assert result["not_finite"] == result["moments"] == 3
    assert frame_times(result["overlay"]) == pytest.approx([0.0, 0.5, 1.0], abs=0.001)


def test_maps_blend_between_their_moments() -> None:
    maps = np.array([[[0.0, 2.0]], [[5.0, 1.0]]], dtype=np.float32)  # scaled: 0 1, then 1 0
    square = (0.0, 0.0, 1.0, 1.0)
    track = MapTrack(np.array([1.0, 2.0]), maps, np.array([0.2, 0.6]), square, [(0.0, 9.0)], 1.0)
    assert track.heat(0.5).tolist() == [[0.0, 1.0]]
    assert track.heat(1.25).tolist() == [[0.25, 0.75]]
    assert track.heat(2.9).tolist() == [[1.0, 0.0]]
    assert track.match_at(1.5) == pytest.approx(0.4)
    assert track.heat(4.0) is None  # of a stretch that the model could not be given
    split = MapTrack(np.array([1.0, 2.0]), maps, np.array([0.2, 0.6]), square, [(0.0, 1.2), (1.6, 2.3)], 1.0)
    assert split.heat(1.2).tolist() == [[0.0, 1.0]]
    assert split.heat(1.4) is None
    assert split.match_at(1.4) == 0.0
    assert split.heat(1.6).tolist() == [[1.0, 0.0]]
    assert split.heat(2.5) is None


def drawn_at(file: str) -> list[float]:
    """Times of the frames of an overlay that are coloured: the pictures are grey but for a corner."""
    with av.open(file) as container:
        frames = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    return [time for time, pixels in frames if np.ptp(pixels[24:, 24:].astype(int), axis=2).max() > 40]


def test_there_is_no_heat_where_there_is_no_sound(run: str, tmp_path: Path) -> None:
    times = [number / 10 for number in range(60)]
    cases = {
        "ends.mp4": write_video(tmp_path / "ends.mp4", times_s=times, sound_s=2.0),
        "begins.mkv": write_video(tmp_path / "begins.mkv", times_s=times, sound_from_s=3.0, sound_s=3.0),
        "hole.mkv": write_video(tmp_path / "hole.mkv", times_s=times, sound_s=6.0, silent_s=(2.0, 4.0)),
    }
    sounds = {"ends.mp4": [(0, 2)], "begins.mkv": [(3, 6)], "hole.mkv": [(0, 2), (4, 6)]}
    for name, video in cases.items():
        result = run_on(video, run, tmp_path / f"out of {name}")
        maps = np.load(result["maps"])
        assert maps["sound_s"].tolist() == [pytest.approx(span, abs=0.1) for span in sounds[name]], name
        spans = [(begin - 0.1, end + 0.1) for begin, end in maps["sound_s"]]
        assert all(any(begin <= time <= end for begin, end in spans) for time in maps["times_s"]), name
        assert len(maps["times_s"]) >= 4, name
        coloured = drawn_at(result["overlay"])
        assert all(any(begin <= time <= end for begin, end in spans) for time in coloured), name
        assert len(coloured) >= 5, name


def test_heat_colours_only_the_square_and_lets_cold_places_through() -> None:
    frame = np.full((40, 80, 3), 100, dtype=np.uint8)
    heat = np.zeros((4, 4), dtype=np.float32)
    heat[1, 1] = 1.0
    drawn = lay_heat(frame, heat, (0.25, 0.0, 0.75, 1.0))
    assert (drawn[:, :20] == 100).all()
    assert (drawn[:, 60:] == 100).all()
    assert (drawn[30:, 45:55] == 100).all()
    assert abs(drawn[14, 34].astype(int) - 100).max() > 30
    assert (drawn[:, 20] >= 100).all()  # the border is a thin light line
    assert drawn[35, 20, 0] > 120
    assert (frame == 100).all()
