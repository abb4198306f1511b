"""The ledger: what became of every video of a shard set, `ledger.jsonl`, a line a video in the order of the plan."""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import BaseModel

from cluster import storage
from cluster.json_text import parse_json
from pipeline.errors import SettingsError
from pipeline.reasons import Reason

NAME = "ledger.jsonl"


class InputEntry(BaseModel):
    """What became of a video.

    Attributes:
        attempts: 1, and 1 more for each `gavt prepare --retry` that took it up again.
        sound_repeated: its sound is shorter than that of a sample, and is repeated in each.
    """

    video: str
    source: str
    status: Literal["ok", "failed"]
    reason: str | None = None
    message: str | None = None
    attempts: int
    samples: int
    sound_repeated: bool = False


def read_ledger(out: str) -> Iterator[InputEntry]:
    """The ledger of a finished shard set, a video at a time."""
    with storage.open_read(storage.join(out, NAME)) as file:
        for line in file:
            yield InputEntry.model_validate_json(line)


def failed_shards(out: str, rows_per_shard: int, reasons: frozenset[str]) -> Counter[int]:
    """Shards of a finished shard set → how many of their videos failed for one of the reasons, if any."""
    with storage.open_read(storage.join(out, NAME)) as file:
        return Counter(
            number // rows_per_shard
            for number, line in enumerate(file)
            # a look at the text first: of a hundred million lines few are of interest
            if b'"failed"' in line and parse_json(line)["reason"] in reasons
        )


def reasons_to_retry(words: Iterable[str]) -> frozenset[str]:
    """The reasons that the words of `--retry` mean: `transient`, `all`, or reasons by their names.

    Raises:
        SettingsError: a word that is none of these.
    """
    found: set[str] = set()
    known = [reason.value for reason in Reason]
    for word in words:
        if word == "all":
            found.update(known)
        elif word == "transient":
            found.update(reason.value for reason in Reason if reason.transient)
        elif word in known:
            found.add(word)
        else:
            near = difflib.get_close_matches(word, ["all", "transient", *known], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SettingsError(f"--retry: expected transient, all or one of {', '.join(known)}, found {word!r}{hint}")
    return frozenset(found)
