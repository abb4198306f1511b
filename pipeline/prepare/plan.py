"""The plan of a shard set: which rows make which shard, with which settings. Written first and never changed.

OUT/plan/shards-000000.jsonl    a line a shard: its rows, as a JSON list
OUT/plan.json                   written after them: {"version": 1, "hash": …, "settings": {…}, "settings_hash": …,
                                "rows_hash": …, "videos": …, "shards": …, "fingerprint": …, "split_share": …,
                                "parts": [{…}, …]}

A plan is written and read a part at a time, so that a list of any length needs the memory of one part.

No plan keeps the secrets of its sources (`cluster.masking`): where some had any, the list is needed again to make what
is missing. What is masked does not count for whether a plan is the same, so the list may have fresh signatures then.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields
from itertools import islice, zip_longest
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ValidationError

from cluster import storage
from cluster.job_folder import JOBS
from cluster.masking import mask_url
from pipeline.errors import ManifestError, ShardSetError
from pipeline.prepare.fetch.fetched import check_fetchable
from pipeline.prepare.fetch.sources import YOUTUBE, YOUTUBE_8M
from pipeline.prepare.layouts.row_segments import check_segments
from pipeline.prepare.layouts.still import check_still
from pipeline.prepare.manifests.row import SEGMENT_NAMES, VideoRow
from pipeline.prepare.settings import PrepareSettings

NAME = "plan.json"
LOCK = "prepare.lock"
"""The lease of the `gavt prepare` that works on the shard set."""
WANDB_ID = "wandb_run_id"
"""The id of the wandb run that follows the work."""
_SHARDS_PER_PART = 1000
_FOLDER = "plan/"
_DEFAULTS = {field.name: field.default for field in fields(VideoRow) if field.default is not MISSING}


class PlanPart(BaseModel):
    """A file with the rows of some shards that follow each other."""

    file: str
    shards: int
    bytes: int
    sha256: str


class ShardPlan(BaseModel):
    """`plan.json`.

    Attributes:
        made_by: the verb that makes the shards.
        hash: of settings and rows; shard sets with the same hash have the same bytes.
        fingerprint: of the lists that the rows came from. As long as it is the same, nobody has to read them again.
        split_share: what was held out of them, such as `validation=0.1 seed=0`; None where nothing was.
        masked: how many of the sources had secrets, which are not in the plan.
    """

    version: Literal[1] = 1
    made_by: Literal["prepare", "features"] = "prepare"
    hash: str
    settings: dict[str, Any]
    settings_hash: str
    rows_hash: str
    videos: int
    shards: int
    fingerprint: str
    split_share: str | None = None
    parts: list[PlanPart]
    masked: int = 0


class Rows(Protocol):
    """The videos of a plan: iterated anew each time.

    Attributes:
        split_share: what is held out of them, in words.
    """

    @property
    def split_share(self) -> str | None: ...

    def __iter__(self) -> Iterator[VideoRow]:
        """The rows in order, their ids unique."""

    def fingerprint(self) -> str:
        """A text that changes when the rows do."""


def settle_plan(out: str, rows: Rows, settings: PrepareSettings) -> ShardPlan:
    """Write the plan of a new shard set, or check that the one that is there is the same.

    Raises:
        ShardSetError: a plan with other settings or other rows is there, or files of something else.
        ManifestError: a wrong row, or none at all.
    """
    there = read_plan(out)
    if there is None:
        check_empty(out)
        return _write_plan(out, rows, settings)
    difference = _settings_difference(there, settings)
    if difference is None and there.split_share != rows.split_share:
        before, now = there.split_share or "not given", rows.split_share or "not given"
        difference = f"--split-share was {before} and is now {now}"
    if difference is None and there.fingerprint != rows.fingerprint():
        difference = _rows_difference(out, there, rows, settings)
    if difference is not None:
        raise ShardSetError(f"{out}: made by another plan: {difference}; expected the same, or another --out")
    return there


def read_plan(out: str) -> ShardPlan | None:
    """The plan of a shard set; None where there is none.

    Raises:
        ShardSetError: something else has its name.
    """
    url = storage.join(out, NAME)
    if not storage.exists(url):
        return None
    try:
        return ShardPlan.model_validate_json(storage.read_bytes(url))
    except ValidationError as error:
        problem = error.errors()[0]
        found = f"{'.'.join(map(str, problem['loc'])) or 'content'}: {problem['msg']}"
        raise ShardSetError(f"{url}: expected the plan of a shard set, found something else ({found})") from None


def hashes_agree(plan: ShardPlan) -> bool:
    """Whether the hashes in a plan are those of its own settings and parts."""
    settings_hash, rows_hash = hash_of(plan.settings), hash_of([part.sha256 for part in plan.parts])
    return (plan.settings_hash, plan.rows_hash, plan.hash) == (
        settings_hash,
        rows_hash,
        hash_of([settings_hash, rows_hash]),
    )


def shard_rows(out: str, plan: ShardPlan, numbers: Iterable[int]) -> Iterator[tuple[int, list[VideoRow]]]:
    """(number, rows) of the shards of these numbers, which must ascend; reads the plan a part at a time.

    Sources are as the plan has them, without secrets: `rows_to_make` gives the true ones.

    Raises:
        ShardSetError: a part of the plan is missing or not what the plan says.
    """
    wanted = iter(numbers)
    number = next(wanted, None)
    first = 0
    for part in plan.parts:
        if number is None:
            return
        if number < first + part.shards:
            lines = _read_part(out, part)
            while number is not None and number < first + part.shards:
                yield number, [_row_of(values) for values in json.loads(lines[number - first])]
                number = next(wanted, None)
        first += part.shards


def rows_to_make(
    out: str, plan: ShardPlan, numbers: Sequence[int], rows: Rows | None
) -> Iterator[tuple[int, list[VideoRow]]]:
    """`shard_rows` with true sources, which come from the list again where the plan has not all of them.

    Raises:
        ShardSetError: a part of the plan is missing or not what the plan says; sources had secrets, and there is no
            list, or another one.
    """
    if not plan.masked or not numbers:
        return shard_rows(out, plan, numbers)
    if rows is None:
        raise ShardSetError(
            f"{out}: the URLs of {plan.masked} videos hold names, passwords or keys, which no plan keeps: expected the "
            "list again, found none; the same command with the list makes what is missing"
        )
    return _with_true_sources(out, plan, numbers, rows)


def _with_true_sources(
    out: str, plan: ShardPlan, numbers: Sequence[int], rows: Rows
) -> Iterator[tuple[int, list[VideoRow]]]:
    size = int(plan.settings["rows_per_shard"])
    listed, first = iter(rows), 0
    for number, planned in shard_rows(out, plan, numbers):
        found = list(islice(listed, number * size - first, number * size - first + len(planned)))
        first = number * size + len(found)
        if [_values_of_row(row) for row in found] != [_values_of_row(row) for row in planned]:
            raise ShardSetError(f"{out}: the list changed while its videos were prepared")
        yield number, found


def _read_part(out: str, part: PlanPart) -> list[bytes]:
    url = storage.join(out, part.file)
    content = storage.read_bytes(url)
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise ShardSetError(f"{url}: expected the rows that {NAME} was written with, found others")
    return content.splitlines()


def check_empty(out: str) -> None:
    """Refuse a place with files that are no shard set's.

    Raises:
        ShardSetError: there are such.
    """
    start = storage.join(out, _FOLDER)
    ours = (start, storage.join(out, JOBS) + "/")
    others = [file.url for file in storage.list_files(out) if not file.url.startswith(ours)]
    others = [url for url in others if url.rsplit("/", 1)[-1] not in (LOCK, WANDB_ID)]
    if others:
        raise ShardSetError(f"{out}: expected an empty folder or a shard set, found other files, such as {others[0]}")


def _write_plan(out: str, rows: Rows, settings: PrepareSettings) -> ShardPlan:
    fingerprint = rows.fingerprint()
    values = _values_of(settings)
    parts: list[PlanPart] = []
    videos = masked = 0

    def counted() -> Iterator[VideoRow]:
        nonlocal videos, masked
        for row in _checked(rows, settings):
            videos += 1
            masked += mask_url(row.source) != row.source
            yield row

    lines = _lines(counted(), settings.rows_per_shard)
    while block := list(islice(lines, _SHARDS_PER_PART)):
        content = b"".join(line for _, line in block)
        name = f"{_FOLDER}shards-{len(parts) * _SHARDS_PER_PART:06d}.jsonl"
        digest = hashlib.sha256(content).hexdigest()
        storage.write_bytes(storage.join(out, name), content)
        parts.append(PlanPart(file=name, shards=len(block), bytes=len(content), sha256=digest))
    if not videos:
        raise ManifestError("expected videos, found none")
    settings_hash = hash_of(values)
    rows_hash = hash_of([part.sha256 for part in parts])
    plan = ShardPlan(
        hash=hash_of([settings_hash, rows_hash]),
        settings=values,
        settings_hash=settings_hash,
        rows_hash=rows_hash,
        videos=videos,
        shards=sum(part.shards for part in parts),
        fingerprint=fingerprint,
        split_share=rows.split_share,
        parts=parts,
        masked=masked,
    )
    storage.write_text(storage.join(out, NAME), plan.model_dump_json())
    return plan


def _checked(rows: Iterable[VideoRow], settings: PrepareSettings) -> Iterator[VideoRow]:
    """The rows, each seen to fit the recipe and this installation, before a night of work begins."""
    fetchable = False
    for row in rows:
        if not fetchable and row.source.startswith((YOUTUBE, YOUTUBE_8M)):
            check_fetchable([row])
            fetchable = True
        check_still(row, settings)
        if settings.layout == "segments":
            check_segments(row, settings)
        yield row


def _lines(rows: Iterable[VideoRow], size: int) -> Iterator[tuple[int, bytes]]:
    """(rows in it, the line) of each shard."""
    source = iter(rows)
    while block := list(islice(source, size)):
        text = json.dumps([_values_of_row(row) for row in block], ensure_ascii=False, separators=(",", ":"))
        yield len(block), f"{text}\n".encode()


def _values_of_row(row: VideoRow) -> dict[str, Any]:
    values: dict[str, Any] = {"video": row.video, "source": mask_url(row.source)}
    for name, default in _DEFAULTS.items():
        value = getattr(row, name)
        if value != default:
            values[name] = value
    return values


def _row_of(values: dict[str, Any]) -> VideoRow:
    for name in ("labels", "visible"):
        if name in values:
            values[name] = tuple(values[name])
    for name in ("boxes", *SEGMENT_NAMES):
        if name in values:
            values[name] = tuple(tuple(part) for part in values[name])
    if "segment_boxes" in values:
        values["segment_boxes"] = tuple(tuple(tuple(box) for box in boxes) for boxes in values["segment_boxes"])
    return VideoRow(**values)


def _settings_difference(there: ShardPlan, settings: PrepareSettings) -> str | None:
    values = _values_of(settings)
    for name in sorted(there.settings.keys() | values.keys()):
        old, new = there.settings.get(name), values.get(name)
        if old != new:
            return f"prepare.{name} was {old!r} and is now {new!r}"
    return None


def _rows_difference(out: str, there: ShardPlan, rows: Rows, settings: PrepareSettings) -> str | None:
    """The first row that is not the plan's."""
    row_number = 0
    lines_there = (line for part in there.parts for line in _read_part(out, part))
    for old_line, new in zip_longest(lines_there, _lines(rows, settings.rows_per_shard)):
        if new is not None and old_line is not None and old_line == new[1].rstrip(b"\n"):
            row_number += new[0]
            continue
        old_rows = json.loads(old_line) if old_line is not None else []
        new_rows = json.loads(new[1]) if new is not None else []
        for old, now in zip_longest(old_rows, new_rows):
            row_number += 1
            if old == now:
                continue
            place = f"row {row_number} of its list"
            if old is None:
                return f"its list had {there.videos} videos, and {now['video']!r} comes after them now"
            if now is None:
                return f"{place} was {old['video']!r}, and the list ends before it now"
            if old["video"] != now["video"]:
                return f"{place} was {old['video']!r} and is now {now['video']!r}"
            return f"{place}, {old['video']!r}, had other values"
    return None


def _values_of(settings: PrepareSettings) -> dict[str, Any]:
    """Settings that decide what comes out."""
    return settings.model_dump(mode="json", exclude={"limits"})


def hash_of(value: Any) -> str:
    """SHA-256 of a value as JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
