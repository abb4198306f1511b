"""The files of a shard set, finished or not, from one listing and the two files that describe it."""

import re
from dataclasses import dataclass, field

from cluster import storage
from pipeline.errors import ShardSetError
from pipeline.prepare import plan as plan_file
from pipeline.prepare.plan import ShardPlan, read_plan
from pipeline.shards import dataset as dataset_file
from pipeline.shards import ledger
from pipeline.shards.dataset import Dataset, read_dataset

SHEET = "inspect.html"
_PLAN_FOLDER = "plan/"
_SHARD = re.compile(r"shard-(\d{6,})\.(tar|json)")
_KNOWN = {plan_file.NAME, plan_file.LOCK, plan_file.WANDB_ID, dataset_file.NAME, ledger.NAME, SHEET}


@dataclass(frozen=True)
class Contents:
    """What lies in a shard set.

    Attributes:
        plan, dataset: None where the file isn't there or says something else, which `problems` then tells.
        tars, indexes: number → size in bytes of the shard's tar, of its JSON.
        others: names of files that are none of a shard set.
        problems: (file, what is wrong with it).
    """

    url: str
    plan: ShardPlan | None
    dataset: Dataset | None
    has_ledger: bool
    tars: dict[int, int]
    indexes: dict[int, int]
    others: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def done(self) -> list[int]:
        """Numbers of the shards that are there, in order."""
        return sorted(self.tars.keys() & self.indexes.keys())

    @property
    def planned(self) -> int | None:
        """How many shards there will be; None where neither plan nor totals are there."""
        if self.plan is not None:
            return self.plan.shards
        return None if self.dataset is None else len(self.dataset.shards)


def read_contents(url: str) -> Contents:
    """List a shard set and read its plan and totals.

    Raises:
        ShardSetError: there is no shard set.
        StorageError: it can't be read.
    """
    sizes = {storage.name_below(url, file): file.size for file in storage.list_files(url)}
    tars: dict[int, int] = {}
    indexes: dict[int, int] = {}
    others = []
    for name, size in sizes.items():
        if shard := _SHARD.fullmatch(name):
            (tars if shard[2] == "tar" else indexes)[int(shard[1])] = size
        elif name not in _KNOWN and not name.startswith(_PLAN_FOLDER):
            others.append(name)
    if not tars and not indexes and plan_file.NAME not in sizes and dataset_file.NAME not in sizes:
        raise ShardSetError(f"{url}: expected a shard set (plan.json, shard-*.tar), found {len(sizes)} other files")
    problems: list[tuple[str, str]] = []
    plan = dataset = None
    if plan_file.NAME in sizes:
        try:
            plan = read_plan(url)
        except ShardSetError as error:
            problems.append((plan_file.NAME, _without_place(error)))
    if dataset_file.NAME in sizes:
        try:
            dataset = read_dataset(url)
        except ShardSetError as error:
            problems.append((dataset_file.NAME, _without_place(error)))
    return Contents(url, plan, dataset, ledger.NAME in sizes, tars, indexes, others, problems)


def _without_place(error: ShardSetError) -> str:
    return str(error).split(".json: ", 1)[-1]
