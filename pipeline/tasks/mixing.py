"""Which sounds are mixed with which. Free of torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.samples.metadata import SampleMetadata
from pipeline.stream.randomness import keyed_generator
from pipeline.tasks.pairing import same_scene

_TRIES = 8
"""Orders of a group that are tried until no mixture has two sounds of one scene."""


@dataclass(frozen=True)
class Mixture:
    """Sounds that are mixed.

    Attributes:
        members: their indices in the batch.
        counted: of each whether it is to be taken out again: not twice, and not of a mixture with another sound of its
            own scene, which its frame belongs to as well.
    """

    members: tuple[int, ...]
    counted: tuple[bool, ...]


def draw_mixtures(
    seed: int, positions: Sequence[int], samples: Sequence[SampleMetadata], group: int, added: int, purpose: str
) -> list[Mixture]:
    """All sounds of each group of positions, shuffled and cut into mixtures of `added` + 1. The last one of a group is
    filled up with the first ones, so that each sound is in a mixture: there are as many for any samples."""
    groups: dict[int, list[int]] = {}
    for index, position in enumerate(positions):
        groups.setdefault(position // group, []).append(index)
    mixtures = []
    for number, own in groups.items():
        random = keyed_generator(seed, f"{purpose}-mixtures", number)
        tried = []
        for _ in range(_TRIES):
            tried.append(_cut([own[place] for place in random.permutation(len(own))], samples, added + 1))
            if all(all(one.counted) for one in tried[-1]):
                break
        mixtures += max(tried, key=lambda cut: sum(sum(one.counted) for one in cut))
    return mixtures


def _cut(order: list[int], samples: Sequence[SampleMetadata], size: int) -> list[Mixture]:
    found = []
    for start in range(0, len(order), size):
        own = order[start : start + size]
        filled = [order[place % len(order)] for place in range(start, start + size)]
        counted = [
            place < len(own)
            and not any(other != place and same_scene(samples[filled[other]], samples[index]) for other in range(size))
            for place, index in enumerate(filled)
        ]
        found.append(Mixture(tuple(filled), tuple(counted)))
    return found
