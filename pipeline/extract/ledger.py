"""What became of the videos of a shard when features were made of its samples."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import ShardSetError
from pipeline.reasons import Reason
from pipeline.shards.ledger import InputEntry

_FEW = 50
"""Samples before a failure rate means anything."""


@dataclass(frozen=True)
class Tally:
    """What became of samples.

    Attributes:
        samples: that were gone through.
        failed: of them.
        example: what is wrong with one.
    """

    samples: int = 0
    failed: int = 0
    example: str | None = None

    def plus(self, other: "Tally") -> "Tally":
        """With these."""
        return Tally(self.samples + other.samples, self.failed + other.failed, self.example or other.example)

    def check(self, out: str, most: float | None, begins: bool) -> None:
        """
        Args:
            most: the share that may fail, from 50 samples on.
            begins: it is the first of the whole set; without a share one of them at least must not fail.

        Raises:
            ShardSetError: too many do.
        """
        if most is not None and self.samples >= _FEW and self.failed > most * self.samples:
            raise ShardSetError(
                f"{out}: stopped, since {self.failed} of {self.samples} samples failed, more than {most:.0%}, such as: "
                f"{self.example}; the shards that are done stay, and --retry takes up their failed samples"
            )
        if most is None and begins and 0 < self.samples == self.failed:
            raise ShardSetError(
                f"{out}: stopped, since none of the first {self.samples} samples gave features, such as: "
                f"{self.example}; with --max-failure-rate 1 it goes on all the same"
            )


def lost(before: Sequence[InputEntry], after: Sequence[InputEntry], reasons: frozenset[str]) -> dict[str, InputEntry]:
    """Of the videos of a shard those that gave fewer features than samples, by their names.

    Args:
        before: as of the shard that the samples came from.
        after: as of the shard of features.
        reasons: why videos failed that are asked for.
    """
    if str(Reason.DAMAGED) not in reasons:  # the one reason that samples give here
        return {}
    return {entry.video: entry for was, entry in zip(before, after, strict=True) if entry.samples < was.samples}


def entries_after(
    before: Sequence[InputEntry], problems: Sequence[str | None], again: Mapping[str, InputEntry]
) -> Iterator[InputEntry]:
    """The ledger's lines of a shard's videos: those that gave no samples stay as they were.

    Args:
        before: as of the shard that the samples came from, or a line a sample.
        problems: of each sample in order what is wrong with it; None of those that are there.
        again: lines of videos that are gone through once more, by their names.
    """
    first = 0
    for entry in before:
        if entry.video in again:
            entry = entry.model_copy(update={"attempts": again[entry.video].attempts + 1})
        own = problems[first : first + entry.samples]
        first += entry.samples
        wrong = [problem for problem in own if problem is not None]
        if not wrong:
            yield entry
        elif len(wrong) < len(own):
            message = f"samples left out: {len(wrong)} of {len(own)}, such as: {wrong[0]}"
            yield entry.model_copy(update={"samples": len(own) - len(wrong), "message": message})
        else:
            failed = {"status": "failed", "reason": str(Reason.DAMAGED), "message": wrong[0], "samples": 0}
            yield entry.model_copy(update=failed)
