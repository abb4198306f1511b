"""AVE's published files become a set of each split, with the events of each second."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from jobs.cli import main
from pipeline.errors import ShardSetError
from pipeline.extract.ave import EVENTS, convert_ave
from pipeline.inspect.verify import verify
from pipeline.shards.array_file import decode_array
from pipeline.shards.ledger import read_ledger
from pipeline.shards.shard_set import ShardSet

ROWS = 6
ORDERS = {"train": [4, 0, 2], "val": [1], "test": [3, 5]}


def arrays() -> dict[str, npt.NDArray[Any]]:
    generator = np.random.default_rng(0)
    labels = np.zeros((ROWS, 10, 29), np.float32)
    labels[:, :, 28] = 1
    labels[2, 3:6] = np.eye(29)[EVENTS.index("Violin, fiddle")]
    visual, audio = generator.random((ROWS, 10, 7, 7, 512), np.float32), generator.random((ROWS, 10, 128))
    return {"visual_feature": visual, "audio_feature": audio, "labels": labels}


def write(folder: Path, **changed: npt.NDArray[Any]) -> Path:
    for name, values in (arrays() | changed).items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["avadataset"] = values
    for split, rows in ORDERS.items():
        with h5py.File(folder / f"{split}_order.h5", "w") as file:
            file["order"] = np.array(rows)
    return folder


def test_each_split_is_a_whole_set_of_features_and_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path)
    with pytest.raises(SystemExit, match="0"):
        main(["features", str(source), "--from-ave", "--out", str(tmp_path / "out"), "--dtype", "float32", "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["validation"] == 1
    for split, rows in (("train", [4, 0, 2]), ("validation", [1]), ("test", [3, 5])):
        shards = ShardSet.open(str(tmp_path / "out" / split))
        for place, row in enumerate(rows):
            sample = shards.read(place)
            assert (sample.key, sample.metadata.split) == (f"ave{row:04d}_0000", split)
            assert np.array_equal(decode_array(sample.files["visual.npy"]), arrays()["visual_feature"][row])
            audio = arrays()["audio_feature"][row].astype(np.float32)
            assert np.array_equal(decode_array(sample.files["audio.npy"]), audio)
        assert verify(shards.url, 0).problems == []
    violin = ShardSet.open(str(tmp_path / "out/train")).read(2).metadata
    assert violin.segment_labels == [["Violin, fiddle"] if 3 <= place < 6 else [] for place in range(10)]
    assert violin.labels == ["Violin, fiddle"]


def test_what_is_no_number_is_left_out_and_begun_again_the_bytes_are_the_same(tmp_path: Path) -> None:
    audio = arrays()["audio_feature"]
    audio[5, 3, 7] = np.nan
    source, out = write(tmp_path, audio_feature=audio), tmp_path / "out"
    assert convert_ave(str(source), str(out))["test"].reasons == {"damaged": 1}
    good, bad = read_ledger(str(out / "test"))
    assert (good.status, bad.message) == ("ok", "expected numbers in audio_feature.h5, found some that are none")
    made = {path: path.read_bytes() for path in out.rglob("*.*")}
    (out / "train/shard-000000.json").unlink()
    (out / "test/dataset.json").unlink()
    convert_ave(str(source), str(out))
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == made
    with pytest.raises(ShardSetError, match=r"train: made by another plan: dtype was 'float16' and is now 'float32'"):
        convert_ave(str(source), str(out), "float32")


def test_other_files_are_refused_with_what_is_wrong(tmp_path: Path) -> None:
    source = write(tmp_path, labels=np.zeros((ROWS, 10, 12)))
    with pytest.raises(ShardSetError, match=r"labels\.h5: expected 29 labels, found 12"):
        convert_ave(str(source), str(tmp_path / "out"))
    write(tmp_path, audio_feature=np.zeros((5, 10, 128)))
    with pytest.raises(ShardSetError, match=r"audio_feature\.h5: expected avadataset of 6 rows of 10 segments"):
        convert_ave(str(source), str(tmp_path / "out"))
    write(tmp_path)
    (tmp_path / "test_order.h5").write_text("<html>")
    with pytest.raises(ShardSetError, match=r"test_order\.h5: expected HDF5 with an array order"):
        convert_ave(str(source), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
