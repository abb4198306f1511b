"""A set of features as it is made: who may, what is missing of it, and its end."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from cluster import storage
from cluster.lease import Lease
from pipeline.extract.plan import settle_plan
from pipeline.prepare.plan import LOCK
from pipeline.shards import dataset as dataset_file
from pipeline.shards import ledger
from pipeline.shards.dataset import Dataset, finish_dataset, read_dataset
from pipeline.shards.shard_files import done_shards, finish_replacements


@dataclass
class NewSet:
    """The set at `out`; one process opens and finishes it, any number publish shards.

    Attributes:
        described: all that decides what comes out of the samples, for the plan and `dataset.json`.
        source: where they come from.
        contents: changes with the samples.
        videos, shards: in all.
    """

    out: str
    described: Mapping[str, Any]
    source: str
    contents: str
    layout: str
    videos: int
    shards: int

    def __post_init__(self) -> None:
        self.lease = Lease(storage.join(self.out, LOCK), "gavt features")
        self._plan_hash: str | None = None

    def open(self, stack: ExitStack, again: Callable[[list[int]], Sequence[int]]) -> list[int] | None:
        """Numbers of the shards that are to be made, for as long as the stack is open; None where all is done.

        Args:
            again: of the shards that are there those that are made once more.

        Raises:
            ShardSetError: another plan's features lie there.
            InUseError: somebody else works on it.
        """
        stack.enter_context(self.lease)
        plan = settle_plan(self.out, self.described, self.contents, self.videos, self.shards)
        names = finish_replacements(self.out, {file.url.rsplit("/", 1)[-1] for file in storage.list_files(self.out)})
        done = done_shards(names, self.shards)
        missing = sorted(set(range(self.shards)) - set(done) | set(again(done)))
        if not missing and {dataset_file.NAME, ledger.NAME} <= names:
            return None
        storage.remove(storage.join(self.out, dataset_file.NAME))  # nobody must read what is being made
        self._plan_hash = plan.hash
        return missing

    def finish(self) -> Dataset:
        """Write ledger and totals when all shards are there."""
        if self._plan_hash is None:
            return read_dataset(self.out)
        storage.remove_parts(self.out)
        features = {"source": self.source, **self.described}
        return finish_dataset(self.out, self.shards, self.layout, self._plan_hash, features)
