"""Audio-visual triplets of Gram matrices: localisation without any label (AVTGML, section 3.7 of paper 002)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models.contract import AUDIO, AudioVisualModel, EmbedOnce, Inputs, rows_of
from pipeline.models.segment_model import AUDIO_SEGMENTS, VISUAL_SEGMENTS
from pipeline.tasks.contract import Metadata, Purpose
from pipeline.tasks.gram_triplet_settings import GramTripletSettings
from pipeline.tasks.pairing import draw_one, others_in_groups
from pipeline.tasks.task import Targets, Task


class GramTriplet(Task):
    """It has no head. Its targets are

    other    [B] index of the video whose sound each is compared with besides its own
    counted  [B] False where there is none of another scene
    """

    settings: GramTripletSettings

    def __init__(self, settings: GramTripletSettings, model: AudioVisualModel) -> None:
        super().__init__()
        self.settings = settings

    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        in_groups = others_in_groups(self.settings.group, positions, metadata)
        drawn = [
            draw_one(seed, f"{purpose}-triplet", position, others)
            for position, others in zip(positions, in_groups, strict=True)
        ]
        return {
            "other": torch.tensor([index if other is None else other for index, other in enumerate(drawn)]),
            "counted": torch.tensor([other is not None for other in drawn]),
        }

    def forward(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        """Eq. 16, in which what the paper calls distances are similarities, divided by all samples."""
        settings, counted, other_rows = self.settings, targets["counted"], targets["other"]
        embedded = model.embed(inputs)
        tokens = model.fuse(embedded).tokens
        seen, heard = (gram(tokens[name], settings.centred) for name in (VISUAL_SEGMENTS, AUDIO_SEGMENTS))
        beside = seen
        if settings.seen_beside == "each":
            apart = model.fuse(rows_of(embedded, {AUDIO: other_rows})).tokens
            beside = gram(apart[VISUAL_SEGMENTS], settings.centred)
        own, other = (seen * heard).sum((1, 2)), (beside * heard[other_rows]).sum((1, 2))  # Eq. 15
        loss = F.relu(other - own + settings.margin).masked_fill(~counted, 0).sum() / len(counted)
        summed = loss.detach().double() * len(counted)
        sums = [(one.detach().double() * counted).sum() for one in (own, other)]
        counts = [((own > other) & counted).sum(), (~counted).sum()]
        return loss, torch.stack([summed, counted.sum().double(), *sums, *(count.double() for count in counts)])


def gram(segments: Tensor, centred: bool) -> Tensor:
    """Inner products of each two segments [B, T, D] as matrices [B, T, T] of norm 1 (Eq. 13 and 14)."""
    vectors = segments.float()
    if centred:
        vectors = vectors - vectors.mean(1, keepdim=True)
    return F.normalize((vectors @ vectors.transpose(1, 2)).flatten(1), dim=1).view(
        len(vectors), *vectors.shape[1:2] * 2
    )
