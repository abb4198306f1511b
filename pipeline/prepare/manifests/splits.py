"""Splits: those that names of files say, and those drawn by share, which hold out the same videos whatever else the
lists hold."""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from cluster.masking import shown
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.row_errors import WrongRow

REST = "train"
"""The split of what is not held out; rows that have it already are divided too."""
_WAYS_TO_WRITE = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "eval": "eval",
    "evaluation": "eval",
}
_NAME = re.compile(r"[A-Za-z0-9_-]+").fullmatch
_YOUTUBE_LETTERS = 11
_ID = re.compile(r"youtube:(.+)").fullmatch
# names of files as they are cut from a video, `glLQrEijrKg_000300_000310`; a word of eleven small letters is none
_PART = re.compile(r"(?=.{0,10}[A-Z0-9])([A-Za-z0-9_-]{11})(?:_[0-9.]+){0,2}").fullmatch


def plain_split(name: str) -> str:
    """One name for all ways to write a split: `val` for `Validation`."""
    return _WAYS_TO_WRITE.get(name.lower(), name)


def split_of(url: str) -> str | None:
    """The split in a file's name (`MUSIC200k-train.csv`, `eval_segments.csv`); None where it names none, or two."""
    words = re.split(r"[^a-z]+", os.path.basename(url).lower())
    found = {_WAYS_TO_WRITE[word] for word in words if word in _WAYS_TO_WRITE}
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class SplitShares:
    """Which share of the videos each split gets.

    A video's split follows from its id and the seed alone: from a hash in 0–1, of which each split has an interval, in
    the order in which they are given. So neither the order of a list nor further rows, nor a further split behind the
    others, moves a video from one split to another.

    Attributes:
        shares: name and share of each split that is held out.
        seed: another one draws other videos.
    """

    shares: tuple[tuple[str, float], ...]
    seed: int = 0

    @classmethod
    def parse(cls, words: Sequence[str], seed: int = 0) -> "SplitShares | None":
        """From words such as `validation=0.1`; None from none.

        Raises:
            ManifestError: no name and share, a name twice or that of the rest, or more than all.
        """
        shares: dict[str, float] = {}
        for word in words:
            name, _, text = word.partition("=")
            try:
                share = float(text)
            except ValueError:
                share = math.nan
            if not _NAME(name) or not 0 < share <= 1:
                raise ManifestError(f"--split-share: expected words such as validation=0.1, found {shown(word)}")
            if plain_split(name) == REST:
                raise ManifestError(f"--split-share: expected splits beside {REST}, the rest, found {shown(word)}")
            if plain_split(name) in map(plain_split, shares):
                raise ManifestError(f"--split-share: expected each split once, found {', '.join(words)}")
            shares[name] = share
        if sum(shares.values()) > 1 + 1e-9:
            raise ManifestError(f"--split-share: expected shares of 1 in all at most, found {', '.join(words)}")
        return cls(tuple(shares.items()), seed) if shares else None

    def __str__(self) -> str:
        return " ".join([*(f"{name}={share:g}" for name, share in self.shares), f"seed={self.seed}"])

    def divides(self, row: VideoRow) -> bool:
        """Whether the row's split is drawn: it has none of its own, or that of the rest.

        Raises:
            WrongRow: its own is one of those that are drawn.
        """
        if row.split is None:
            return True
        own = plain_split(row.split)
        if own in (plain_split(name) for name, _ in self.shares):
            what = f"the split {row.split}, which --split-share draws"
            raise WrongRow(f"expected no rows of {what}, found {shown(row.video)}")
        return own == REST

    def split_of(self, row: VideoRow, names_part: bool) -> str:
        """The split that is drawn for a row, the same for all rows of its video.

        Args:
            names_part: its id begins with the YouTube id of the video that it is a part of.
        """
        video = row.video[:_YOUTUBE_LETTERS] if names_part and row.group is None else _video_of(row)
        digest = blake2b(f"{self.seed}\0{video}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
        place, end = int.from_bytes(digest, "big") / 2**64, 0.0
        for name, share in self.shares:
            end += share
            if place < end:
                return name
        return REST


def _video_of(row: VideoRow) -> str:
    """What all rows of a video share: their group, YouTube's id, or the file."""
    if row.group is not None:
        return f"group:{row.group}"
    name = row.source.rpartition("/")[2].rpartition(".")[0] or row.source
    known = _ID(row.source) or _PART(name)
    return row.source if known is None else known[1]
