"""Multi-modal alignment: does this frame belong to this sound? (G-AVT thesis, section 3.2, Eq. 3)"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    """

    frame: Tensor
    sound: Tensor
    match: Tensor

    def to(self, device: torch.device | str) -> "Pairs":
        """The pairs on another device."""
        return Pairs(self.frame.to(device), self.sound.to(device), self.match.to(device))

    def __len__(self) -> int:
        return len(self.match)


def draw_pairs(
    settings: MmaSettings, seed: int, positions: Sequence[int], samples: Sequence[SampleMetadata], purpose: str = "mma"
) -> Pairs:
    """Pairs for samples at global positions (Eq. 3: match ~ U{0, 1}).

    Each draw is keyed by its position; a partner comes from the position's own group. A sound that can have no partner
    is shown with its own frame.
    """
    partners = draw_partners(settings, seed, positions, samples, purpose)
    sounds = list(range(len(samples)))
    if settings.pairs == "both":
        shown = sounds + [index if partner is None else partner for index, partner in enumerate(partners)]
        sounds = sounds * 2
    else:
        coins = [keyed_generator(seed, f"{purpose}-match", position).random() for position in positions]
        shown = [
            index if coin < 0.5 or partner is None else partner
            for index, (coin, partner) in enumerate(zip(coins, partners, strict=True))
        ]
    matches = [MATCH if frame == sound else NO_MATCH for frame, sound in zip(shown, sounds, strict=True)]
    return Pairs(torch.tensor(shown), torch.tensor(sounds), torch.tensor(matches))


def draw_partners(
    settings: MmaSettings, seed: int, positions: Sequence[int], samples: Sequence[SampleMetadata], purpose: str = "mma"
) -> list[int | None]:
    """For each sound the index of a frame that isn't its own, from its group; none where the rule for negatives leaves
    no choice."""
    groups: dict[int, list[int]] = {}
    for index, position in enumerate(positions):
        groups.setdefault(position // settings.group, []).append(index)
    partners: list[int | None] = []
    for index, (position, sample) in enumerate(zip(positions, samples, strict=True)):
        others = [other for other in groups[position // settings.group] if other != index]
        if settings.negatives == "unlike":
            others = [other for other in others if not shows_all(samples[other], sample)]
        draw = int(keyed_generator(seed, purpose, position).integers(max(1, len(others))))
        partners.append(others[draw] if others else None)
    return partners


def shows_all(frame: SampleMetadata, sound: SampleMetadata) -> bool:
    """Whether a sample's frame is known to show everything that sounds in another: nobody could tell such a mismatched
    pair from a matched one."""
    seen = frame.labels if frame.visible is None else frame.visible
    return bool(sound.labels) and set(sound.labels) <= set(seen)


class TaskModel(nn.Module):
    """A G-AVT with the alignment head: a linear layer on the class token with outputs *no match* and *match*."""

    def __init__(self, model: Gavt) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(model.settings.width, 2)

    def forward(self, frames: Tensor, waveform: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Cross entropy (scalar) and the number of right answers over the pairs, for frames [B, T, 3, H, W] in 0–1 and
        waveform [B, C, S]. Each frame and each sound is embedded once, however many pairs it is in."""
        visual, audio = self.model.embed_frames(frames), self.model.embed_sound(waveform)
        tokens, _ = self.model.encoder(self.model.fuse(visual[pairs.frame], audio[pairs.sound]))
        logits = self.logits(tokens)
        loss = F.cross_entropy(logits.float(), pairs.match)
        return loss, (logits.argmax(1) == pairs.match).sum()

    def logits(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, D] → logits [B, 2]."""
        return self.head(tokens[:, 0])  # type: ignore[no-any-return]  # torch types a module's call as Any

    def match_logit(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, D] → logit of match over no match [B]."""
        logits = self.logits(tokens)
        return logits[:, MATCH] - logits[:, NO_MATCH]
