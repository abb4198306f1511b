"""Whether a shard set is whole: every hash, every sample decoded, and its files agree with each other."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from cluster.isolation import Isolated, ProcessLost
from pipeline.inspect.agreement import ledger_disagrees, plan_disagrees, totals_disagree
from pipeline.inspect.contents import read_contents
from pipeline.inspect.missing_files import leftovers, missing_files, notes_on
from pipeline.inspect.verify_shard import Problem, ShardFound, check_shard
from pipeline.shards.shard_files import shard_name

_DEADLINE_S = 3600.0  # of a shard; a decoder that hangs must not hang the check
_MEMORY_MB = 4000


@dataclass(frozen=True)
class Verified:
    """What was checked and what is wrong.

    Attributes:
        shards: shards that were looked at.
        planned: shards that there will be; None where nobody knows.
        finished: whether `dataset.json` says that the shard set is done.
        bytes: of the tars that were read.
        problems: what is wrong, shard by shard.
        more: problems besides these.
        notes: what is worth knowing and not wrong.
    """

    url: str
    shards: int
    planned: int | None
    finished: bool
    samples: int
    bytes: int
    problems: list[Problem]
    more: int
    notes: list[str]

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong; a shard set without a sample has a problem."""
        return not self.problems


@dataclass(frozen=True)
class Checked:
    """How far the check is: shards and bytes that were looked at, of `of` shards, and problems so far."""

    shards: int
    of: int
    bytes: int = 0
    problems: int = 0


def verify(url: str, workers: int, on_progress: Callable[[Checked], None] = lambda checked: None) -> Verified:
    """Check a shard set, finished or not.

    Args:
        url: folder or prefix.
        workers: processes; 0 checks in this one, where a damaged sample that crashes a decoder ends everything.
        on_progress: told after each shard.

    Raises:
        ShardSetError: there is no shard set.
        StorageError: it can't be read at all.
    """
    contents = read_contents(url)
    settings = None if contents.plan is None else contents.plan.settings
    checked = Checked(0, len(contents.done))
    on_progress(checked)
    found: dict[int, ShardFound] = {}
    for shard in _check(url, contents.done, settings, workers):
        found[shard.number] = shard
        wrong = checked.problems + len(shard.problems) + shard.more
        checked = replace(checked, shards=len(found), bytes=checked.bytes + shard.bytes, problems=wrong)
        on_progress(checked)
    shards = [found[number] for number in sorted(found)]
    named = {shard.index_sha256: shard_name(shard.number) for shard in shards}
    problems = [
        *(Problem(file, None, what) for file, what in contents.problems),
        *missing_files(contents),
        *leftovers(contents),
        *(problem for shard in shards for problem in (*_hash(shard, named), *shard.problems)),
        *totals_disagree(contents, shards),
        *ledger_disagrees(contents, shards),
        *plan_disagrees(contents, found),
    ]
    samples = sum(shard.samples for shard in shards)
    if not samples and not problems:
        problems.append(Problem(url, None, f"expected samples to check, found none in {len(shards)} shards"))
    return Verified(
        url=url,
        shards=len(shards),
        planned=contents.planned,
        finished=contents.dataset is not None,
        samples=samples,
        bytes=checked.bytes,
        problems=problems,
        more=sum(shard.more for shard in shards),
        notes=notes_on(contents),
    )


def _check(url: str, numbers: list[int], settings: dict[str, Any] | None, workers: int) -> Iterator[ShardFound]:
    """Each shard when it is checked, in any order; what kills the process that checks one is that shard's problem."""
    if not workers:
        yield from (check_shard(url, number, settings) for number in numbers)
        return
    own = threading.local()
    with ExitStack() as processes, ThreadPoolExecutor(min(workers, len(numbers)) or 1) as threads:

        def check(number: int) -> ShardFound:
            if not hasattr(own, "isolated"):
                own.isolated = processes.enter_context(Isolated(check_shard, _DEADLINE_S, _MEMORY_MB))
            try:
                result: ShardFound = own.isolated(url, number, settings)
            except ProcessLost as lost:
                problem = Problem(f"{shard_name(number)}.tar", None, f"checking it killed the process: {lost}")
                result = ShardFound(number, [problem])
            return result

        waiting = [threads.submit(check, number) for number in numbers]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            for future in waiting:
                future.cancel()


def _hash(shard: ShardFound, named: Mapping[str | None, str]) -> Iterator[Problem]:
    if shard.tar_sha256 is None or shard.index_sha256 in (None, shard.tar_sha256):
        return
    what = f"expected the SHA-256 {str(shard.index_sha256)[:12]}… of its JSON, found {shard.tar_sha256[:12]}…"
    other = named.get(shard.tar_sha256)
    yield Problem(
        f"{shard_name(shard.number)}.tar", None, what if other is None else f"{what}, which is that of {other}"
    )
