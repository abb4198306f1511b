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
    """Which frame each sound is shown with.

    Attributes:
        frame: [B] index in the batch of the frame that goes with sound i.
        match: [B] 1 where it is its own.
    """

    frame: Tensor
    match: Tensor

    def to(self, device: torch.device | str) -> "Pairs":
        """The pairs on another device."""
        return Pairs(self.frame.to(device), self.match.to(device))


def draw_pairs(
    settings: MmaSettings, seed: int, first_position: int, samples: Sequence[SampleMetadata], purpose: str = "mma"
) -> Pairs:
    """Pairs for samples at consecutive global positions from `first_position` on (Eq. 3: match ~ U{0, 1}).

    Each draw is keyed by its position; a partner comes from the position's own group.
    """
    frames, matches = [], []
    for index, sample in enumerate(samples):
        generator = keyed_generator(seed, purpose, first_position + index)
        start = index - (first_position + index) % settings.group
        stop = start + settings.group
        others = [i for i in range(max(start, 0), min(stop, len(samples))) if i != index]
        if settings.negatives == "unlike":
            others = [i for i in others if not shows_all(samples[i], sample)]
        match = generator.random() < 0.5 or not others
        frames.append(index if match else others[int(generator.integers(len(others)))])
        matches.append(MATCH if match else NO_MATCH)
    return Pairs(torch.tensor(frames), torch.tensor(matches))


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
        """Cross entropy (scalar) and the number of right answers, for frames [B, T, 3, H, W] in 0–1 and waveform
        [B, C, S], of which sound i is shown with frame `pairs.frame[i]`."""
        logits = self.logits(self.model.encode(frames[pairs.frame], waveform).tokens)
        loss = F.cross_entropy(logits.float(), pairs.match)
        return loss, (logits.argmax(1) == pairs.match).sum()

    def logits(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, D] → logits [B, 2]."""
        return self.head(tokens[:, 0])  # type: ignore[no-any-return]  # torch types a module's call as Any

    def match_logit(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, D] → logit of match over no match [B]."""
        logits = self.logits(tokens)
        return logits[:, MATCH] - logits[:, NO_MATCH]
