"""gavt.stream under trainers of others: the same samples in the same order, also after a stop."""

import io
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image
from torch.utils.data import DataLoader

import pipeline.api as gavt
from tiny_shards import FEATURES, MODEL, write_shard_set

SETTINGS = (f"features={json.dumps(FEATURES)}", f"model={json.dumps(MODEL)}", "data.workers=0")
SAMPLES, SIZE = 40, 16


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard_set(tmp_path_factory.mktemp("shards"), SAMPLES)


@pytest.fixture(scope="module")
def order(shards: Path) -> list[list[str]]:
    """Names in the batches of two epochs, gone through in a plain loop."""
    batches = stream(shards)
    return [batch["__key__"] for _ in range(2) for batch in batches]


def stream(shards: Path, *words: str, **given: Any) -> gavt.SampleStream:
    return gavt.stream(shards, given.pop("batch_size", SIZE), None, [*SETTINGS, *words], **given)


def test_each_sample_comes_once_an_epoch_and_the_last_batch_goes_into_the_next(order: list[list[str]]) -> None:
    names = [name for batch in order for name in batch]
    assert [len(batch) for batch in order] == [SIZE] * 5
    assert len(set(names[:SAMPLES])) == len(set(names[SAMPLES:])) == SAMPLES
    assert names[:SAMPLES] != names[SAMPLES:]


def test_a_batch_is_tensors_in_the_units_that_the_model_takes(shards: Path) -> None:
    batch = next(iter(stream(shards)))
    frames, sound = batch["frames"], batch["sound"]
    assert (frames.shape, frames.dtype) == ((SIZE, 1, 3, 32, 32), torch.float32)
    assert (sound.shape, sound.dtype) == ((SIZE, 1, 4095), torch.float32)
    assert 0 <= frames.min() < frames.max() <= 1
    assert -1 <= sound.min() < sound.max() <= 1
    assert batch["__position__"].tolist() == list(range(SIZE))
    assert {one["labels"][0] for one in batch["metadata"]} == {"low", "high"}


def test_the_sound_is_as_long_as_in_the_set_where_no_settings_say_it(shards: Path) -> None:
    with gavt.stream(shards, 4, overrides=["data.workers=1"]) as batches:
        assert next(iter(batches))["sound"].shape[-1] == 4095


@pytest.mark.parametrize("workers", [0, 2])
def test_the_workers_of_a_dataloader_change_nothing(shards: Path, order: list[list[str]], workers: int) -> None:
    batches, found = stream(shards), []
    for _ in range(2):
        for batch in DataLoader(batches, batch_size=None, num_workers=workers):
            found.append(batch["__key__"])
            if workers:
                batches.seen(batch)
    assert found == order
    assert batches.position == 5 * SIZE


def test_workers_of_whose_batches_the_stream_hears_nothing_are_refused(shards: Path) -> None:
    loader = DataLoader(stream(shards), batch_size=None, num_workers=1)
    assert len(list(loader)) == 3
    with pytest.raises(gavt.SettingsError, match=r"tell the stream of each batch that they gave, by seen\(batch\)"):
        next(iter(loader))


