"""A model as a library: what it says of videos and arrays is what the verbs write."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline import api as gavt
from pipeline.errors import CheckpointError, MediaError, SettingsError
from pipeline.evaluate.overlay.localize import localize
from pipeline.evaluate.separating.places import places_asked
from pipeline.evaluate.separating.separate import separate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.contract import AUDIO, VISUAL
from pipeline.train.checkpoints.export import export
from small_video import write_video
from sounding_video import low_and_high, read_sound
from sounding_video import write_video as write_lossless_video
from tiny_run import tiny_experiment, tiny_separator, write_run

READOUT = "class_token"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With `run`, `separator` and `video.mp4`."""
    folder = tmp_path_factory.mktemp("library")
    write_run(folder / "run", tiny_experiment())
    write_run(folder / "separator", tiny_separator())
    write_video(folder / "video.mp4")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> gavt.Model:
    return gavt.load(folder / "run", device="cpu")


def test_maps_are_those_of_the_command_to_the_bit(folder: Path, model: gavt.Model, tmp_path: Path) -> None:
    written = localize(str(folder / "video.mp4"), str(folder / "run"), str(tmp_path), EvaluateSettings(), 0.5, READOUT)
    found = model.localize(folder / "video.mp4", readout=READOUT)
    arrays = np.load(written["maps"])
    assert set(arrays.files) == set(vars(found))
    for name in arrays.files:
        np.testing.assert_array_equal(getattr(found, name), arrays[name], err_msg=name)
        assert np.asarray(getattr(found, name)).dtype == arrays[name].dtype


def test_separated_sounds_are_those_of_the_command_to_the_bit(folder: Path, tmp_path: Path) -> None:
    low, high = low_and_high(2, 16_000, 2)
    video = write_lossless_video(tmp_path / "in.mkv", low + high, "stereo")
    settings = EvaluateSettings(geometry="squash")
    places = places_asked(["left=0.1,0.5"], ["right=0.7,0.3,0.9,0.8"], None, False)
    written = separate(str(video), str(folder / "separator"), str(tmp_path / "out"), settings, places, overlay_s=0)
    separator = gavt.load(folder / "separator", overrides=["evaluate.geometry=squash"])
    found = separator.separate(video, at={"left": (0.1, 0.5), "right": (0.7, 0.3, 0.9, 0.8)})
    assert list(found.sounds) == ["left", "right", "rest"]
    assert found.rate_hz == written["rate_hz"]
    assert [list(box) for box in found.places.values()] == [one["path"][0]["box"] for one in written["places"]]
    for sound, one in zip(found.sounds.values(), (*written["places"], written["rest"]), strict=True):
        of_file, _, _ = read_sound(one["file"])
        np.testing.assert_array_equal(np.rint(sound * (1 << 23)), np.rint(of_file * (1 << 23)))  # of 24 bits


def test_without_places_the_model_finds_them(folder: Path) -> None:
    found = gavt.load(folder / "separator").separate(folder / "video.mp4")
    assert list(found.sounds)[-1] == "rest"
    assert set(found.sounds) - {"rest"} == set(found.places)


def test_moments_have_a_vector_of_the_frame_the_sound_and_both(folder: Path, model: gavt.Model) -> None:
    found = model.embed(folder / "video.mp4", every_s=1.0)
    assert found.times_s.tolist() == [0, 1, 2]
    widths = model.trained.system.model.widths
    assert found.frame.shape == (3, widths[VISUAL])
    assert found.sound.shape == (3, widths[AUDIO])
    assert found.joint.shape == (3, widths["class"])
    assert {one.dtype for one in found.vectors.values()} == {np.dtype(np.float32)}


def test_how_well_sound_and_frame_belong_together_is_what_localize_says(folder: Path, model: gavt.Model) -> None:
    found = model.score(folder / "video.mp4", every_s=1.0)
    maps = model.localize(folder / "video.mp4", every_s=1.0, readout=READOUT)
    np.testing.assert_array_equal(found.times_s, maps.times_s)
    np.testing.assert_array_equal(found.match, maps.match)
    assert found.mean == pytest.approx(maps.match.mean())


def test_an_export_is_the_run_s_model(folder: Path, model: gavt.Model, tmp_path: Path) -> None:
    export(str(folder / "run"), str(tmp_path / "exported"))
    of_export = gavt.load(tmp_path / "exported", device="cpu")
    assert (of_export.step, of_export.settings) == (model.step, model.settings)
    found, expected = (one.embed(folder / "video.mp4", every_s=1.0) for one in (of_export, model))
    np.testing.assert_array_equal(found.joint, expected.joint)


def test_threads_that_ask_the_same_model_get_what_one_gets(folder: Path, model: gavt.Model) -> None:
    def ask(_: object) -> np.ndarray:
        return model.localize(folder / "video.mp4", every_s=1.0, readout="gradient_weighted").maps

    expected = ask(None)
    with ThreadPoolExecutor(3) as pool:
        for maps in pool.map(ask, range(6)):
            np.testing.assert_array_equal(maps, expected)


def clip_of(video: Path) -> gavt.Clip:
    """What a lossless video has in it, as others' readers give it."""
    with av.open(str(video)) as container:
        frames = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    sound, rate_hz, _ = read_sound(video)
    return gavt.Clip(np.stack([pixels for _, pixels in frames]), sound, rate_hz, [time for time, _ in frames])


