"""Stored features are an input like any other: of samples with or without media, ours or others'."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import webdataset
from pydantic import ValidationError

from pipeline.features.settings import FeatureSettings
from pipeline.inspect.verify import verify
from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.array_file import decode_array, encode_array
from pipeline.shards.members import Sample
from pipeline.shards.shard_set import ShardSet
from pipeline.stream.decode import decode_sample
from pipeline.stream.fields.registry import fields_of
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import ReadPlan, plan_reading
from pipeline.stream.settings import DataSettings
from written_shards import write_shards

Values = npt.NDArray[Any]
LABELS = [["dog"], [], ["dog", "cat"]]
METADATA = SampleMetadata(
    layout="segments",
    video="v",
    source="v.mp4",
    frame_times_s=[0.5, 1.5, 2.5],
    audio_start_s=0.0,
    audio_rate_hz=0,
    audio_samples=0,
    labels=["dog"],
    split="train",
    boxes=[(0.0, 0.25, 0.5, 1.0)],
    segment_labels=LABELS,
)
FEATURES = FeatureSettings.model_validate(
    {
        "inputs": {
            "maps": {"kind": "stored", "member": "visual.npy", "shape": [3, 2, 2, 4]},
            "sounds": {"kind": "stored", "member": "audio.npy", "shape": [3, 5]},
            "events": {"kind": "segment_labels", "segments": 3, "classes": ["cat", "dog"]},
        }
    }
)
FIELDS = fields_of(FEATURES, ("maps", "sounds", "events"), augment=True)


def arrays(number: int) -> dict[str, Values]:
    generator = np.random.default_rng(number)
    return {"visual": generator.random((3, 2, 2, 4), np.float32), "audio": generator.random((3, 5)).astype(np.float16)}


def files(number: int, **changed: bytes) -> dict[str, bytes]:
    members = {f"{name}.npy": encode_array(values) for name, values in arrays(number).items()}
    metadata = METADATA.model_copy(update={"video": f"v{number}"})
    return {"json": metadata.model_dump_json().encode()} | members | changed


def sample(**changed: bytes | None) -> Sample:
    members = {f"{name}.npy": encode_array(values) for name, values in arrays(0).items()}
    known = {f"{name}.npy": content for name, content in changed.items()}
    there = {name: content for name, content in (members | known).items() if content is not None}
    return Sample("k", METADATA, [], b"", files=there)


def plan(folder: Path, workers: int = 0, **more: Any) -> ReadPlan:
    data = DataSettings(workers=workers, block_samples=16, lanes=2)
    return plan_reading(
        str(folder), FEATURES, data, 3, fields=("maps", "sounds", "events"), **({"augment": True} | more)
    )


def test_a_set_of_features_alone_is_streamed_and_whole(tmp_path: Path) -> None:
    shards = [[(f"v{n}_0000", files(n)) for n in numbers] for numbers in (range(8), range(8, 16))]
    folder = write_shards(tmp_path, shards, "segments")
    with Loader(plan(folder, workers=1), 8) as loader:
        batches = list(loader.batches([range(8), range(8, 16)]))
    assert [batch.replaced for batch in batches] == [0, 0]
    for batch in batches:
        inputs = batch.inputs("cpu")
        for place, metadata in enumerate(batch.metadata):
            made = arrays(int(metadata.video[1:]))
            assert torch.equal(inputs["maps"][place], torch.tensor(made["visual"]))
            assert torch.equal(inputs["sounds"][place], torch.tensor(made["audio"]).float())
        assert metadata == METADATA.model_copy(update={"video": metadata.video})
        assert inputs["events"].tolist() == [[[0, 1], [0, 0], [1, 1]]] * 8
    assert [problem.file for problem in verify(str(folder), 0).problems] == ["plan.json"]  # a test's set has none


def test_samples_with_other_features_count_as_other_samples(tmp_path: Path) -> None:
    folder = write_shards(tmp_path, [[("a", files(0)), ("b", files(1)), ("c", files(0))]], "segments")
    with Loader(plan(folder, augment=False, digests=True), 3) as loader:
        digests = {note.key: note.digest for note in loader.read(range(3)).notes}
    assert digests["a"] == digests["c"] != digests["b"]


def with_one_changed(value: float) -> bytes:
    values = arrays(0)["visual"]
    values[1, 0, 1, 2] = value
    return encode_array(values)


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    return file.getvalue()


def claiming(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"k: no \.visual\.npy in it"),
        (
            encode_array(np.ones((3, 2, 4))),
            r"k: \.visual\.npy: expected \[3, 2, 2, 4\] as the features ask for, found \[",
        ),
        (with_one_changed(np.nan), r"\.visual\.npy: expected numbers, found 1 of 48 that are none"),
        (with_one_changed(np.inf), r"\.visual\.npy: expected numbers, found 1 of 48 that are none"),
        (encode_array(np.full((3, 2, 2, 4), 1e300)), r"expected numbers, found 48 of 48 that are none"),
        (encode_array(arrays(0)["visual"])[:-4], r"expected 192 bytes of float32 \[3, 2, 2, 4\], found 188"),
        (claiming("(1000000000000, 2)"), r"expected 8000000000000 bytes of float32 \[1000000000000, 2\], found 0"),
        (claiming("(-1, 2)"), r"\.visual\.npy: expected -8 bytes"),
        (pickled(), r"\.visual\.npy: expected an array of numbers, found object"),
        (b"<html>", r"\.visual\.npy: expected an array as numpy\.save writes it"),
        (b"", r"\.visual\.npy: expected an array as numpy\.save writes it"),
    ],
)
def test_what_is_no_such_array_counts_as_a_bad_sample(content: bytes | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_sample(sample(visual=content), FIELDS)


def test_arrays_come_back_whatever_their_order_and_type() -> None:
    for values in (np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(4, dtype=">i2"), np.array(1.5)):
        file = io.BytesIO()
        np.save(file, values)
        for content in (file.getvalue(), encode_array(values)):
            assert np.array_equal(decode_array(content), values)
    assert encode_array(values) == encode_array(values.copy())


def test_npy_members_of_others_tars_are_features(tmp_path: Path) -> None:
    labels = b'{"segment_labels": [["dog"], [], ["cat"]], "label": "dog"}'
    with webdataset.TarWriter(str(tmp_path / "a.tar"), encoder=False) as writer:
        for number in range(4):
            members = {name: content for name, content in files(number).items() if name != "json"}
            writer.write({"__key__": f"s{number}", "json": labels} | members)
    read = ShardSet.open(str(tmp_path)).read(2)
    assert (read.metadata.labels, read.metadata.segment_labels) == (["dog"], [["dog"], [], ["cat"]])
    found = decode_sample(read, FIELDS).arrays
    assert np.array_equal(found["maps"], arrays(2)["visual"])
    assert found["events"].tolist() == [[0, 1], [0, 0], [1, 0]]


def test_a_member_has_a_name_and_a_shape() -> None:
    for wrong in ({"member": "visual.npz"}, {"member": "../x.npy"}, {"shape": []}, {"shape": [3, 0]}):
        stored = {"kind": "stored", "member": "visual.npy", "shape": [3]} | wrong
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            FeatureSettings.model_validate({"inputs": {"maps": stored}})
