"""A sample is decoded into the fields that are asked for, and what nobody asks for is not opened."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from shifted_sound import ShiftedSound, StoredLength

from frames_and_sound import frames_and_sound
from layout_samples import FRAMES_OF, KNOWN, PERSON, SECONDS, features, sample_of, sound, with_keypoints
from pipeline.errors import SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.features.frame_times import FrameTimes
from pipeline.models.settings import GavtSettings
from pipeline.samples.skeleton import POINTS
from pipeline.settings.load import load_settings
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
from pipeline.video.clip_frames import ClipFrames
from tiny_shards import AUDIO_SAMPLES, RATE_HZ, write_shard_set

TRIBERT = ("tribert", "tribert_pose")


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
