"""Features of all samples of a shard set, as a shard set of their own: one output shard a shard.

OUT/plan.json            as of `pipeline.extract.plan`; written first
OUT/shard-000000.tar     of each sample its JSON, what was stored before, and NAME.npy; its media where they are kept
OUT/shard-000000.json    what is in it and what became of its videos; written after the tar
OUT/ledger.jsonl         all videos
OUT/dataset.json         totals, and what made the features; written last
OUT/prepare.lock         who works on it, while somebody does
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial, reduce
from typing import Any

import torch

from cluster import storage
from cluster.process_group import ProcessGroup
from cluster.scratch import scratch_folder
from pipeline.errors import ShardSetError
from pipeline.extract.compute import Features, Networks
from pipeline.extract.ledger import Tally, entries_after, lost
from pipeline.extract.new_set import NewSet
from pipeline.extract.settings import ExtractSettings
from pipeline.extract.source import Source
from pipeline.shards.array_file import SUFFIX, encode_array
from pipeline.shards.dataset import Dataset
from pipeline.shards.ledger import InputEntry
from pipeline.shards.shard_files import publish_shard, read_indexes, replace_shard, shard_name
from pipeline.shards.writer import ShardWriter
from pipeline.stream.ahead import Ahead
from pipeline.stream.device_copy import DeviceCopy
from pipeline.stream.in_order import InOrder
from pipeline.stream.loader import Loader
from pipeline.stream.settings import DataSettings

OnProgress = Callable[[int, int], None]
"""Samples that were done since it was last told, and all that there are to do."""


def extract_features(
    url: str,
    out: str,
    settings: ExtractSettings,
    reading: DataSettings,
    group: ProcessGroup,
    on_progress: OnProgress = lambda done, total: None,
    retry: frozenset[str] = frozenset(),
    max_failure_rate: float | None = None,
) -> Dataset:
    """Make the features of a set, or what is missing of them; every process of the group calls it.

    The processes take turns at the shards. Batches never reach from shard to shard, so that a shard's bytes hang on
    nothing but its samples, the settings and the kind of processor.

    Args:
        url: a shard set, or tars that others wrote.
        out: folder or prefix of the new set.
        reading: its workers read and decode.
        on_progress: told on every process, a batch a process at a time.
        retry: reasons; shards of which samples failed for one of these are made once more.
        max_failure_rate: stop when more than this share of the samples fails, from 50 on; without it, when all of the
            first batch fail.

    Raises:
        ShardSetError: no set, another plan's features lie at `out`, or too many samples fail.
        SettingsError: a network or its weights can't be had.
        InUseError: somebody else works on `out`.
        StorageError: something can't be read or written.
    """
    torch.backends.cudnn.deterministic = True
    source = group.on_main(partial(Source.open, url, settings))
    moments = source.moments(settings)
    networks = group.each(partial(Networks, settings, moments, group.device))
    described = _described(settings, networks)
    shards = source.shards
    new = NewSet(
        out, described, url, source.contents, source.first.layout, source.videos, len(shards.samples_per_shard())
    )
    with ExitStack() as stack:
        missing = group.on_main(partial(new.open, stack, partial(_to_retry, source, out, retry)))
        if missing is not None:
            counts = shards.samples_per_shard()
            total = sum(counts[number] for number in missing)
            on_progress(0, total)
            tally, begins = Tally(), len(missing) == len(counts) and not retry
            work = _Work(source, out, settings, networks, retry)
            with closing(work.make(missing[group.rank :: group.world_size], reading, group.device)) as steps:

                def step() -> Tally | None:
                    if group.is_main:
                        new.lease.check()
                    return next(steps, None)

                while (made := group.gather_objects(group.each(step))).count(None) < len(made):
                    done = reduce(Tally.plus, filter(None, made))
                    on_progress(done.samples, total)
                    tally = tally.plus(done)
                    tally.check(out, max_failure_rate, begins and tally == done)
        return group.on_main(new.finish)


class _Work:
    """Makes shards."""

    def __init__(
        self, source: Source, out: str, settings: ExtractSettings, networks: Networks, retry: frozenset[str]
    ) -> None:
        self._source, self._out, self._settings, self._networks = source, out, settings, networks
        self._retry = retry

    def make(self, numbers: Sequence[int], reading: DataSettings, device: torch.device) -> Generator[Tally, None, None]:
        """Make shards; tells of the samples of each batch that is done."""
        plan = InOrder(self._source.shards, reading, self._networks.fields, self._settings.keep_media)
        size = self._settings.batch
        pieces = (piece for number in numbers for piece in self._source.pieces(number, size))
        with (
            Loader(plan, size, device) as loader,
            Ahead(map(DeviceCopy(device), loader.batches(pieces)), loader.interrupt) as batches,
        ):
            made = self._networks.of(batches)
            for number in numbers:
                yield from self._shard(number, made)

    def _shard(self, number: int, made: Iterator[Features]) -> Generator[Tally, None, None]:
        problems: list[str | None] = []
        before = self._source.inputs(number)
        is_there = self._retry and storage.exists(storage.join(self._out, f"{shard_name(number)}.json"))
        again = _lost(self._source, self._out, self._retry, number) if is_there else {}
        with scratch_folder("gavt-features-") as scratch:
            path = scratch / f"{shard_name(number)}.tar"
            with ShardWriter(path) as shard:
                for _ in self._source.pieces(number, self._settings.batch):
                    features = next(made)
                    for note, arrays in features.samples():
                        problem = note.bad[0][2] if note.bad else None
                        if problem is None and arrays is None:
                            problem = f"{note.key}: its features are beyond what {self._settings.dtype} holds"
                        problems.append(problem)
                        if problem is None and arrays is not None:
                            new = {f"{name}.{SUFFIX}": encode_array(values) for name, values in arrays.items()}
                            if twice := new.keys() & note.files.keys():
                                raise ShardSetError(
                                    f"{self._source.shards.url}: {note.key}: expected no .{min(twice)} in it, which "
                                    f"would be lost; say NAME=MODEL (--model)"
                                )
                            files = {"json": note.metadata.encode(), **note.files, **new}
                            shard.add(self._source.key(note.key), files)
                    wrong = [problem for problem in problems[-len(features.notes) :] if problem is not None]
                    yield Tally(len(features.notes), len(wrong), next(iter(wrong), None))
            publish = replace_shard if is_there else publish_shard
            publish(self._out, number, path, shard.index(list(entries_after(before, problems, again))))


def _to_retry(source: Source, out: str, retry: frozenset[str], done: list[int]) -> list[int]:
    """Of the shards that are there those of which samples failed for one of the reasons."""
    return [number for number in done if retry and _lost(source, out, retry, number)]


def _lost(source: Source, out: str, retry: frozenset[str], number: int) -> dict[str, InputEntry]:
    (index,) = read_indexes(out, [number])
    return lost(source.inputs(number), index.inputs, retry)


def _described(settings: ExtractSettings, networks: Networks) -> dict[str, Any]:
    """What made the features: wherever weights lay, they are the same by their hash."""
    told = settings.model_dump(mode="json", exclude={"models", "pca"})
    members = {
        f"{member.name}.{SUFFIX}": {
            "model": member.model,
            "shape": list(member.shape),
            "weights_sha256": member.weights_sha256,
        }
        for member in networks.members
    }
    return {"members": members, **told}
