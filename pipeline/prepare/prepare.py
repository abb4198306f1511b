"""Videos to a shard set: plan, missing shards on the workers, dataset.

OUT/plan.json            what makes which shard; written first
OUT/shard-000000.tar     samples
OUT/shard-000000.json    what is in it and what became of its videos; written after the tar
OUT/ledger.jsonl         all videos
OUT/dataset.json         totals; written last
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from cluster import storage
from cluster.ray_pool import RayPool, Step
from pipeline.errors import ShardSetError
from pipeline.prepare.dataset import Dataset, finish_dataset, read_indexes
from pipeline.prepare.manifests.read import Manifest
from pipeline.prepare.plan import make_plan, settle_plan
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.shard import InputEntry, ShardTask, build_shard, shard_name

Workers = Callable[[Sequence[ShardTask]], Iterable[Step[ShardTask, InputEntry]]]


@dataclass(frozen=True)
class Progress:
    """How far it is, videos of earlier runs included.

    Attributes:
        videos: videos done.
        found: of these, videos that were done before this run.
        samples: samples that they gave.
        failed: videos without samples.
    """

    total: int
    videos: int = 0
    found: int = 0
    samples: int = 0
    failed: int = 0

    def plus(self, entries: Sequence[InputEntry], sign: int = 1) -> "Progress":
        """With these videos done as well, or with `sign` -1 taken back."""
        return replace(
            self,
            videos=self.videos + sign * len(entries),
            samples=self.samples + sign * sum(entry.samples for entry in entries),
            failed=self.failed + sign * sum(entry.status == "failed" for entry in entries),
        )


@dataclass(frozen=True)
class Prepared:
    """A finished shard set: its totals and its ledger."""

    dataset: Dataset
    inputs: list[InputEntry]


def prepare(
    manifest: Manifest,
    out: str,
    settings: PrepareSettings,
    workers: Workers,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Prepared:
    """Make the shard set at `out` from the manifest's videos, or what is missing of it.

    Args:
        manifest: the videos.
        out: folder or prefix of the shard set.
        settings: the recipe.
        workers: where the shards are made: `on_ray(pool)` or `in_this_process`.
        on_progress: told after each video.

    Raises:
        ShardSetError: another plan is there, or shards were lost with their workers.
        StorageError: `out` can't be read or written.
    """
    plan = make_plan(manifest.rows, settings)
    settle_plan(out, plan)
    there = {file.url.rsplit("/", 1)[-1] for file in storage.list_files(out)}
    done = [number for number in range(len(plan.shards)) if f"{shard_name(number)}.json" in there]
    progress = Progress(total=len(manifest.rows))
    for index in read_indexes(out, done):
        progress = progress.plus(index.inputs)
    progress = replace(progress, found=progress.videos)
    on_progress(progress)
    missing = sorted(set(range(len(plan.shards))) - set(done))
    tasks = [ShardTask(number, plan.shards[number], out, settings) for number in missing]
    lost: list[str] = []
    in_work: dict[int, list[InputEntry]] = {}
    for step in workers(tasks) if tasks else ():
        number = step.item.number
        if step.state == "value" and step.value is not None:
            in_work.setdefault(number, []).append(step.value)
            progress = progress.plus([step.value])
        elif step.state == "done":
            in_work.pop(number, None)
        else:  # its worker died: its videos will be done once more, or not at all
            progress = progress.plus(in_work.pop(number, []), -1)
            if step.state == "lost":
                lost.append(f"{shard_name(number)} ({step.message})")
        on_progress(progress)
    if lost:
        raise ShardSetError(
            f"{out}: {len(lost)} shards were lost with their workers, such as {lost[0]}; run it once more"
        )
    return Prepared(*finish_dataset(out, plan))


def on_ray(pool: RayPool) -> Workers:
    """Make shards on a pool, a task a shard."""
    return lambda tasks: pool.map_unordered(build_shard, [replace(task, scratch=pool.folder) for task in tasks])


def in_this_process(tasks: Sequence[ShardTask]) -> Iterator[Step[ShardTask, InputEntry]]:
    """Make shards one after the other here, without Ray and without protection from crashes: for debugging."""
    for task in tasks:
        for entry in build_shard(replace(task, isolated=False)):
            yield Step(task, "value", entry)
        yield Step(task, "done")
