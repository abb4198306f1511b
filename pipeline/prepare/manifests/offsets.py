"""What `gavt offset` found in videos, and which rows of a list it leaves out."""

import json
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cluster.masking import mask_url
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.source_kind import absolute_place
from pipeline.prepare.manifests.text import open_bytes
from pipeline.reasons import Reason

Key = tuple[str, float | None, float | None]
"""A part of a video: source, begin and end (s)."""


class OffsetEntry(BaseModel):
    """What was found in a video, a line of JSON.

    Attributes:
        start_s, end_s: the part (s from the video's zero) that its row is about.
        status: `told`; `unsure`, it can't be told; `failed`, for a `reason` of the ledger's, which `message` explains.
        offset_s: how much later (s) the sound comes than what is seen; negative where it comes earlier.
        confidence: probability that the best guess is right; where that is too little it is not told.
        every_s: sound and picture repeat themselves after so many seconds, so that the offset may as well be that much
            more or less.
        within_s: to how much (s) an offset is right: a frame, or the class of a model.
        by: what found it: `onsets`, without any training, or a checkpoint.
    """

    model_config = ConfigDict(extra="forbid")

    video: str
    source: str
    start_s: float | None = None
    end_s: float | None = None
    status: Literal["told", "unsure", "failed"]
    offset_s: float | None = None
    confidence: float | None = None
    every_s: float | None = None
    within_s: float | None = None
    by: str | None = None
    reason: str | None = None
    message: str | None = None

    @property
    def key(self) -> Key:
        """The part of a video that it is about."""
        return self.source, self.start_s, self.end_s

    @property
    def may_change(self) -> bool:
        """Whether the same video may be told another time: a later line about it counts instead."""
        return any(self.reason == reason for reason in Reason if reason.transient)


def key_of(row: VideoRow) -> Key:
    """The part of a video that a row is about."""
    return mask_url(row.source), row.start_s, row.end_s


def read_offsets(source: str) -> Iterator[OffsetEntry]:
    """What `gavt offset --out` wrote, local or on object storage.

    Raises:
        ManifestError: it can't be read, or a line is something else.
    """
    place = absolute_place(source)
    with open_bytes(place) as file:
        for number, line in enumerate(file, 1):
            yield parse_line(place, number, line)


def parse_line(place: str, number: int, line: bytes) -> OffsetEntry:
    """A line of the file.

    Raises:
        ManifestError: it is something else.
    """
    try:
        return OffsetEntry.model_validate_json(line)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"])) or "the line"
        raise ManifestError(
            f"{place}:{number}: expected a row of gavt offset, found one with {where}: {wrong['msg']}"
        ) from None


class OffsetFilter:
    """Leaves out rows whose sound and picture are known to be apart. Of what it knows nothing about it takes all."""

    def __init__(self, source: str, most_s: float) -> None:
        """
        Raises:
            ManifestError: as of `read_offsets`.
        """
        self._source, self._most_s = source, most_s
        self._offsets = {entry.key: entry.offset_s for entry in read_offsets(source)}
        self._seen = self._known = 0

    def reason_against(self, row: VideoRow) -> str | None:
        """Why a row is left out."""
        key = key_of(row)
        self._seen += 1
        self._known += key in self._offsets
        offset_s = self._offsets.get(key)
        if offset_s is None or abs(offset_s) <= self._most_s:
            return None
        return f"the sound of {row.video} comes {abs(offset_s):.2f} s too {'late' if offset_s > 0 else 'early'}"

    def check(self) -> None:
        """See, when all rows are read, that some of them were known.

        Raises:
            ManifestError: none was.
        """
        if self._seen and not self._known:
            raise ManifestError(
                f"--offsets {self._source}: expected rows of gavt offset about these videos, found none about any of "
                f"{self._seen}"
            )


def as_line(entry: OffsetEntry) -> str:
    """A line of the file."""
    return json.dumps(entry.model_dump(exclude_none=True), allow_nan=False) + "\n"
