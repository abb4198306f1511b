"""Multi-modal alignment: does this frame belong to this sound? (G-AVT thesis, section 3.2, Eq. 3)"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cluster.masking import is_masked
from pipeline.models.gavt import Gavt
from pipeline.samples.metadata import SampleMetadata
from pipeline.stream.randomness import keyed_generator
from pipeline.tasks.settings import MmaSettings

NO_MATCH, MATCH = 0, 1


@dataclass(frozen=True)
class Pairs:
    """Which frame is shown with which sound.

    Attributes:
        frame: [P] index in the batch of each pair's frame.
        sound: [P] index of its sound.
        match: [P] 1 where they belong together.
        counted: [P] False where the pair is no part of the loss: its sound can have no partner. It is computed all the
            same, so that every micro-batch has the same shape.
    """

    frame: Tensor
    sound: Tensor
    match: Tensor
    counted: Tensor

    def to(self, device: torch.device | str) -> "Pairs":
        """The pairs on another device."""
        return Pairs(*(getattr(self, one.name).to(device) for one in fields(self)))

    def __len__(self) -> int:
        return len(self.match)

    def numbers(self) -> "PairNumbers":
        """How many there are; of pairs that lie on the CPU."""
        counted = int(self.counted.sum())
        matches = int((self.counted & (self.match == MATCH)).sum())
        return PairNumbers(counted, counted - matches, len(set(self.sound[~self.counted].tolist())))


class PairNumbers(NamedTuple):
    """How many pairs there are.

    Attributes:
        pairs: that count.
        mismatches: of these.
        left_out: sounds without any pair that counts.
    """

    pairs: int
    mismatches: int
    left_out: int


def draw_pairs(
    settings: MmaSettings, seed: int, positions: Sequence[int], samples: Sequence[SampleMetadata], purpose: str = "mma"
) -> Pairs:
    """Pairs for samples at global positions (Eq. 3: match ~ U{0, 1}).

    Each draw is keyed by its position; a partner comes from the position's own group. A sound that can have no partner
    is left out, also as a match: shown in matches only, it would tilt the balance.
    """
    partners = draw_partners(settings, seed, positions, samples, purpose)
    sounds = list(range(len(samples)))
    counted = [partner is not None for partner in partners]
    others = [index if partner is None else partner for index, partner in enumerate(partners)]
    if settings.pairs == "both":
        shown, sounds, counted = sounds + others, sounds * 2, counted * 2
    else:
        coins = [keyed_generator(seed, f"{purpose}-match", position).random() for position in positions]
        shown = [index if coin < 0.5 else others[index] for index, coin in enumerate(coins)]
    matches = [MATCH if frame == sound else NO_MATCH for frame, sound in zip(shown, sounds, strict=True)]
    return Pairs(torch.tensor(shown), torch.tensor(sounds), torch.tensor(matches), torch.tensor(counted))


def draw_partners(
    settings: MmaSettings, seed: int, positions: Sequence[int], samples: Sequence[SampleMetadata], purpose: str = "mma"
) -> list[int | None]:
    """For each sound the index of a frame of another scene, from its group; none where there is no other, or the rule
    for negatives leaves no choice."""
    groups: dict[int, list[int]] = {}
    for index, position in enumerate(positions):
        groups.setdefault(position // settings.group, []).append(index)
    partners: list[int | None] = []
    for index, (position, sample) in enumerate(zip(positions, samples, strict=True)):
        others = [other for other in groups[position // settings.group] if other != index]
        others = [other for other in others if not same_scene(samples[other], sample)]
        if settings.negatives == "unlike":
            others = [other for other in others if not shows_all(samples[other], sample)]
        draw = int(keyed_generator(seed, purpose, position).integers(max(1, len(others))))
        partners.append(others[draw] if others else None)
    return partners


def same_scene(one: SampleMetadata, other: SampleMetadata) -> bool:
    """Whether two samples are of one video, maybe the very same one, or show the same image: then the frame of either
    may belong to the sound of the other. One video is one id, or one file, of which several parts may be listed."""
    if one.video == other.video:
        return True
    if one.source and one.source == other.source and not is_masked(one.source):  # else what differed may be gone
        return True
    return one.group is not None and one.group == other.group


def shows_all(frame: SampleMetadata, sound: SampleMetadata) -> bool:
    """Whether a sample's frame is known to show everything that sounds in another: nobody could tell such a mismatched
    pair from a matched one."""
    seen = frame.labels if frame.visible is None else frame.visible
    return bool(sound.labels) and set(sound.labels) <= set(seen)


def balanced_accuracy(right: float, right_mismatches: float, pairs: float, mismatches: float) -> float | None:
    """Mean of the accuracy on matches and that on mismatches, which says 0.5 of whoever gives one answer only; None
    without either kind."""
    matches = pairs - mismatches
    if not matches or not mismatches:
        return None
    return ((right - right_mismatches) / matches + right_mismatches / mismatches) / 2


class TaskModel(nn.Module):
    """A G-AVT with the alignment head: a linear layer on the class token with outputs *no match* and *match*."""

    def __init__(self, model: Gavt) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(model.settings.width, 2)

    def forward(self, frames: Tensor, waveform: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Loss (scalar) and right answers [2], among all pairs that count and among the mismatches, for frames
        [B, T, 3, H, W] in 0–1 and waveform [B, C, S]. Each frame and each sound is embedded once, however many pairs it
        is in.

        The loss is the sum of the cross entropy over the pairs that count, divided by all pairs. So a step's gradient
        is the same however it is cut into micro-batches and ranks, of which some may leave out more than others.
        """
        visual, audio = self.model.embed_frames(frames), self.model.embed_sound(waveform)
        tokens, _ = self.model.encoder(self.model.fuse(visual[pairs.frame], audio[pairs.sound]))
        logits = self.logits(tokens)
        losses = F.cross_entropy(logits.float(), pairs.match, reduction="none")
        right = (logits.argmax(1) == pairs.match) & pairs.counted
        return (
            losses.masked_fill(~pairs.counted, 0).sum() / len(pairs),
            torch.stack([right.sum(), (right & (pairs.match == NO_MATCH)).sum()]),
        )

    def logits(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, D] → logits [B, 2]."""
        return self.head(tokens[:, 0])  # type: ignore[no-any-return]  # torch types a module's call as Any

    def match_logit(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, D] → logit of match over no match [B]."""
        logits = self.logits(tokens)
        return logits[:, MATCH] - logits[:, NO_MATCH]
