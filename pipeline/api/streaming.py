"""Shards for a trainer of one's own: batches in gavt's exact order, from any place, on any number of processes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from itertools import islice
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from cluster.job_environment import JobEnvironment
from pipeline.errors import SettingsError, ShardSetError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.stream.batch import Batch
from pipeline.stream.bench import fitting_features
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import ReadPlan, order_error, plan_reading
from pipeline.stream.settings import ShardSource
from pipeline.stream.steps import steps_of

Source = str | PathLike[str] | Mapping[str, float]
"""A shard set, or several by their URLs with their weights (`data.mix` says what these mean)."""
Sample = dict[str, Any]


class SampleStream(IterableDataset[Sample]):
    """An endless order of samples, gone through an epoch at a time: each `for` goes on where the last one stopped, also
    in the middle, and ends with the batch that shows the epoch's last sample.

    The samples of a batch are the same whatever the number of processes and workers, and each comes once an epoch. It
    has processes of its own that read and decode (`data.workers`), so that it is gone through as it is, or with
    `DataLoader(stream, batch_size=None)`. With `num_workers=N` of a DataLoader those do that, and the order stays; they
    read ahead, though, so `seen` must be told of each batch that came.

    Attributes:
        plan: what is read.
        batch_size: of all ranks together.
        position: global position of the next batch's first sample.
    """

    def __init__(self, plan: ReadPlan, batch_size: int, rank: int | None, world_size: int | None, device: str) -> None:
        here = JobEnvironment.of_this_process()
        self.rank = here.rank if rank is None else rank
        self.world_size = here.world_size if world_size is None else world_size
        if not 0 <= self.rank < self.world_size:
            raise SettingsError(f"rank: expected 0 to {self.world_size - 1}, found {self.rank}")
        if batch_size < 1 or batch_size % self.world_size:
            raise SettingsError(f"batch_size: expected a multiple of world_size {self.world_size}, found {batch_size}")
        self.plan, self.batch_size, self.position = plan, batch_size, 0
        self._device = torch.device(device)
        self._orders = plan.fingerprints()
        self._loader: Loader | None = None
        # of a DataLoader's workers, which are other processes: where they last began
        self._begun = torch.full((1,), -1)
        self._begun.share_memory_()  # type: ignore[no-untyped-call]  # torch doesn't declare it

    def __len__(self) -> int:
        """Batches until the epoch's end."""
        left = len(self.plan) - self.position % len(self.plan)
        return -(-left // self.batch_size)

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        if worker is None:
            self._loader = self._loader or self._open(self.plan)
            yield from self._read(self._loader)
            return
        if worker.id == 0:
            if self._begun.item() == self.position:
                raise SettingsError(
                    f"a DataLoader's workers begin at position {self.position} again: tell the stream of each batch "
                    "that they gave, by seen(batch), for nobody else knows how far it was used"
                )
            self._begun.fill_(self.position)
        plan = copy(self.plan)
        plan.data = plan.data.model_copy(update={"workers": 0})  # a worker reads by itself
        yield from self._read(self._open(plan), worker.id, worker.num_workers)

    def seen(self, batch: Mapping[str, Any]) -> None:
        """A batch, or any sample of it, came from a DataLoader's workers: the stream goes on behind it."""
        position = int(np.asarray(batch["__position__"]).reshape(-1)[0])
        self.position += ((position - self.position) // self.batch_size + 1) * self.batch_size

    def state_dict(self) -> dict[str, Any]:
        """Where to go on behind the last batch that came, as JSON; the same on all ranks."""
        mix = [part.model_dump() for part in self.plan.mixture.history]
        return {"position": self.position, "orders": self._orders, "contents": self.plan.contents(), "mix": mix}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on there, with any batch size and number of processes.

        Raises:
            ShardSetError: the shard sets are others, or in another order: by another seed, say; or no such state.
        """
        now = self.state_dict()
        if missing := now.keys() - state.keys():
            raise ShardSetError(f"expected what state_dict() of a stream gave, found no {', '.join(sorted(missing))}")
        if state["mix"] != now["mix"]:
            raise ShardSetError("expected the shard sets and weights of when the state was saved, found others")
        for kind in ("orders", "contents"):
            for name, before in state[kind].items():
                if now[kind].get(name) != before:
                    raise order_error(name, before, str(now[kind].get(name)))
        self.position = int(state["position"])
        self._begun.fill_(-1)

    def close(self) -> None:
        """End the processes that read."""
        if self._loader is not None:
            self._loader.close()
            self._loader = None

    def __enter__(self) -> "SampleStream":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loader": None}

    def _open(self, plan: ReadPlan) -> Loader:
        return Loader(plan, self.batch_size // self.world_size)

    def _read(self, loader: Loader, first: int = 0, each: int = 1) -> Iterator[Sample]:
        """What is made of this rank's batches until the epoch's end: of each `each`-th of them from `first` on."""
        begin, count, size = self.position, len(self), self.batch_size
        share = size // self.world_size
        pieces = steps_of(self.plan, begin, count, size, share, self.rank, self.world_size)
        for number, batch in enumerate(loader.batches(islice(pieces, first, None, each))):
            yield from self._given(batch, begin + (first + number * each + 1) * size)
        self.position = begin + count * size

    def _given(self, batch: Batch, end: int) -> Iterator[Sample]:
        """A batch as tensors; the next one begins at `end`."""
        self.position = end
        yield {
            **batch.inputs(self._device),
            "__position__": torch.tensor(batch.positions),
            "__key__": batch.keys,
            "metadata": [json.loads(note.metadata) for note in batch.notes],
        }


class FileStream(SampleStream):
    """The same of single samples that are not decoded."""

    def _given(self, batch: Batch, end: int) -> Iterator[Sample]:
        last = len(batch) - 1
        for number, (position, note) in enumerate(zip(batch.positions, batch.notes, strict=True)):
            if number == last:
                self.position = end
            yield {"__key__": note.key, "__position__": position, **note.files}


def stream(
    source: Source,
    batch_size: int,
    settings: str | PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    *,
    augment: bool = True,
    device: str = "cpu",
    rank: int | None = None,
    world_size: int | None = None,
) -> SampleStream:
    """Batches of a shard set, in the order of `gavt train`, for a trainer of one's own.

        batches = gavt.stream("s3://bucket/train", 256, "gavt_c", ["data.workers=4"])
        for batch in batches:  # an epoch
            loss = model(batch["frames"], batch["sound"])
            torch.save({"model": model.state_dict(), "data": batches.state_dict()}, "last.pt")

    Each batch is a dict: of each input of the settings' model and objective its tensor, such as `frames` float32
    [B, T, 3, H, W] in 0–1 and `sound` float32 [B, C, S] in −1..1; `metadata`, a list of what each sample's JSON says
    (labels, times in s, source); `__key__`, the samples' names; `__position__` [B] in the order. A damaged sample is
    replaced by another, the same one for everybody, and the log names it.

    Lightning saves and loads the state by itself where the stream is its dataloader; accelerate does with
    `register_for_checkpointing(batches)`, and shall not `prepare` it, for ranks have their parts already.

    Args:
        source: shard sets, local, `s3://`, `gs://` or `hf://`, or tars that others wrote with webdataset.
        batch_size: of all ranks together, a multiple of `world_size`; [B] is one rank's part.
        settings: of an experiment, a file or a name (`gavt_c`), whose sections `features`, `data`, `model`, `task` and
            `seed` count. Sound is as long and as fast as in the set's first sample where they don't say it.
        overrides: of the settings: `features.frame_size=224`, `data.workers=8`, `seed=1`.
        augment: as in training; else as in validation.
        device: where tensors go, and where they are augmented: `cuda` saves the host that work. With a DataLoader's
            workers `cpu`.
        rank, world_size: of this process; by default as torchrun, Slurm or gavt's launcher says.

    Raises:
        ShardSetError: a set is missing, unfinished or empty.
        SettingsError: settings or sizes that don't fit.
    """
    plan = _plan(source, settings, overrides, augment, files=False)
    return SampleStream(plan, batch_size, rank, world_size, device)


def webdataset_source(
    source: Source,
    batch_size: int,
    settings: str | PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    *,
    rank: int | None = None,
    world_size: int | None = None,
) -> FileStream:
    """The first stage of a pipeline of webdataset, in the place of its readers of tars and its shuffling: samples as it
    has them (`__key__`, bytes by extension), in the order of `stream`, so that decoders stay as they are.

        source = gavt.webdataset_source("s3://bucket/train", 256)
        pipeline = wds.DataPipeline(source, wds.decode("torchrgb"), wds.batched(256 // world_size))
        for batch in wds.WebLoader(pipeline, batch_size=None, num_workers=4):
            source.seen(batch)

    Consecutive `batch_size / world_size` samples are a batch, which one worker reads: `wds.batched` of that size gives
    the batches of `stream`, with any number of workers. No `split_by_node` or `split_by_worker` belongs in it. A
    damaged sample is replaced, as far as its checksum tells. Arguments and errors are those of `stream`; of the
    settings only `data` and `seed` count.
    """
    return FileStream(_plan(source, settings, overrides, True, files=True), batch_size, rank, world_size, "cpu")


def _plan(
    source: Source, settings: str | PathLike[str] | None, overrides: Sequence[str], augment: bool, files: bool
) -> ReadPlan:
    resolved = load_settings(settings, ExperimentSettings, overrides)
    chosen, here = resolved.settings, JobEnvironment.of_this_process()
    nodes = here.world_size // (here.local_world_size or here.world_size)
    if isinstance(source, Mapping):
        if not source or not all(0 < weight < float("inf") for weight in source.values()):
            raise SettingsError(f"source: expected weights above 0, found {list(source.values())}")
        sources = [ShardSource(url=url, weight=weight) for url, weight in source.items()]
    else:
        sources = [ShardSource(url=fspath(source))]
    if files:
        return plan_reading(
            sources, chosen.features, chosen.data, chosen.seed, augment, nodes=nodes, fields=(), files=True
        )
    unset = [key.removeprefix("features.") for key, _, origin in resolved.rows() if origin == "default"]
    features = fitting_features(sources[0].url, chosen.features, unset)
    return plan_reading(sources, features, chosen.data, chosen.seed, augment, nodes=nodes, fields=chosen.fields)
