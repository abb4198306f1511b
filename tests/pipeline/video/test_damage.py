"""Whatever decoding raises over a sample's bytes, the sample is bad, and the work goes on."""

import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest

from cluster.errors import StorageError
from frames_and_sound import frames_and_sound
from pipeline.inspect.cards import make_card
from pipeline.inspect.choose import ChosenSample
from pipeline.inspect.facts import Facts, read_facts
from pipeline.inspect.verify_sample import problems_of
from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.foreign.sample import read_foreign
from pipeline.shards.members import Sample
from pipeline.shards.shard_files import SampleEntry
from pipeline.sound.flac import encode_flac
from pipeline.stream.decode import decode_sample
from pipeline.video.clip import ClipEncoder
from pipeline.video.damage import errors_are_damage
from raw_tar import tar_of


@pytest.mark.parametrize(
    "error", [RecursionError("deep"), struct.error("short"), OverflowError("big"), zlib.error("odd"), KeyError("a")]
)
def test_any_error_becomes_a_value_error_that_names_its_kind(error: Exception) -> None:
    with pytest.raises(ValueError, match=type(error).__name__) as caught, errors_are_damage():
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [MemoryError(), StorageError("gone"), ValueError("as it is"), KeyboardInterrupt()])
def test_what_is_not_the_samples_fault_is_left_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, errors_are_damage():
        raise error
    assert caught.value is error


def test_a_foreign_sample_whose_json_is_nested_without_end_is_one_without_labels() -> None:
    sound = encode_flac(np.zeros((1, 8000), np.int16), 8000)
    sample = read_foreign(tar_of({"k.json": b'{"label":' * 50_000, "k.jpg": b"", "k.flac": sound}), "k")
    assert sample.metadata.labels == []


def test_a_decoder_that_raises_what_nobody_expects_says_that_the_sample_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise struct.error("unpack requires a buffer of 4 bytes")

    sound = encode_flac(np.zeros((1, 8000), np.int16), 8000)
    sample: Sample = read_foreign(tar_of({"k.jpg": b"", "k.flac": sound}), "k")
    monkeypatch.setattr("pipeline.stream.opened_sample.open_image", fail)
    with pytest.raises(ValueError, match=r"error: unpack requires a buffer of 4 bytes"):
        decode_sample(sample, frames_and_sound(1, 32, None, 8000, 4000, 1))


def test_a_clip_of_a_codec_that_nobody_knows_has_no_size_and_a_problem() -> None:
    encoder = ClipEncoder(32, 32, Fraction(5), 28)
    encoder.add(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8)))
    clip = encoder.finish().replace(b"avc1", b"zzzz")
    metadata = SampleMetadata(
        layout="clip",
        video="v",
        source="v",
        frame_times_s=[0.0],
        fps=5.0,
        audio_start_s=0.0,
        audio_rate_hz=8000,
        audio_samples=1600,
    )
    sound = encode_flac(np.zeros((1, 1600), np.int16), 8000)
    sample = tar_of({"k.json": metadata.model_dump_json().encode(), "k.mp4": clip, "k.flac": sound})[:-1024]
    entry = SampleEntry(key="k", offset=0, bytes=len(sample), crc32=0)
    facts = read_facts(ChosenSample("a.tar", entry), sample)
    assert isinstance(facts, Facts)
    assert facts.size is None
    assert make_card(ChosenSample("a.tar", entry), sample).problem
    assert list(problems_of(sample, entry, None))