def test_arrays_say_the_same_as_the_file_that_they_come_from(folder: Path, model: gavt.Model, tmp_path: Path) -> None:
    low, high = low_and_high(3, 16_000, 2)
    video = write_lossless_video(tmp_path / "in.mkv", low + high, "stereo")
    of_file, of_clip = (model.localize(one, readout=READOUT) for one in (video, clip_of(video)))
    np.testing.assert_array_equal(of_clip.times_s, of_file.times_s)
    np.testing.assert_allclose(of_clip.maps, of_file.maps, atol=1e-4)  # colours came through RGB
    separator = gavt.load(folder / "separator", overrides=["evaluate.geometry=squash"])
    of_both = [separator.separate(one, at=[(0.1, 0.5)]).sounds["place_1"] for one in (video, clip_of(video))]
    assert of_both[0].shape == of_both[1].shape == (2, 48_000)
    np.testing.assert_allclose(of_both[1], of_both[0], atol=1e-4)


def test_a_still_is_seen_as_long_as_it_sounds(model: gavt.Model) -> None:
    generator = np.random.default_rng(0)
    still = generator.integers(0, 255, (1, 40, 60, 3), dtype=np.uint8)
    found = model.score(gavt.Clip(still, generator.normal(0, 0.1, 24_000), 8000.0), every_s=1.0)
    assert found.times_s.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"frames": np.zeros((2, 8, 8, 3))},
            r"Clip\.frames: expected uint8 \[T, H, W, 3\], found float64 \[2, 8, 8, 3\]",
        ),
        ({"frames": np.zeros((0, 8, 8, 3), np.uint8)}, r"Clip\.frames: .* found uint8 \[0, 8, 8, 3\]"),
        ({"sound": np.zeros((3, 9), np.float32)}, r"Clip\.sound: expected floats \[C, S\] of one or two channels"),
        ({"sound": np.zeros(9, np.int16)}, r"Clip\.sound: .* found int16 \[1, 9\]"),
        ({"sound": np.full(9, np.nan)}, r"Clip\.sound: expected numbers in −1\.\.1, found NaN"),
        ({"times_s": [0.0]}, r"Clip\.times_s: expected 2 times in s that rise"),
        ({"times_s": [0.5, np.nan]}, r"Clip\.times_s: expected 2 times in s that rise"),
        ({"times_s": [0.5, 0.5]}, r"Clip\.times_s: expected 2 times in s that rise"),
        ({"fps": 0.0}, r"Clip\.fps: expected frames a second, above 0, found 0"),
        ({"rate_hz": 0}, r"Clip\.rate_hz: expected samples a second, above 0, found 0"),
        ({"rate_hz": 8000.5}, r"Clip\.rate_hz: expected whole samples a second, found 8000\.5"),
    ],
)
def test_arrays_that_are_no_video_are_said(change: dict[str, Any], sentence: str) -> None:
    whole = {"frames": np.zeros((2, 8, 8, 3), np.uint8), "sound": np.zeros(9, np.float32), "rate_hz": 8000}
    with pytest.raises(SettingsError, match=f"^{sentence}"):
        gavt.Clip(**whole | change)


Ask = Callable[[gavt.Model, Path], object]


@pytest.mark.parametrize(
    ("ask", "kind", "sentence"),
    [
        (lambda it, at: it.localize(at / "gone.mp4"), MediaError, r"\S*gone\.mp4: no such file"),
        (lambda it, at: it.embed(at / "gone.mp4"), MediaError, r"\S*gone\.mp4: no such file"),
        (lambda it, at: it.localize(at / "video.mp4", readout="x"), SettingsError, "readout: expected one of"),
        (lambda it, at: it.score(at / "video.mp4", every_s=0), SettingsError, "every_s: expected seconds"),
        (lambda it, at: it.separate(at / "video.mp4"), SettingsError, r"\S*run\S*: expected a model that sep"),
        (lambda it, at: it.separate("x", at=[(0.1,)]), SettingsError, "at place_1: expected x,y, .* 1 numbers"),
        (lambda it, at: it.separate("x", at=[(9, 9)]), SettingsError, "at place_1: .* divide pixels by"),
        (lambda it, at: it.separate("x", at={"a": "b"}), SettingsError, r"at a: expected \(x, y\) or"),
        (lambda it, at: it.separate("x", at=[]), SettingsError, r"at: expected points"),
        (
            lambda it, at: it.localize(gavt.Clip(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(99), 8000)),
            MediaError,
            r"the clip: expected 0\.10 s of audio or more, which can be repeated",
        ),
        (lambda it, at: gavt.load(at), CheckpointError, r"\S*: expected a run folder or a checkpoint"),
        (lambda it, at: gavt.load(at / "run", "x"), SettingsError, "evaluate.device: expected auto, cpu, cuda"),
        (lambda it, at: gavt.load(at / "run", "cuda:99"), SettingsError, "evaluate.device: expected a GPU"),
        (lambda it, at: gavt.load(at / "run", overrides=["a=1"]), SettingsError, "override 'a=1': "),
        (lambda it, at: gavt.load(at / "separator").score(at / "video.mp4"), SettingsError, r"\S*: .*mix_and"),
    ],
)
def test_wrong_input_is_said_in_one_sentence(
    ask: Ask, kind: type[gavt.UserError], sentence: str, folder: Path, model: gavt.Model
) -> None:
    with pytest.raises(kind, match=f"^{sentence}") as caught:
        ask(model, folder)
    assert "\n" not in str(caught.value)


def test_a_model_is_loaded_from_a_store(folder: Path, s3_bucket: str, model: gavt.Model) -> None:
    from cluster import storage

    for file in (folder / "run").rglob("*"):
        if file.is_file():
            storage.upload(file, storage.join(s3_bucket, "run", str(file.relative_to(folder / "run"))))
    storage.upload(folder / "video.mp4", storage.join(s3_bucket, "video.mp4"))
    far = gavt.load(f"{s3_bucket}/run").score(f"{s3_bucket}/video.mp4", every_s=1.0)
    np.testing.assert_array_equal(far.match, model.score(folder / "video.mp4", every_s=1.0).match)
