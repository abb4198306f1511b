"""A sample is decoded into the fields that are asked for, and what nobody asks for is not opened."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from shifted_sound import ShiftedSound, StoredLength

from frames_and_sound import frames_and_sound
from pipeline.errors import SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.features.augment import AugmentDraws, with_matrices
from pipeline.features.draws import DRAWS, draw_augmentation
from pipeline.features.frame_times import FrameTimes
from pipeline.features.settings import FeatureSettings
from pipeline.models.settings import GavtSettings
from pipeline.samples.metadata import SampleMetadata
from pipeline.samples.skeleton import LEFT_HAND, MIRRORED, POINTS, RIGHT_HAND
from pipeline.settings.load import load_settings
from pipeline.shards.array_file import encode_array
from pipeline.shards.keypoints_file import KEYPOINTS_FILE, decode_keypoints, encode_keypoints
from pipeline.shards.members import Sample
from pipeline.sound.flac import encode_flac
from pipeline.stream import opened_sample
from pipeline.stream.arrays import Arrays, noise_of
from pipeline.stream.decode import decode_sample
from pipeline.stream.fields.contract import FieldSpec
from pipeline.stream.fields.registry import fields_of
from pipeline.stream.loader import Loader
from pipeline.stream.opened_sample import CENTRE
from pipeline.stream.read_plan import ReadPlan, plan_reading
from pipeline.stream.settings import DataSettings
from pipeline.stream.sound_track import SoundFormat, open_track
from pipeline.train.run_settings import RunSettings
from pipeline.video.clip import ClipEncoder
from pipeline.video.clip_frames import ClipFrames
from tiny_shards import AUDIO_SAMPLES, FEATURES, RATE_HZ, keypoints_of, write_shard_set

SECONDS = 6
TRIBERT = ("tribert", "tribert_pose")
POSE = {"kind": "keypoints"}
PERSON = [[0.01 * n, 0.5, 0.5] for n in range(POINTS)]
LABELS = {"kind": "segment_labels", "segments": 2, "classes": ["cat", "dog"]}
KNOWN = {"segment_labels": [["dog"], []]}


def features(**more: Any) -> FeatureSettings:
    inputs = {"pose": POSE, "labels": LABELS}
    return FeatureSettings.model_validate(FEATURES | {"inputs": inputs} | more)


def sound() -> npt.NDArray[np.int16]:
    return np.random.default_rng(0).integers(-9000, 9000, (1, SECONDS * RATE_HZ)).astype(np.int16)


def coded(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@cache
def clip() -> bytes:
    encoder = ClipEncoder(96, 64, Fraction(10), 20)
    for number in range(SECONDS * 10):
        pixels = np.full((64, 96, 3), 4 * number, np.uint8)
        encoder.add(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
    return encoder.finish()


def sample_of(layout: str, **changed: Any) -> Sample:
    """Six seconds of sound and one picture, one a second, or ten."""
    images = [coded(np.full((60, 90, 3), 40 * number, np.uint8)) for number in range(SECONDS)]
    known = {"layout": layout, "video": "v", "source": "v.mp4", "frame_times_s": [], "audio_start_s": 0.0}
    known |= {"audio_rate_hz": RATE_HZ, "audio_samples": SECONDS * RATE_HZ} | KNOWN
    shown = {"frame": images[3:4], "segments": images, "clip": []}[layout]
    whole = {"images": shown, "audio": encode_flac(sound(), RATE_HZ), "clip": clip() if layout == "clip" else None}
    whole["files"] = {KEYPOINTS_FILE: encode_keypoints(keypoints_of([[PERSON, None]] * 60))}
    return Sample("k", SampleMetadata.model_validate(known), **(whole | changed))


def with_keypoints(sample: Sample, persons: Sequence[Sequence[Any]]) -> Sample:
    return replace(sample, files={KEYPOINTS_FILE: encode_keypoints(keypoints_of(persons))})


FRAMES_OF = {"frame": 1, "segments": 4, "clip": 4}


@pytest.mark.parametrize("layout", FRAMES_OF)
def test_what_nobody_asks_for_is_not_opened_and_may_be_missing_or_damaged(layout: str) -> None:
    frames, heard = frames_and_sound(FRAMES_OF[layout], 32, 1.0, RATE_HZ, 3 * RATE_HZ, 1)
    both = decode_sample(sample_of(layout), (frames, heard)).arrays
    alone = decode_sample(sample_of(layout, audio=b"no sound"), (frames,))
    assert np.array_equal(alone.arrays["frames"], both["frames"])
    assert alone.audio_start_s is None
    missing = {"images": [], "clip": b"no video" if layout == "clip" else None}
    heard_alone = decode_sample(sample_of(layout, **missing), (heard,))
    assert np.array_equal(heard_alone.arrays["sound"], both["sound"])
    assert heard_alone.frame_times_s == []
    assert heard_alone.squares == {}


def test_a_cut_of_a_clip_is_drawn_from_what_the_longest_field_leaves() -> None:
    _, short = frames_and_sound(1, 32, None, RATE_HZ, RATE_HZ, 1)
    long = replace(short, name="long", format=SoundFormat(RATE_HZ, 4 * RATE_HZ, 1))
    for moment, begins in ((0.0, 0), (0.25, RATE_HZ // 2), (1.0, 2 * RATE_HZ)):
        found = decode_sample(sample_of("clip"), (short, long), moment=moment).arrays
        middle = begins + 2 * RATE_HZ
        assert np.array_equal(found["long"], sound()[:, begins : begins + 4 * RATE_HZ])
        assert np.array_equal(found["sound"], sound()[:, middle - RATE_HZ // 2 :][:, :RATE_HZ])


@pytest.mark.parametrize("layout", FRAMES_OF)
def test_two_squares_of_the_same_pictures_decode_them_once(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, heard = frames_and_sound(FRAMES_OF[layout], 32, 1.0, RATE_HZ, 3 * RATE_HZ, 1)
    judged = replace(shown, name="judged", geometry="squash")
    apart = [decode_sample(sample_of(layout), (one, heard)) for one in (shown, judged)]
    calls = []

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *words: calls.append(words) or real(*words)

    monkeypatch.setattr(opened_sample, "open_image", counted(opened_sample.open_image))
    monkeypatch.setattr(ClipFrames, "decode", counted(ClipFrames.decode))
    found = decode_sample(sample_of(layout), (heard, judged, shown))
    assert len(calls) == (1 if layout == "clip" else FRAMES_OF[layout])
    assert np.array_equal(found.arrays["frames"], apart[0].arrays["frames"])
    assert np.array_equal(found.arrays["judged"], apart[1].arrays["judged"])
    assert found.squares == {"centre": apart[0].squares["centre"], "squash": (0, 0, 1, 1)}


def test_fields_with_other_moments_share_the_clock_of_the_first() -> None:
    frames, heard = frames_and_sound(3, 32, 1.0, RATE_HZ, 3 * RATE_HZ, 1)
    middle = replace(frames, name="middle", times=FrameTimes(1, None, 1.0))
    for layout in ("segments", "clip"):
        found = decode_sample(sample_of(layout), (frames, middle, heard)).arrays
        assert np.array_equal(found["middle"][0], found["frames"][1])


@hypothesis.settings(deadline=None)
@given(st.integers(-30, 60), st.integers(1, 20))
def test_sound_beyond_the_ends_is_silence(middle: int, samples: int) -> None:
    audio = np.arange(1, 21, dtype=np.int16)[None]
    flac = encode_flac(audio, 10)
    track = open_track(Sample("k", sample_of("frame").metadata, [], flac), SoundFormat(10, samples, 1))
    found = track.around(middle / 10, samples)
    first = int(np.floor(middle - samples / 2))
    padded = np.pad(audio, ((0, 0), (60, 90)))
    assert np.array_equal(found, padded[:, 60 + first : 60 + first + samples])
    assert track.begin_around(middle / 10, samples) == pytest.approx(first / 10)


def shards_plan(folder: Path, fields: tuple[str | FieldSpec, ...], workers: int = 0, **more: Any) -> ReadPlan:
    data = DataSettings(workers=workers, block_samples=16, lanes=2)
    return plan_reading(str(folder), features(), data, 3, fields=fields, **({"augment": True} | more))


def test_a_model_without_frames_reads_samples_without_images(tmp_path: Path) -> None:
    blind = write_shard_set(tmp_path / "blind", 24, without="jpg")
    with Loader(shards_plan(blind, ("sound",), workers=1), 8) as loader:
        batches = list(loader.batches([range(8), range(8, 16)]))
    assert [batch.replaced for batch in batches] == [0, 0]
    assert set(batches[0].inputs("cpu")) == {"sound"}
    seeing = write_shard_set(tmp_path / "seeing", 24)
    with Loader(shards_plan(seeing, ("frames", "sound")), 8) as loader:
        expected = loader.read(range(8))
    assert torch.equal(batches[0].inputs("cpu")["sound"], expected.inputs("cpu")["sound"])


def test_inputs_of_others_come_through_worker_processes_as_they_are_decoded_here(tmp_path: Path) -> None:
    folder = write_shard_set(tmp_path, 32, known=KNOWN | {"keypoints": [[PERSON, None]]})
    shifted = ShiftedSound("shifted", SoundFormat(RATE_HZ, AUDIO_SAMPLES // 2, 1), 0.1)
    fields = (shifted, "labels", "frames", StoredLength("bytes", "json"), "pose")
    found = []
    for workers in (0, 2):
        with Loader(shards_plan(folder, fields, workers), 8) as loader:
            found.append([batch.inputs("cpu") for batch in loader.batches([range(8), range(8, 16)])])
    for here, there in zip(*found, strict=True):
        assert list(here) == list(there) == ["shifted", "labels", "frames", "bytes", "pose"]
        assert all(torch.equal(here[name], there[name]) for name in here)
    assert len(set(found[0][0]["shifted"][:, 0].tolist())) == 8
    assert found[0][0]["labels"].tolist() == [[[0.0, 1.0], [0.0, 0.0]]] * 8
    assert found[0][0]["bytes"].min() > 100


def test_notes_say_where_squares_lie_when_pictures_are_shown_and_what_a_sample_is(tmp_path: Path) -> None:
    folder = write_shard_set(tmp_path, 8)
    notes = []
    for fields in (("frames", "sound"), ("sound",)):
        with Loader(shards_plan(folder, fields, augment=False, digests=True), 8) as loader:
            notes.append(loader.read(range(8)).notes)
    assert all(note.squares == {"centre": (0, 0, 1, 1)} and note.frame_times_s == [0.2] for note in notes[0])
    assert all(note.audio_start_s == 0 and note.squares == {} for note in notes[1])
    assert len({note.digest for note in notes[0]}) == 8
    assert [note.digest for note in notes[0]] == [note.digest for note in notes[1]]


def test_keypoints_follow_the_frames_through_cut_and_augmentation() -> None:
    settings = features(frame_size=96, augment={"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0})
    inside = 0
    for seed in range(12):
        random = np.random.default_rng(seed)
        x, y = int(random.integers(60, 120)), int(random.integers(30, 70))
        pixels = np.zeros((100, 180, 3), np.uint8)
        pixels[y - 3 : y + 3, x - 3 : x + 3] = 255
        sample = sample_of("frame", images=[coded(pixels)])
        person = [(0.0, 0.0, 0.0)] + [(x / 180, y / 100, 0.5)] * (POINTS - 1)
        known = with_keypoints(sample, [[None, person]])
        fields = fields_of(settings, ("pose", "frames"), augment=True)
        arrays = decode_sample(known, fields, place=float(random.random())).arrays
        draws = AugmentDraws.of(with_matrices(torch.from_numpy(draw_augmentation(settings.augment, random)[None])))
        pose, frames = (one.on_device(torch.from_numpy(arrays[one.name])[None], draws) for one in fields)
        assert pose.shape == (1, 1, 2, POINTS, 3)
        assert not pose[0, 0, 0].any()
        assert not pose[0, 0, 1, 0].any()
        found, confidence = pose[0, 0, 1, 1:, :2], pose[0, 0, 1, 1:, 2]
        assert (confidence == 0.5).all()
        if not ((found > 0.1) & (found < 0.9)).all():
            continue
        inside += 1
        weights = frames[0, 0].mean(0)
        places = (torch.arange(96) + 0.5) / 96
        middle = [float((weights.sum(axis) * places).sum() / weights.sum()) for axis in (0, 1)]
        assert found[0].tolist() == pytest.approx(middle, abs=0.01)
    assert inside > 4


def test_left_and_right_change_places_when_the_frame_is_flipped() -> None:
    settings = features()
    (field,) = fields_of(settings, ("pose",), augment=True)
    values = torch.rand(2, 1, 2, POINTS, 3)
    values[0, 0, 1] = 0
    whole = {"width": 1.0, "height": 1.0, "x": 0.5, "y": 0.5}
    drawn = [[(whole | {"mirror": mirror}).get(name, 0.0) for name in DRAWS] for mirror in (-1.0, 1.0)]
    flipped, kept = field.on_device(values, AugmentDraws.of(with_matrices(torch.tensor(drawn))))
    assert torch.allclose(kept, values[1], atol=1e-6)
    assert torch.allclose(flipped[0, 0, :, 0], 1 - values[0, 0, 0, list(MIRRORED), 0], atol=1e-6)
    assert torch.allclose(flipped[0, 0, :, 1:], values[0, 0, 0, list(MIRRORED), 1:], atol=1e-6)
    assert not flipped[0, 1].any()
    assert sorted(MIRRORED) == list(range(POINTS))
    assert [MIRRORED[point] for point in (0, 1, 10, 17, 18, 19, 20, 25)] == [0, 2, 9, 17, 18, 19, 21, 24]
    assert [MIRRORED[LEFT_HAND + n] - RIGHT_HAND for n in range(21)] == list(range(21))


@pytest.mark.parametrize("layout", FRAMES_OF)
def test_keypoints_are_of_the_frames_beside_them_or_of_more(layout: str) -> None:
    sample = sample_of(layout)
    there = {"frame": 1, "segments": SECONDS, "clip": 10 * SECONDS}[layout]
    told = [[[(number / 100, 0.5, 1.0)] * POINTS] for number in range(there)]
    known = with_keypoints(sample, told)
    more = {"frame": 1, "segments": 6, "clip": 40}[layout]
    settings = features(
        frames=FRAMES_OF[layout],
        frame_rate_hz=1.0,
        audio_samples=FRAMES_OF[layout] * RATE_HZ,
        inputs={
            "pose": POSE | {"persons": 1},
            "steps": POSE | {"persons": 3, "frames": more, "frame_rate_hz": 10 if layout == "clip" else 1},
        },
    )
    decoded = decode_sample(known, fields_of(settings, ("frames", "sound", "pose", "steps"), augment=False))
    level = decoded.arrays["frames"][:, 0].mean((1, 2))
    seen = {"frame": [0], "segments": level / 40, "clip": level / 4}[layout]
    left, _, right, _ = decoded.squares["centre"]
    numbers = decoded.arrays["pose"][:, 0, 5, 0] * (right - left) + left
    assert (100 * numbers).tolist() == pytest.approx(list(seen), abs=0.4)
    steps = decoded.arrays["steps"]
    assert steps.shape == (more, 3, POINTS, 3)
    assert not steps[:, 1:].any()
    assert (np.diff(steps[:, 0, 5, 0]) * 100 * (right - left)).tolist() == pytest.approx([1.0] * (more - 1), abs=0.05)


@pytest.mark.parametrize(("layout", "rate_hz"), [("segments", 1), ("clip", 10)])
def test_neighbours_are_a_run_of_consecutive_frames_around_the_sounds_middle(layout: str, rate_hz: int) -> None:
    sample = sample_of(layout)
    told = [[[(number / 100, 0.5, 1.0)] * POINTS] for number in range(SECONDS * rate_hz)]
    known = with_keypoints(sample, told)
    spaced = {"frames": 3, "frame_spacing": "neighbours", "frame_rate_hz": 5.0, "audio_samples": 4 * RATE_HZ}
    fields = fields_of(features(**spaced), ("frames", "sound", "pose"), augment=False)
    before = []
    for moment in (0.0, 0.2, CENTRE, 0.8, 1.0):
        decoded = decode_sample(known, fields, moment=moment)
        level = decoded.arrays["frames"][:, 0].mean((1, 2)) / (40 if layout == "segments" else 4)
        first, *others = shown = [round(float(value)) for value in level]
        assert others == [first + 1, first + 2]
        assert decoded.audio_start_s is not None
        before.append(shown.index(int((decoded.audio_start_s + 2) * rate_hz + 1e-5)))
        left, _, right, _ = decoded.squares["centre"]
        places = decoded.arrays["pose"][:, 0, 5, 0] * (right - left) + left
        assert (100 * places).tolist() == pytest.approx(shown, abs=0.05)
    assert before == [0, 0, 1, 2, 2]
    more = fields_of(features(**spaced | {"frames": 70, "frame_rate_hz": 50.0}), ("frames", "sound"), augment=False)
    with pytest.raises(ValueError, match=r"^k: expected 70 (consecutive frames|images) as the features ask for, found"):
        decode_sample(known, more)


def test_samples_without_keypoints_count_as_without_persons_where_that_is_wanted() -> None:
    unknown = sample_of("frame")
    settings = features(inputs={"pose": POSE | {"missing": "zeros"}})
    arrays = decode_sample(replace(unknown, files={}), fields_of(settings, ("pose",), augment=False)).arrays
    assert arrays["pose"].shape == (1, 2, POINTS, 3)
    assert not arrays["pose"].any()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, r"^k: no \.keypoints\.npy in it"),
        ({KEYPOINTS_FILE: b"what"}, r"^k: \.keypoints\.npy: expected an array as numpy\.save writes it"),
        (
            {KEYPOINTS_FILE: encode_array(np.zeros((1, 2, 68, 2)))},
            r"expected float16 \[frames, persons, 68, 3\], found",
        ),
        (
            {KEYPOINTS_FILE: encode_array(np.zeros((1, 2, 68, 3), np.int16))},
            r"persons, 68, 3\], found int16 \[1, 2, 68",
        ),
        ({KEYPOINTS_FILE: encode_array(np.full((1, 2, 68, 3), np.nan))}, r"expected numbers, found some that are none"),
        (
            {KEYPOINTS_FILE: encode_array(np.zeros((0, 2, 68, 3)))},
            r"expected those of its frame 0, found those of 0 fr",
        ),
    ],
)
def test_a_file_of_something_else_than_keypoints_is_bad_and_says_so(files: dict[str, bytes], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        decode_sample(replace(sample_of("frame"), files=files), fields_of(features(), ("pose",), augment=False))


def test_stored_points_are_within_a_4096th_and_those_far_away_or_not_found_do_no_harm() -> None:
    points = np.random.default_rng(0).random((2, 2, POINTS, 3))
    points[0, 0, 0], points[0, 0, 1] = (1e9, -1e9, 0.5), (0.3, 0.4, 0)
    stored = decode_keypoints(encode_keypoints(points))
    assert np.abs(stored[1] - points[1]).max() < 1 / 4096
    assert stored[0, 0, 0].tolist() == [65504, -65504, 0.5]
    assert not stored[0, 0, 1].any()


@pytest.mark.parametrize(
    ("name", "known", "sentence"),
    [
        ("labels", {"segment_labels": None}, r"^k: expected labels of 2 segments as the features ask for, found none"),
        ("labels", {"segment_labels": [[]]}, r"^k: expected labels of 2 segments .*, found those of 1"),
        ("labels", {"segment_labels": [["cow"], []]}, r"^k: expected labels among the 2 classes, found 'cow'"),
    ],
)
def test_a_sample_that_lacks_an_input_is_bad_and_says_so(name: str, known: dict[str, Any], sentence: str) -> None:
    sample = sample_of("frame")
    changed = replace(sample, metadata=sample.metadata.model_copy(update=known))
    with pytest.raises(ValueError, match=sentence):
        decode_sample(changed, fields_of(features(), (name,), augment=False))


def test_noise_looks_like_what_is_decoded() -> None:
    fields = fields_of(features(), ("frames", "pose", "sound", "labels"), augment=True)
    sample = sample_of("frame")
    arrays = noise_of(fields, 3, features().augment, np.random.default_rng(0))
    decoded = decode_sample(sample, fields).arrays
    for name, array in arrays.fields.items():
        assert (array.shape[1:], array.dtype) == (decoded[name].shape, decoded[name].dtype)
        assert array.__array_interface__["data"][0] % array.itemsize == 0
        assert not np.array_equal(array[0], array[1])
    assert Arrays.bytes_of(fields, 3) >= sum(array.nbytes for array in arrays.fields.values())


def test_an_input_that_there_is_not_is_told_with_those_that_are() -> None:
    with pytest.raises(SettingsError, match=r"features.inputs: expected an input 'posse', found none; did you mean"):
        fields_of(features(), ("frames", "posse"), augment=False)
    with pytest.raises(SettingsError, match=r"found none; known are frames, labels, pose, sound"):
        fields_of(features(), ("xyzw",), augment=False)


class Posing(GavtSettings):
    """A model that needs an input more."""

    @property
    def fields(self) -> tuple[str, ...]:
        return ("frames", "sound", "pose")


def test_a_model_whose_input_is_not_described_is_refused_with_the_settings() -> None:
    with pytest.raises(ValidationError, match=r"features\.inputs\.pose for the model or the task, found frames, sound"):
        RunSettings(model=Posing())
    assert RunSettings(model=Posing(), features=features()).fields == ("frames", "sound", "pose")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "features.inputs.pose.kind=posse",
            r"features\.inputs\.pose\.kind: expected 'keypoints', 'segment_labels', 'stored' or",
        ),
        ("features.inputs.pose={persons: 3}", r"features\.inputs\.pose\.kind: expected 'keypoints', 'segment_labels'"),
        (
            "features.inputs.labels={kind: segment_labels}",
            r"features\.inputs\.labels\.classes: this setting is required",
        ),
        ("features.inputs.pose={kind: keypoints, person: 3}", r"person: no such setting; did you mean"),
        ("features.frame_spacing=neighbours", r"expected a frame_rate_hz for frame_spacing = neighbours: .*found null"),
        ("features.inputs.frames={kind: keypoints}", r"inputs of other names than frames and sound"),
        ("features.inputs={A.b: {kind: keypoints}}", r"features\.inputs.*expected text like"),
        ("features.inputs.l={kind: segment_labels, classes: [a, a]}", r"expected classes that differ, found 'a' twice"),
    ],
)
def test_wrong_settings_of_inputs_are_told_at_their_place(override: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        load_settings(None, ExperimentSettings, [override])


def test_triberts_recipes_ask_for_three_neighbours_and_256_steps_of_pose() -> None:
    recipes = [load_settings(f"configs/data/{name}.yaml", ExperimentSettings).settings for name in TRIBERT]
    for recipe in recipes:
        (frames,) = fields_of(recipe.features, ("frames",), augment=False)
        assert frames.shape() == (3, 3, 224, 224)
        assert frames.pictures is not None
        assert frames.pictures.neighbours
    assert [recipe.prepare.layout for recipe in recipes] == ["segments", "clip"]
    (pose,) = fields_of(recipes[1].features, ("keypoints",), augment=False)
    assert pose.shape() == (256, 2, POINTS, 3)
    assert pose.span_s < recipes[1].prepare.clip_s
