"""Videos to a shard set: plan, missing shards on the workers, dataset.

OUT/plan.json, plan/     what makes which shard; written first
OUT/shard-000000.tar     samples
OUT/shard-000000.json    what is in it and what became of its videos; written after the tar
OUT/ledger.jsonl         all videos
OUT/dataset.json         totals; written last
OUT/prepare.lock         who works on it, while somebody does
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cluster import storage
from cluster.lease import Lease
from cluster.pace import LocalPace, Pace
from cluster.step import Step
from pipeline.errors import ShardSetError
from pipeline.prepare.build import Decoder, ShardTask, build_shard, decode_here, decoding_process
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.fetch.sources import SourceKind, kind_of
from pipeline.prepare.plan import LOCK, Rows, ShardPlan, read_plan, rows_to_make, settle_plan
from pipeline.prepare.settings import PrepareSettings
from pipeline.shards import dataset as dataset_file
from pipeline.shards import ledger
from pipeline.shards.dataset import Dataset, finish_dataset, read_dataset
from pipeline.shards.ledger import InputEntry
from pipeline.shards.shard_files import done_shards, finish_replacements, read_indexes, shard_name

if TYPE_CHECKING:
    from cluster.ray_pool import RayPool

Workers = Callable[[Iterable[ShardTask]], Iterable[Step[ShardTask, list[InputEntry]]]]
_FEW = 50  # videos before a failure rate means anything


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        total: videos of the plan.
        found: videos that were done before this run.
        videos: videos done by this run.
        samples: samples that they gave.
        reasons: why how many of them failed.
        to_do: videos that this run has to do.
    """

    total: int
    found: int = 0
    to_do: int = 0
    videos: int = 0
    samples: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        """Videos of this run without samples."""
        return self.reasons.total()

    def plus(self, entries: Sequence[InputEntry]) -> "Progress":
        """With these videos done as well."""
        return replace(
            self,
            videos=self.videos + len(entries),
            samples=self.samples + sum(entry.samples for entry in entries),
            reasons=self.reasons + Counter(entry.reason for entry in entries if entry.reason),
        )

    def minus(self, entries: Sequence[InputEntry]) -> "Progress":
        """With these videos taken back: their worker died, and they will be done once more."""
        return replace(
            self,
            videos=self.videos - len(entries),
            samples=self.samples - sum(entry.samples for entry in entries),
            reasons=self.reasons - Counter(entry.reason for entry in entries if entry.reason),
        )


