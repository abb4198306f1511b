"""Rows for a plan that come from a list in memory."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.prepare.manifests.row import VideoRow


@dataclass(frozen=True)
class ListedRows:
    """`pipeline.prepare.plan.Rows` over a list."""

    rows: Sequence[VideoRow]
    split_share: str | None = None

    def __iter__(self) -> Iterator[VideoRow]:
        return iter(self.rows)

    def fingerprint(self) -> str:
        """Of the rows as they are."""
        return hashlib.sha256(repr(self.rows).encode()).hexdigest()
