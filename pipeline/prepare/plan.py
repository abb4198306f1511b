"""`plan.json`: which rows make which shard, with which settings. Written first and never changed.

{"version": 1, "hash": …, "settings": {…}, "settings_hash": …, "rows_hash": …, "shards": [[row, …], …]}
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from cluster import storage
from pipeline.errors import ShardSetError
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings

NAME = "plan.json"


class Plan(BaseModel):
    """The plan of a shard set; `shards[n]` are the rows of shard n."""

    version: Literal[1] = 1
    hash: str
    settings: dict[str, Any]
    settings_hash: str
    rows_hash: str
    shards: list[list[VideoRow]]


def make_plan(rows: Sequence[VideoRow], settings: PrepareSettings) -> Plan:
    """The plan for these rows; the same rows and settings always give the same plan."""
    values = settings.model_dump(mode="json", exclude={"limits"})
    settings_hash = _hash(values)
    rows_hash = _hash([asdict(row) for row in rows])
    size = settings.rows_per_shard
    return Plan(
        hash=_hash([settings_hash, rows_hash]),
        settings=values,
        settings_hash=settings_hash,
        rows_hash=rows_hash,
        shards=[list(rows[start : start + size]) for start in range(0, len(rows), size)],
    )


def settle_plan(out: str, plan: Plan) -> None:
    """Write the plan to a new shard set, or check that the one there is the same.

    Raises:
        ShardSetError: a plan with other settings or other rows is there, or files of something else.
    """
    url = storage.join(out, NAME)
    if not storage.exists(url):
        others = [file.url for file in storage.list_files(out)]
        if others:
            raise ShardSetError(
                f"{out}: expected an empty folder or a shard set, found other files, such as {others[0]}"
            )
        storage.write_text(url, plan.model_dump_json())
        return
    try:
        there = Plan.model_validate_json(storage.read_bytes(url))
    except ValidationError as error:
        raise ShardSetError(
            f"{url}: expected the plan of a shard set, found something else ({_first(error)})"
        ) from None
    if there.hash != plan.hash:
        raise ShardSetError(
            f"{out}: made by another plan: {_difference(there, plan)}; expected the same, or another --out"
        )


def _difference(there: Plan, wanted: Plan) -> str:
    for name in sorted(there.settings.keys() | wanted.settings.keys()):
        old, new = there.settings.get(name), wanted.settings.get(name)
        if old != new:
            return f"prepare.{name} was {old!r} and is now {new!r}"
    old_rows = {row.video: row for rows in there.shards for row in rows}
    new_rows = {row.video: row for rows in wanted.shards for row in rows}
    for name, row in new_rows.items():
        if name not in old_rows:
            return f"its list had {len(old_rows)} videos without {name!r}, the list now has {len(new_rows)}"
        if old_rows[name] != row:
            return f"its list had another row for {name!r}"
    gone = next((name for name in old_rows if name not in new_rows), None)
    if gone is not None:
        return f"its list had {len(old_rows)} videos with {gone!r}, the list now has {len(new_rows)} without it"
    return "its list had the same videos in another order"


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'content'}: {problem['msg']}"
