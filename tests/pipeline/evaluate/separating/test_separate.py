"""gavt separate: any video in, a sound for each place of it out."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import MediaError, SettingsError
from pipeline.evaluate.separating.found import peaks_of
from pipeline.evaluate.separating.places import Place, places_asked
from pipeline.evaluate.separating.separate import SeparatedVideo, separate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiment import ExperimentSettings
from pipeline.models.contract import VISUAL, AudioVisualModel, Inputs
from pipeline.tasks.mix_and_separate import MixAndSeparate
from small_video import frame_times, sound_span, turn
from small_video import write_video as write_small_video
from sounding_video import low_and_high, read_sound, write_video
from tiny_run import tiny_experiment, tiny_separator, write_run

SETTINGS = EvaluateSettings(geometry="squash")
LEFT, RIGHT = places_asked(["left=0.1,0.5", "right=0.9,0.5"], [], None, False) or []


@pytest.fixture(scope="module")
def separator(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of random weights."""
    return write_run(tmp_path_factory.mktemp("separator") / "run", tiny_separator())


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model finds that what is low comes from the left of the frame and what is high from the right."""

    def masks_in_turn(
        self: MixAndSeparate, model: AudioVisualModel, inputs: Inputs, places: Tensor | None = None
    ) -> Iterator[Tensor]:
        columns = torch.tensor(model.grids[VISUAL].centres("column"))
        count, batch = model.grids[VISUAL].count, len(inputs["sound"])
        weights = torch.eye(count).expand(batch, count, count) if places is None else places
        left = (1.3 - 2 * weights @ columns.repeat(count // len(columns))).clamp(0, 1)[..., None]
        low = (torch.arange(self.bins) < 18).float()
        yield (left * low + (1 - left) * (1 - low))[..., None].expand(-1, -1, -1, 32)

    monkeypatch.setattr(MixAndSeparate, "masks_in_turn", masks_in_turn)


def run_on(video: Path, run: str, out: Path, places: list[Place] | None, **how: Any) -> SeparatedVideo:
    return separate(str(video), run, str(out), SETTINGS, places, **how)


@pytest.mark.usefixtures("knowing")
@pytest.mark.parametrize(
    ("layout", "channels", "rate_hz", "kind"),
    [("mono", 1, 11_025, "flac"), ("stereo", 2, 44_100, "wav"), ("5.1(side)", 6, 48_000, "wav")],
)
def test_a_place_s_sound_has_the_video_s_rate_and_channels(
    layout: str, channels: int, rate_hz: int, kind: str, separator: str, tmp_path: Path
) -> None:
    low, high = low_and_high(3, rate_hz, channels)
    video = write_video(tmp_path / "in.mkv", low + high, layout, rate_hz)
    result = run_on(video, separator, tmp_path / "out", [LEFT, RIGHT], kind=kind, overlay_s=0)
    names = {f"left.{kind}", f"right.{kind}", f"rest.{kind}", "strip.png", "separate.json"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    assert json.loads((tmp_path / "out" / "separate.json").read_text()) == result
    assert (result["rate_hz"], result["channels"], result["seconds"]) == (rate_hz, layout, 3)
    sounds = [read_sound(one["file"]) for one in (*result["places"], result["rest"])]
    inside = slice(rate_hz // 4, -rate_hz // 4)
    for (found, rate, channels_of), expected in zip(sounds, (low, high, 0 * low), strict=True):
        assert (rate, channels_of, found.shape) == (rate_hz, layout, low.shape)
        np.testing.assert_allclose(found[:, inside], expected[:, inside], atol=0.004)
    np.testing.assert_allclose(sum(one[0] for one in sounds), low + high, atol=1e-5)
    shares = [one["share"] for one in result["places"]]
    assert shares == pytest.approx([0.09 / 0.13, 0.04 / 0.13], abs=0.02)
    assert result["counted_twice"] == 0


@pytest.mark.usefixtures("knowing")
def test_a_place_that_moves_takes_its_sound_along(separator: str, tmp_path: Path) -> None:
    low, high = low_and_high(8, 16_000, 1)
    video = write_video(tmp_path / "in.mkv", low + high, times_s=[number / 5 for number in range(40)])
    path = ((2.0, (0.1, 0.5, 0.1, 0.5)), (6.0, (0.9, 0.5, 0.9, 0.5)))
    result = run_on(video, separator, tmp_path / "out", [Place("a", path)], overlay_s=0)
    found, _, _ = read_sound(result["places"][0]["file"])
    np.testing.assert_allclose(found[:, 2000:24_000], low[:, 2000:24_000], atol=0.004)
    np.testing.assert_allclose(found[:, -24_000:-2000], high[:, -24_000:-2000], atol=0.004)
    assert result["places"][0]["path"][1] == {"time_s": 6.0, "box": [0.9, 0.5, 0.9, 0.5]}


@pytest.mark.parametrize("seconds", [0.02, 0.5, 3.3])
def test_places_and_rest_are_the_mixture_of_any_length(seconds: float, separator: str, tmp_path: Path) -> None:
    low, high = low_and_high(seconds, 44_100, 2)
    times = [number / 10 for number in range(max(int(10 * seconds), 1))]
    video = write_video(tmp_path / "in.mkv", low + high, "stereo", 44_100, times)
    result = run_on(video, separator, tmp_path / "out", [LEFT])
    whole = sum(read_sound(one["file"])[0] for one in (*result["places"], result["rest"]))
    np.testing.assert_allclose(whole, low + high, atol=1e-5)


@pytest.mark.parametrize("find", [False, True])
def test_a_silent_video_gives_silence(find: bool, separator: str, tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mkv", np.zeros((1, 48_000), np.float32))
    result = run_on(video, separator, tmp_path / "out", None if find else [LEFT])
    assert [one["name"] for one in result["places"]] == ([] if find else ["left"])
    for one in (*result["places"], result["rest"]):
        assert (one["loudness_db"], one["share"]) == (None, 0)
        assert not read_sound(one["file"])[0].any()


@pytest.mark.usefixtures("knowing")
def test_sound_that_begins_late_and_ends_after_the_pictures_keeps_its_time(separator: str, tmp_path: Path) -> None:
    low, high = low_and_high(4, 16_000, 1)
    video = write_video(tmp_path / "in.mkv", low + high, times_s=[0.0, 0.1, 0.15, 0.6, 1.4], sound_from_s=0.8)
    result = run_on(video, separator, tmp_path / "out", [LEFT])
    found, _, _ = read_sound(result["places"][0]["file"])
    assert found.shape[1] == 12_800 + 64_000
    assert np.abs(found[:, :12_000]).max() < 1e-3
    np.testing.assert_allclose(found[:, 16_000:-4000], low[:, 3200:-4000], atol=0.004)
    assert frame_times(str(result["overlay"])) == pytest.approx([0.0, 0.1, 0.15, 0.6, 1.4], abs=0.002)


def test_the_overlay_has_the_sound_of_the_beginning_and_marks_the_places(separator: str, tmp_path: Path) -> None:
    video = turn(write_small_video(tmp_path / "in.mp4"))
    place = places_asked(["0.5,0.5"], [], None, False)
    result = run_on(video, separator, tmp_path / "out", place, overlay_s=1.5)
    film = str(result["overlay"])
    assert frame_times(film) == pytest.approx([number / 10 for number in range(15)], abs=0.001)
    assert sound_span(film)[1] == pytest.approx(1.5, abs=0.15)
    with av.open(film) as container:
        pixels = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert pixels.shape == (96, 64, 3)  # upright
    colourful = np.ptp(pixels, axis=2)
    assert colourful[40:56, 22:42].max() > 60  # the ring; the picture is grey there
    assert colourful[60:84].max() < 40


def test_the_strip_shows_a_spectrogram_of_each_sound(separator: str, tmp_path: Path) -> None:
    low, high = low_and_high(3, 16_000, 1)
    video = write_video(tmp_path / "in.mkv", low + high)
    result = run_on(video, separator, tmp_path / "out", [LEFT, RIGHT], overlay_s=0)
    with Image.open(result["strip"]) as strip:
        pixels = np.array(strip.convert("L")).astype(int)
    spectrograms = [pixels[30 + number * 150 : 150 + number * 150, -300:-20] for number in range(4)]
    assert all(one.max() > 100 for one in spectrograms[:3])
    assert all((one < 30).mean() > 0.3 for one in spectrograms)


@pytest.mark.usefixtures("knowing")
def test_of_what_is_found_the_loudest_place_is_the_first(separator: str, tmp_path: Path) -> None:
    low, high = low_and_high(3, 16_000, 1)
    result = run_on(write_video(tmp_path / "in.mkv", 0.1 * low + high), separator, tmp_path / "out", None)
    first = result["places"][0]
    assert first["name"] == "place_1"
    assert first["path"][0]["box"][0] > 0.7


def test_peaks_are_apart_in_order_and_inside_the_frame() -> None:
    energy = np.zeros((8, 8), np.float32)
    energy[1, 1], energy[1, 2], energy[6, 6], energy[4, 7], energy[7, 0] = 5, 4, 9, 1, 8
    middles = [(number + 0.5) / 8 for number in range(8)]
    assert peaks_of(energy, (0, 0, 1, 1), middles, middles) == [
        pytest.approx((0.8125, 0.8125)),
        pytest.approx((0.0625, 0.9375)),
        pytest.approx((0.1875, 0.1875)),
    ]
    letterbox = (0, -0.5, 1, 1.5)  # half of the map lies in bars above and below the frame
    assert peaks_of(energy + np.eye(8, dtype=np.float32), letterbox, middles, middles) == []
    assert peaks_of(np.ones((8, 8), np.float32), (0, 0, 1, 1), middles, middles) == []
    assert peaks_of(np.full((8, 8), np.nan, np.float32), (0, 0, 1, 1), middles, middles) == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (tiny_experiment(), "trained by mix_and_separate, found task.kind = mma"),
        (tiny_separator(head="audio"), "task.head = places.*, found task.head = audio"),
    ],
)
def test_a_model_that_separates_no_places_is_said(settings: ExperimentSettings, sentence: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", settings)
    with pytest.raises(SettingsError, match=f"^{run}.*: expected a model that separates by place, .*{sentence}"):
        run_on(tmp_path / "in.mkv", run, tmp_path / "out", [LEFT])


def test_a_mask_of_the_whole_frame_takes_what_is_in_sight(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tiny_separator(head="audio"))
    low, high = low_and_high(2, 16_000, 1)
    video = write_video(tmp_path / "in.mkv", low + high, size=(128, 64))
    result = separate(str(video), run, str(tmp_path / "out"), EvaluateSettings(), None)
    (place,) = result["places"]
    assert (place["name"], place["path"]) == ("in_sight", [{"time_s": 0.0, "box": [0.25, 0.0, 0.75, 1.0]}])
    assert 0 < place["share"] < 1
    whole = sum(read_sound(one["file"])[0] for one in (place, result["rest"]))
    np.testing.assert_allclose(whole, low + high, atol=1e-5)


def test_a_place_that_the_model_does_not_see_is_said_before_the_work(separator: str, tmp_path: Path) -> None:
    low, _ = low_and_high(1, 16_000, 1)
    video = write_video(tmp_path / "in.mkv", low, size=(128, 64))
    with pytest.raises(SettingsError, match=r"left: expected a place that the model sees, x in 0.250 to 0.750"):
        separate(str(video), separator, str(tmp_path / "out"), EvaluateSettings(), [LEFT])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "sentence"), [("mute.mkv", "no audio track"), ("gone.mkv", "no such file")])
def test_what_is_no_video_with_sound_is_said(name: str, sentence: str, separator: str, tmp_path: Path) -> None:
    write_video(tmp_path / "mute.mkv", None)
    with pytest.raises(MediaError, match=sentence) as caught:
        run_on(tmp_path / name, separator, tmp_path / "out", [LEFT])
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert not (tmp_path / "out").exists()


def test_flac_holds_eight_channels_at_most(separator: str, tmp_path: Path) -> None:
    low, _ = low_and_high(0.5, 48_000, 16)
    video = write_video(tmp_path / "in.mkv", low[:1])
    with av.open(str(tmp_path / "wide.mkv"), "w") as out, av.open(str(video)) as picture:
        stream = out.add_stream_from_template(picture.streams.video[0])
        sound = out.add_stream("pcm_s16le", rate=48_000, layout="hexadecagonal")
        for packet in picture.demux(picture.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray((low * 32767).astype(np.int16).T).reshape(1, -1), format="s16", layout="hexadecagonal"
        )
        frame.sample_rate = 48_000
        out.mux([*sound.encode(frame), *sound.encode(None)])
    with pytest.raises(SettingsError, match="--format: expected wav.* found 16"):
        run_on(tmp_path / "wide.mkv", separator, tmp_path / "out", [LEFT], kind="flac")
    result = run_on(tmp_path / "wide.mkv", separator, tmp_path / "out", [LEFT], overlay_s=0)
    assert read_sound(result["rest"]["file"])[0].shape == low.shape


def test_an_interrupted_call_leaves_what_was_there(separator: str, tmp_path: Path) -> None:
    low, high = low_and_high(3, 16_000, 1)
    video = write_video(tmp_path / "in.mkv", low + high)
    run_on(video, separator, tmp_path / "out", [LEFT], overlay_s=0)
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}

    def interrupt(doing: str, done: float, total: float) -> None:
        if done > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_on(video, separator, tmp_path / "out", [RIGHT], on_progress=interrupt)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_the_same_call_gives_the_same_bytes(separator: str, tmp_path: Path) -> None:
    low, high = low_and_high(2, 16_000, 2)
    video = write_video(tmp_path / "in.mkv", low + high, "stereo")
    for kind in ("wav", "flac"):
        files = []
        for _ in range(2):
            result = run_on(video, separator, tmp_path / "out", [LEFT], kind=kind, overlay_s=0)
            files.append(Path(result["places"][0]["file"]).read_bytes())
            shutil.rmtree(tmp_path / "out")
        assert files[0] == files[1]
