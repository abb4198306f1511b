"""Which files of a shard set are missing, and which are too many."""

from collections.abc import Iterator
from pathlib import Path

from cluster import storage
from pipeline.inspect.contents import Contents
from pipeline.inspect.verify_shard import Problem
from pipeline.prepare import plan as plan_file
from pipeline.shards import ledger
from pipeline.shards.shard_files import shard_name


def missing_files(contents: Contents) -> Iterator[Problem]:
    """Shards of which only one file is there, and those that a finished set lacks."""
    finished = contents.dataset is not None
    for number in sorted(contents.indexes.keys() - contents.tars.keys()):
        yield Problem(f"{shard_name(number)}.tar", None, "it is missing, but its JSON is there")
    planned = contents.planned
    for number in sorted(contents.tars.keys() - contents.indexes.keys()):
        if finished or planned is None or number >= planned:
            yield Problem(f"{shard_name(number)}.tar", None, "it has no JSON beside it that says that it is done")
    if finished and planned is not None:
        gone = [n for n in range(planned) if n not in contents.tars and n not in contents.indexes]
        for number in gone:
            yield Problem(f"{shard_name(number)}.tar", None, "it is missing, and so is its JSON")
    if planned is not None:
        for number in sorted(contents.indexes.keys() & contents.tars.keys()):
            if number >= planned:
                yield Problem(f"{shard_name(number)}.tar", None, f"expected {planned} shards, found one more")
    if contents.plan is None and not any(file == plan_file.NAME for file, _ in contents.problems):
        yield Problem(plan_file.NAME, None, "it is missing")
    if finished and not contents.has_ledger:
        yield Problem(ledger.NAME, None, "it is missing")


def leftovers(contents: Contents) -> Iterator[Problem]:
    """What a process that was killed left behind."""
    for name in contents.others:
        if name.endswith(".new"):
            yield Problem(name, None, "left by a replacement that was killed; gavt prepare --retry finishes it")
    if not storage.is_remote(contents.url):
        # a listing leaves these out, since nothing ever reads them
        for path in sorted(Path(contents.url.removeprefix("file://")).rglob(".*.part")):
            yield Problem(path.name, None, "part of a file, left by a process that was killed")


def notes_on(contents: Contents) -> list[str]:
    """What is worth knowing and not wrong."""
    notes = []
    if contents.dataset is None:
        of = "" if contents.planned is None else f" of {contents.planned}"
        notes.append(f"not finished: {len(contents.done)}{of} shards are done; gavt prepare makes the others")
    strangers = [name for name in contents.others if not name.endswith(".new")]
    if strangers:
        notes.append(f"{len(strangers)} files are none of the shard set's, such as {strangers[0]}")
    return notes
