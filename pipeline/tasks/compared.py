"""Frames and the sounds that each is compared with, and which of these pairs count."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.gathered import gathered
from pipeline.tasks.pairing import draw_one, same_scene


class Samples(NamedTuple):
    """What is compared of each sample, [B, …] all: as of `Compared`; partners are numbers within groups."""

    seen: Tensor
    heard: Tensor
    times: Tensor
    scenes: Tensor
    partners: Tensor


@dataclass(frozen=True)
class Compared:
    """Sets [G, …] of c samples each, of whose frames b look for their sounds among all of the set: all of them (b = c),
    or in a step of several processes this one's own.

    Attributes:
        seen: [G, b, N, K, d] directions of the visual tokens of frames that look.
        heard: [G, c, T, K, d] those of audio tokens.
        times: [G, c, T] which of these are not silence.
        scenes: [G, c, 3] as of `pairing.scene_numbers`.
        partners: [G, c] which sound of the set is mixed with each.
        there: [G, c] False for what fills up the last group of a validation set.
        frames: [G, c, N, K, d] like `seen`, of all samples; None where they are of other processes and nobody asked.
        first: of the c the number of the first of the b.
    """

    seen: Tensor
    heard: Tensor
    times: Tensor
    scenes: Tensor
    partners: Tensor
    there: Tensor
    frames: Tensor | None
    first: int = 0

    @property
    def mine(self) -> slice:
        """The b among the c."""
        return slice(self.first, self.first + self.seen.shape[1])

    def own(self) -> Tensor:
        """[G, b, c]: each frame with its own sound."""
        same = torch.eye(self.heard.shape[1], dtype=torch.bool, device=self.heard.device)
        return same[self.mine] & self.there[:, None]

    def counted(self, near: float | None) -> Tensor:
        """[G, b, c]: pairs that say something: own ones, and those of two samples that share no scene and are not
        nearer to each other than `near`."""
        one, other = self.scenes[:, self.mine, None], self.scenes[:, None]
        alike = ((one == other) & (one != 0)).any(3)
        if near is not None:
            assert self.frames is not None
            for tokens in (self.frames, self.heard):
                alike = alike | (self._likeness(tokens.detach()) > near)
        return (~alike & self.there[:, self.mine, None] & self.there[:, None]) | self.own()

    def of_partners(self, pairs: Tensor) -> Tensor:
        """[G, b, c]: what `pairs` says of each frame and the sound that is mixed with another."""
        return pairs.gather(2, self.partners[:, None].expand_as(pairs))

    def _likeness(self, tokens: Tensor) -> Tensor:
        """[G, b, c]: cosines of mean tokens, less the mean of all of a set: where all are much alike, as at first, they
        still differ from their mean in all directions."""
        means = tokens.mean(2).flatten(2)
        centred = F.normalize(means - means.mean(1, keepdim=True), dim=2)
        return centred[:, self.mine] @ centred.transpose(1, 2)


def compare_groups(samples: Samples, group: int) -> Compared:
    """Samples each with those of its own group; the last group may be cut short."""
    missing = -len(samples.seen) % group
    there = torch.ones(len(samples.seen), dtype=torch.bool, device=samples.seen.device)
    seen, heard, times, scenes, partners, there = (
        torch.cat([one, one.new_zeros(missing, *one.shape[1:])]).reshape(-1, group, *one.shape[1:])
        for one in (*samples, there)
    )
    return Compared(seen, heard, times | ~there[:, :, None], scenes, partners, there, seen)


def compare_all(samples: Samples, group: int, frames: bool) -> Compared:
    """Samples each with those of all processes; with their frames where they are asked for."""
    heard, first = gathered(samples.heard)
    seen = samples.seen if len(heard) == len(samples.seen) else gathered(samples.seen)[0] if frames else None
    numbers, _ = gathered(torch.cat([samples.scenes, samples.partners[:, None], samples.times.long()], dim=1))
    index = torch.arange(len(heard), device=heard.device)
    partners, times = index // group * group + numbers[:, 3], numbers[:, 4:] > 0
    return Compared(
        samples.seen[None],
        heard[None],
        times[None],
        numbers[None, :, :3],
        partners[None],
        torch.ones_like(times[None, :, 0]),
        None if seen is None else seen[None],
        first,
    )


def within_groups(pairs: Tensor, mine: slice, group: int) -> Tensor:
    """Of pairs [G, b, c] those of two samples of a group, [B / group, group, group]; sets are groups, or one of all."""
    missing = -pairs.shape[1] % group
    square = F.pad(pairs[:, :, mine], (0, missing, 0, missing))
    sets, frames, _ = square.shape
    blocks = square.reshape(sets, frames // group, group, frames // group, group)
    within: Tensor = blocks.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2).flatten(0, 1)
    return within


def draw_partners_in_groups(
    group: int, seed: int, positions: Sequence[int], metadata: Sequence[SampleMetadata], purpose: str
) -> list[int]:
    """For each sample the number within its group of another one of another scene; its own where there is none. Each
    draw is keyed by its position."""
    found = []
    for start in range(0, len(positions), group):
        members = metadata[start : start + group]
        for place, (position, sample) in enumerate(zip(positions[start : start + group], members, strict=True)):
            others = [other for other, one in enumerate(members) if other != place and not same_scene(one, sample)]
            drawn = draw_one(seed, purpose, position, others)
            found.append(place if drawn is None else drawn)
    return found