def test_ranks_share_each_batch_of_the_order(shards: Path, order: list[list[str]]) -> None:
    shares = [[batch["__key__"] for batch in stream(shards, rank=rank, world_size=2)] for rank in range(2)]
    assert [sorted(one + other) for one, other in zip(*shares, strict=True)] == [sorted(batch) for batch in order[:3]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stop_in_the_middle_of_an_epoch_repeats_and_skips_nothing(
    shards: Path, order: list[list[str]], workers: int
) -> None:
    before = stream(shards)
    for batch in islice(DataLoader(before, batch_size=None, num_workers=workers), 2):
        before.seen(batch)
    state = json.loads(json.dumps(before.state_dict()))
    # other processes, of another number, go on
    after = [stream(shards, rank=rank, world_size=4) for rank in range(4)]
    for one in after:
        one.load_state_dict(state)
    found = [[batch["__key__"] for batch in one] for one in after]
    assert [sorted(name for part in step for name in part) for step in zip(*found, strict=True)] == [sorted(order[2])]


def test_a_state_of_another_order_is_refused(shards: Path, tmp_path: Path) -> None:
    state = stream(shards).state_dict()
    with pytest.raises(gavt.UserError, match="another order than when the run was saved"):
        stream(shards, "seed=1").load_state_dict(state)
    with pytest.raises(gavt.UserError, match="expected the shard sets and weights of when the state was saved"):
        gavt.stream({str(shards): 1.0, str(write_shard_set(tmp_path / "more", 8)): 1.0}, 8).load_state_dict(state)
    with pytest.raises(
        gavt.UserError, match=r"expected what state_dict\(\) of a stream gave, found no contents, mix, ord"
    ):
        stream(shards).load_state_dict({"position": 3})


def test_a_batch_size_that_ranks_cannot_share_is_refused(shards: Path) -> None:
    with pytest.raises(gavt.SettingsError, match="batch_size: expected a multiple of world_size 3, found 16"):
        stream(shards, rank=0, world_size=3)


@pytest.mark.parametrize("weights", [{}, {"shards": 0.0}, {"shards": float("nan")}])
def test_weights_that_show_nothing_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(gavt.SettingsError, match=r"source: expected weights above 0, found \["):
        gavt.stream(weights, 8)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pipeline_of_webdataset_keeps_its_decoders_and_has_the_order(
    shards: Path, order: list[list[str]], workers: int
) -> None:
    source = gavt.webdataset_source(shards, SIZE, overrides=["data.workers=0"])
    stages = (webdataset.decode("rgb8"), webdataset.to_tuple("__position__", "__key__", "jpg", "json"))
    staged = webdataset.DataPipeline(source, *stages, webdataset.batched(SIZE))
    found = []
    for _ in range(2):
        loader = webdataset.WebLoader(staged, batch_size=None, num_workers=workers)
        for positions, names, pictures, metadata in loader:
            found.append(list(names))
            assert pictures.shape[1:] == (48, 48, 3)
            assert metadata[0]["layout"] == "frame"
            source.seen({"__position__": positions})
    assert found == order


def test_files_of_a_sample_come_as_they_lie_in_the_shard(shards: Path) -> None:
    sample = next(iter(gavt.webdataset_source(shards, SIZE, overrides=["data.workers=1"])))
    tars = sorted(map(str, shards.glob("*.tar")))
    theirs = {one["__key__"]: one for one in webdataset.WebDataset(tars, shardshuffle=False)}
    assert {name: sample[name] for name in ("jpg", "flac", "json")} == {
        name: theirs[sample["__key__"]][name] for name in ("jpg", "flac", "json")
    }
    assert np.asarray(Image.open(io.BytesIO(sample["jpg"]))).shape == (48, 48, 3)


LIGHTNING = """
import json, sys
import pytorch_lightning as lightning
import torch
import pipeline.api as gavt

shards, folder, steps, checkpoint, *words = sys.argv[1:]

class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
    def training_step(self, batch, number):
        print(json.dumps(batch["__key__"]))
        return self.layer(batch["frames"].mean((1, 3, 4))).mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

trainer = lightning.Trainer(
    max_steps=int(steps), max_epochs=-1, accelerator="cpu", logger=False, default_root_dir=folder,
    enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
)
trainer.fit(Module(), gavt.stream(shards, 16, None, words), ckpt_path=checkpoint or None)
trainer.save_checkpoint(f"{folder}/saved")
"""

ACCELERATE = """
import json, sys
from itertools import islice
from accelerate import Accelerator
import torch
import pipeline.api as gavt

shards, folder, steps, checkpoint, *words = sys.argv[1:]
accelerator = Accelerator(cpu=True)
stream = gavt.stream(shards, 16, None, words)
layer = torch.nn.Linear(3, 1)
model, optimizer = accelerator.prepare(layer, torch.optim.SGD(layer.parameters(), 0.1))
accelerator.register_for_checkpointing(stream)
if checkpoint:
    accelerator.load_state(checkpoint)
while stream.position < int(steps) * 16:
    for batch in islice(stream, int(steps) - stream.position // 16):
        print(json.dumps(batch["__key__"]))
        accelerator.backward(model(batch["frames"].mean((1, 3, 4))).mean())
        optimizer.step()
accelerator.save_state(f"{folder}/saved")
"""


@pytest.mark.slow
@pytest.mark.parametrize("program", [LIGHTNING, ACCELERATE], ids=["lightning", "accelerate"])
def test_trainers_of_others_go_on_where_they_saved(
    shards: Path, order: list[list[str]], tmp_path: Path, program: str
) -> None:
    found = []
    for steps, begin in ((2, ""), (5, tmp_path / "saved")):
        words = [sys.executable, "-c", program, str(shards), str(tmp_path), str(steps), str(begin), *SETTINGS]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert found == order
