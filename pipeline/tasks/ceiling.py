"""How well anybody could do on pairs of which some can't be told: the ceiling of multi-modal alignment."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.mma import MATCH, Pairs, shows_all


@dataclass(frozen=True)
class Pair:
    """A sound shown with a frame."""

    frame: SampleMetadata
    sound: SampleMetadata
    match: bool


@dataclass(frozen=True)
class CeilingCounts:
    """Pairs by what an observer sees of them; those of several processes add up.

    Attributes:
        unknown: of which nobody knows what is visible or what sounds.
        shown_match, shown_mismatch: whose frame shows all that sounds.
        hidden_match, hidden_mismatch: whose frame does not.
    """

    unknown: float = 0
    shown_match: float = 0
    shown_mismatch: float = 0
    hidden_match: float = 0
    hidden_mismatch: float = 0

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> "CeilingCounts":
        """Count pairs."""
        counts = dict.fromkeys(cls.__dataclass_fields__, 0)
        for pair in pairs:
            if pair.frame.visible is None or not pair.sound.labels:
                counts["unknown"] += 1
            else:
                seen = "shown" if shows_all(pair.frame, pair.sound) else "hidden"
                counts[f"{seen}_{'match' if pair.match else 'mismatch'}"] += 1
        return cls(**counts)

    def ceiling(self) -> float | None:
        """Accuracy of an observer who recognises every visible and every sounding instrument, on exactly these pairs.

        It can only ask whether the frame shows all that sounds, and answers what is more frequent among the pairs with
        the same answer: a mismatched frame that happens to show every sounding instrument can't be told from a matched
        one.

        Returns:
            None where what is visible or what sounds isn't known of every pair, or without pairs.
        """
        shown, hidden = (self.shown_match, self.shown_mismatch), (self.hidden_match, self.hidden_mismatch)
        if self.unknown or not sum(shown) + sum(hidden):
            return None
        return (max(shown) + max(hidden)) / (sum(shown) + sum(hidden))


def counted_pairs(pairs: Pairs, samples: Sequence[SampleMetadata]) -> list[Pair]:
    """The pairs of a batch that count; `pairs` lie on the CPU."""
    chosen = (part[pairs.counted].tolist() for part in (pairs.frame, pairs.sound, pairs.match))
    return [Pair(samples[frame], samples[sound], match == MATCH) for frame, sound, match in zip(*chosen, strict=True)]