def prepare(
    rows: Rows | None,
    out: str,
    settings: PrepareSettings,
    workers: Workers,
    *,
    fetch: FetchSettings | None = None,
    retry: frozenset[str] = frozenset(),
    max_failure_rate: float | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Dataset:
    """Make the shard set at `out` from the videos, or what is missing of it.

    Args:
        rows: the videos; None goes on with the plan that is there, and with its settings but for their limits. A plan
            whose sources had secrets needs them again.
        out: folder or prefix of the shard set.
        settings: the recipe.
        workers: where the shards are made: `on_ray(pool)`, `in_turn` or `in_this_process`.
        fetch: how videos that lie elsewhere are fetched.
        retry: reasons; videos that failed for one of these are done again.
        max_failure_rate: stop when more than this share of this run's videos fails, from 50 videos on.
        on_progress: told about once a second.

    Raises:
        ShardSetError: another plan is there, shards were lost with their workers, or too many videos fail.
        InUseError: another `gavt prepare` works on it.
        StorageError: `out` can't be read or written.
    """
    plan = read_plan(out)
    if plan is not None and not retry and _is_finished(out, plan):
        if rows is not None:
            settle_plan(out, rows, settings)
        return read_dataset(out)
    if plan is None and rows is None:
        raise ShardSetError(f"{out}: expected a shard set to go on with, found no plan.json; name the videos")
    if plan is not None and plan.made_by != "prepare":
        raise ShardSetError(f"{out}: made by gavt {plan.made_by}, which goes on with it; expected another --out")
    with Lease(storage.join(out, LOCK), "gavt prepare") as lease:
        if rows is not None:
            plan = settle_plan(out, rows, settings)
        assert plan is not None, "checked above"
        settings = PrepareSettings.model_validate(plan.settings | {"limits": settings.limits})
        names = finish_replacements(out, _names(out))
        done = done_shards(names, plan.shards)
        again = _shards_to_retry(out, plan, done, retry)
        missing = set(range(plan.shards)) - set(done)
        if not missing and not again and _says_done(names):
            return read_dataset(out)
        to_make = rows_to_make(out, plan, sorted(missing | again.keys()), rows)
        storage.remove(storage.join(out, dataset_file.NAME))  # nobody must read what is being made
        tasks = (
            ShardTask(number, shard, out, settings, fetch or FetchSettings(), retry if number in again else frozenset())
            for number, shard in to_make
        )
        to_do = plan.videos - _videos_in(plan, done) + again.total()
        begin = Progress(total=plan.videos, found=plan.videos - to_do, to_do=to_do)
        on_progress(begin)
        for progress in _make(out, workers(tasks) if missing or again else (), begin):
            lease.check()
            on_progress(progress)
            _check_failures(out, progress, max_failure_rate)
        storage.remove_parts(out)
        return finish_dataset(out, plan.shards, str(plan.settings["layout"]), plan.hash)


def _make(out: str, steps: Iterable[Step[ShardTask, list[InputEntry]]], progress: Progress) -> Iterator[Progress]:
    """How far it is after each step.

    Raises:
        ShardSetError: shards were lost with their workers, when all others are done.
    """
    lost: list[str] = []
    in_work: dict[int, list[InputEntry]] = {}
    for step in steps:
        number = step.item.number
        if step.state == "value" and step.value is not None:
            in_work.setdefault(number, []).extend(step.value)
            progress = progress.plus(step.value)
        elif step.state == "done":
            in_work.pop(number, None)
        else:
            progress = progress.minus(in_work.pop(number, []))
            if step.state == "lost":
                lost.append(f"{shard_name(number)} ({step.message})")
        yield progress
    if lost:
        raise ShardSetError(
            f"{out}: {len(lost)} shards were lost with their workers, such as {lost[0]}; run it once more"
        )


def _is_finished(out: str, plan: ShardPlan) -> bool:
    """Whether nothing is left to do, by two listings and no more."""
    names = _names(out)
    whole = _says_done(names) and not any(name.endswith(".new") for name in names)
    return whole and len(done_shards(names, plan.shards)) == plan.shards


def _says_done(names: set[str]) -> bool:
    return dataset_file.NAME in names and ledger.NAME in names


def _names(out: str) -> set[str]:
    return {file.url.rsplit("/", 1)[-1] for file in storage.list_files(out)}


def _shards_to_retry(out: str, plan: ShardPlan, done: Sequence[int], retry: frozenset[str]) -> Counter[int]:
    """Shards that are there → how many of their videos failed for one of the reasons, if any."""
    if not retry:
        return Counter()
    if storage.exists(storage.join(out, dataset_file.NAME)):
        return ledger.failed_shards(out, int(plan.settings["rows_per_shard"]), retry)
    indexes = zip(done, read_indexes(out, done), strict=True)
    return Counter(number for number, index in indexes for entry in index.inputs if entry.reason in retry)


def _videos_in(plan: ShardPlan, shards: Sequence[int]) -> int:
    size = int(plan.settings["rows_per_shard"])
    return sum(min(size, plan.videos - number * size) for number in shards)


def _check_failures(out: str, progress: Progress, most: float | None) -> None:
    if most is None or progress.videos < _FEW or progress.failed <= most * progress.videos:
        return
    commonest = ", ".join(f"{reason} ({count})" for reason, count in progress.reasons.most_common(3))
    raise ShardSetError(
        f"{out}: stopped, since {progress.failed} of {progress.videos} videos failed, more than {most:.0%}: "
        f"{commonest}; the shards that are done stay, and --retry takes up their failed videos"
    )


def on_ray(pool: "RayPool") -> Workers:
    """Make shards on a pool, a task a shard."""

    def make(tasks: Iterable[ShardTask]) -> Iterator[Step[ShardTask, list[InputEntry]]]:
        return pool.map_unordered(build_shard, placed(tasks))

    def placed(tasks: Iterable[ShardTask]) -> Iterator[ShardTask]:
        pace: Pace | None = None
        for task in tasks:
            if pace is None and any(kind_of(row.source) is not SourceKind.PLACE for row in task.rows):
                pace = pool.pace()
            # the workers have another working folder
            out, fetch = storage.absolute(task.out), task.fetch.with_absolute_paths()
            yield replace(task, out=out, fetch=fetch, scratch=pool.folder, pace=pace or task.pace)

    return make


def in_turn(tasks: Iterable[ShardTask]) -> Iterator[Step[ShardTask, list[InputEntry]]]:
    """Make shards one after the other, with one process that decodes: for few, since Ray takes seconds to start."""
    pace = LocalPace()
    with ExitStack() as stack:
        decode: Decoder | None = None
        for task in tasks:
            decode = decode or stack.enter_context(decoding_process(task.settings.limits)).call
            yield from _made_here(task, pace, decode)


def in_this_process(tasks: Iterable[ShardTask]) -> Iterator[Step[ShardTask, list[InputEntry]]]:
    """Make shards one after the other here, without protection from crashes: for debugging."""
    pace = LocalPace()
    for task in tasks:
        yield from _made_here(task, pace, decode_here)


def _made_here(task: ShardTask, pace: Pace, decode: Decoder) -> Iterator[Step[ShardTask, list[InputEntry]]]:
    for entries in build_shard(replace(task, pace=pace), decode):
        yield Step(task, "value", entries)
    yield Step(task, "done")
