"""Every kind of damage to a shard set of layout `frame`, and how it is said."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def rewrite(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def a_wrong_offset(folder: Path) -> None:
    rewrite(folder / "shard-000000.json", lambda index: index["samples"][1].update(offset=512))


def a_wrong_key(folder: Path) -> None:
    rewrite(folder / "shard-000000.json", lambda index: index["samples"][0].update(key="video9_0000"))


def a_key_twice(folder: Path) -> None:
    rewrite(folder / "shard-000000.json", lambda index: index["samples"][1].update(key="video0_0000"))


def a_sample_too_many(folder: Path) -> None:
    rewrite(folder / "shard-000000.json", lambda index: index["samples"].append(index["samples"][-1]))


def a_text_as_json(folder: Path) -> None:
    (folder / "shard-000001.json").write_text("nothing")


def no_json(folder: Path) -> None:
    (folder / "shard-000001.json").unlink()


def no_tar(folder: Path) -> None:
    (folder / "shard-000001.tar").unlink()


def no_shard(folder: Path) -> None:
    no_json(folder)
    no_tar(folder)


def no_ledger(folder: Path) -> None:
    (folder / "ledger.jsonl").unlink()


def no_plan(folder: Path) -> None:
    (folder / "plan.json").unlink()


def a_shard_too_many(folder: Path) -> None:
    for kind in ("tar", "json"):
        shutil.copy(folder / f"shard-000000.{kind}", folder / f"shard-000007.{kind}")


def a_tar_too_many(folder: Path) -> None:
    shutil.copy(folder / "shard-000000.tar", folder / "shard-000007.tar")


def a_replacement_left_behind(folder: Path) -> None:
    (folder / "shard-000000.tar.new").write_bytes(b"x")


def a_part_left_behind(folder: Path) -> None:
    (folder / ".shard-000000.tar.abc.part").write_bytes(b"x")


def other_totals(folder: Path) -> None:
    rewrite(folder / "dataset.json", lambda totals: totals["shards"][1].update(samples=1))


def other_videos_in_the_totals(folder: Path) -> None:
    rewrite(folder / "dataset.json", lambda totals: totals["shards"][1].update(videos=9))


def another_hash_in_the_totals(folder: Path) -> None:
    rewrite(folder / "dataset.json", lambda totals: totals["shards"][1].update(sha256="0" * 64))


def another_plan(folder: Path) -> None:
    rewrite(folder / "dataset.json", lambda totals: totals.update(plan_hash="0"))


def other_reasons(folder: Path) -> None:
    rewrite(folder / "dataset.json", lambda totals: totals.update(reasons={"damaged": 1}))


def another_recipe(folder: Path) -> None:
    rewrite(folder / "plan.json", lambda plan: plan["settings"].update(jpeg_quality=91))


def totals_of_nothing(folder: Path) -> None:
    (folder / "dataset.json").write_text("{}")


def a_ledger_that_tells_otherwise(folder: Path) -> None:
    lines = (folder / "ledger.jsonl").read_text().splitlines(keepends=True)
    lines[3] = lines[3].replace('"ok"', '"failed"')
    (folder / "ledger.jsonl").write_text("".join(lines))


def a_ledger_that_ends_early(folder: Path) -> None:
    lines = (folder / "ledger.jsonl").read_text().splitlines(keepends=True)
    (folder / "ledger.jsonl").write_text("".join(lines[:4]))


def a_ledger_that_goes_on(folder: Path) -> None:
    with (folder / "ledger.jsonl").open("a") as file:
        file.write("{}\n")


def other_rows_in_the_plan(folder: Path) -> None:
    (part,) = (folder / "plan").iterdir()
    part.write_text(part.read_text().replace("video2", "video9"))


DAMAGES: dict[Callable[[Path], None], str] = {
    a_wrong_offset: "shard-000000.json: sample video0_0001: expected it at byte",
    a_wrong_key: "shard-000000.json: sample video9_0000: expected a sample of the video 'video0' here",
    a_key_twice: "shard-000000.json: sample video0_0000: it is there twice",
    a_sample_too_many: "shard-000000.json: expected 6 samples as its videos gave, found 7",
    a_text_as_json: "shard-000001.json: expected the JSON of a shard",
    no_json: "shard-000001.tar: it has no JSON beside it",
    no_tar: "shard-000001.tar: it is missing, but its JSON is there",
    no_shard: "shard-000001.tar: it is missing, and so is its JSON",
    no_ledger: "ledger.jsonl: it is missing",
    no_plan: "plan.json: it is missing",
    a_shard_too_many: "shard-000007.tar: expected 3 shards, found one more",
    a_tar_too_many: "shard-000007.tar: it has no JSON beside it",
    a_replacement_left_behind: "shard-000000.tar.new: left by a replacement that was killed",
    a_part_left_behind: ".shard-000000.tar.abc.part: part of a file",
    other_totals: "dataset.json: shard-000001.tar: expected 6 samples, found 1",
    other_videos_in_the_totals: "dataset.json: shard-000001.tar: expected 2 videos, found 9",
    another_hash_in_the_totals: "dataset.json: shard-000001.tar: expected the SHA-256 of the shard's JSON",
    another_plan: "dataset.json: expected the hash of plan.json",
    other_reasons: "dataset.json: expected 1 failed videos as the shards have",
    another_recipe: "plan.json: expected the hashes of its own settings and rows",
    totals_of_nothing: "dataset.json: expected the totals of a shard set",
    a_ledger_that_tells_otherwise: "ledger.jsonl: line 4 is not what shard-000001.json says of 'video3'",
    a_ledger_that_ends_early: "ledger.jsonl: expected line 5 to tell of 'gone'",
    a_ledger_that_goes_on: "ledger.jsonl: expected 5 videos, found more lines",
    other_rows_in_the_plan: "plan.json: ",
}
