"""What became of the videos of a shard when features were made of its samples."""

from collections.abc import Iterator, Sequence

from pipeline.reasons import Reason
from pipeline.shards.ledger import InputEntry


def entries_after(before: Sequence[InputEntry], problems: Sequence[str | None]) -> Iterator[InputEntry]:
    """The ledger's lines of a shard's videos: those that gave no samples stay as they were.

    Args:
        before: as of the shard that the samples came from, or a line a sample.
        problems: of each sample in order what is wrong with it; None of those that are there.
    """
    first = 0
    for entry in before:
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
