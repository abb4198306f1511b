"""The plan of a set of features: written first and never changed, so that what was killed goes on with the same.

OUT/plan.json    as of `gavt prepare`, made by `features`: the settings, the hashes of the networks' weights and of the
                 source's shards; it has no rows, for its shards are those of the source
"""

from collections.abc import Mapping
from typing import Any

from cluster import storage
from pipeline.errors import ShardSetError
from pipeline.prepare.plan import NAME, ShardPlan, check_empty, hash_of, read_plan


def settle_plan(out: str, settings: Mapping[str, Any], contents: str, videos: int, shards: int) -> ShardPlan:
    """Write the plan of new features, or check that the one that is there is the same.

    Args:
        settings: all that decides what comes out of the samples.
        contents: changes with the samples.

    Raises:
        ShardSetError: another plan is there, or files of something else.
    """
    settings = {**settings, "source_contents": contents}
    settings_hash, rows_hash = hash_of(settings), hash_of([])
    plan = ShardPlan(
        made_by="features",
        hash=hash_of([settings_hash, rows_hash]),
        settings=settings,
        settings_hash=settings_hash,
        rows_hash=rows_hash,
        videos=videos,
        shards=shards,
        fingerprint=contents,
        parts=[],
    )
    there = read_plan(out)
    if there is None:
        check_empty(out)
        storage.write_text(storage.join(out, NAME), plan.model_dump_json())
    elif there.hash != plan.hash:
        raise ShardSetError(
            f"{out}: made by another plan: {_difference(there, plan)}; expected the same, or another --out"
        )
    return plan


def _difference(there: ShardPlan, plan: ShardPlan) -> str:
    if there.made_by != plan.made_by:
        return f"by gavt {there.made_by}"
    for name in sorted(there.settings.keys() | plan.settings.keys()):
        old, new = there.settings.get(name), plan.settings.get(name)
        if old != new:
            return f"{name} was {old!r} and is now {new!r}"
    raise AssertionError("the hashes of the plans are of their settings")
