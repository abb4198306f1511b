"""How well anybody could do on pairs of which some can't be told: the ceiling of multi-modal alignment."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass

from pipeline.samples.metadata import SampleMetadata


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
    def names(cls) -> tuple[str, ...]:
        """Of the counts, in order."""
        return tuple(cls.__dataclass_fields__)

    def values(self) -> tuple[float, ...]:
        """The counts, in order."""
        return astuple(self)

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> "CeilingCounts":
        """Count pairs."""
        counts = dict.fromkeys(cls.names(), 0)
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


def shows_all(frame: SampleMetadata, sound: SampleMetadata) -> bool:
    """Whether a sample's frame is known to show everything that sounds in another: nobody could tell such a mismatched
    pair from a matched one."""
    seen = frame.labels if frame.visible is None else frame.visible
    return bool(sound.labels) and set(sound.labels) <= set(seen)
