"""Whatever decoding raises over a sample's bytes, the sample is bad, and the work goes on."""

import struct
import zlib

import numpy as np
import pytest

from cluster.errors import StorageError
from pipeline.samples.damage import errors_are_damage
from pipeline.samples.flac import encode_flac
from pipeline.stream.decode import DecodeSpec, decode_sample
from pipeline.stream.foreign.sample import read_foreign
from pipeline.stream.members import Sample
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
    monkeypatch.setattr("pipeline.stream.decode.square_of_image", fail)
    with pytest.raises(ValueError, match=r"error: unpack requires a buffer of 4 bytes"):
        decode_sample(sample, DecodeSpec(1, 32, None, 8000, 4000, 1))
