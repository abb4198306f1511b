"""Multi-modal alignment: does this frame belong to this sound? (G-AVT thesis, section 3.2, Eq. 3)"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel, EmbedOnce, Encoded, Inputs, rows_of
from pipeline.samples.metadata import SampleMetadata
from pipeline.stream.randomness import keyed_generator
from pipeline.tasks.ceiling import CeilingCounts, Pair
from pipeline.tasks.contract import Metadata, Purpose, ReadMetadata
from pipeline.tasks.mma_data import MismatchWatch, check_validation
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.tasks.pairing import draw_partners
from pipeline.tasks.task import Targets, Task

NO_MATCH, MATCH = 0, 1


class MultiModalAlignment(Task):
    """The alignment head: a linear layer on the class token with outputs *no match* and *match*.

    Its targets say which frame is shown with which sound:

        frame    [P] index in the batch of each pair's frame
        sound    [P] index of its sound
        match    [P] 1 where they belong together
        counted  [P] False where the pair is no part of the loss: its sound can have no partner. It is computed all the
                 same, so that every micro-batch has the same shape
        known    [6] samples without any pair that counts, and `CeilingCounts` of the pairs that do (zeros in training)
    """

    settings: MmaSettings
    scores = True

    def __init__(self, settings: MmaSettings, model: AudioVisualModel) -> None:
        super().__init__()
        self.settings = settings
        self.head = nn.Linear(model.widths["class"], 2)

    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        return draw_pairs(self.settings, seed, positions, metadata, purpose)

    def forward(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        """Each frame and each sound is embedded once, however many pairs it is in.

        The loss is the sum of the cross entropy over the pairs that count, divided by all pairs. So a step's gradient
        is the same however it is cut into micro-batches and ranks, of which some may leave out more than others.
        """
        match, counted = targets["match"], targets["counted"]
        pairs = rows_of(model.embed(inputs), {VISUAL: targets["frame"], AUDIO: targets["sound"]})
        logits = self.logits(model.fuse(pairs))
        losses = F.cross_entropy(logits.float(), match, reduction="none")
        loss = losses.masked_fill(~counted, 0).sum() / len(match)
        right, mismatch = (logits.argmax(1) == match) & counted, match == NO_MATCH
        counts = (counted.sum(), right.sum(), (right & mismatch).sum(), (counted & mismatch).sum())
        summed = loss.detach().double() * len(match)
        return loss, torch.cat([torch.stack([summed, *(count.double() for count in counts)]), targets["known"]])

    def logits(self, encoded: Encoded) -> Tensor:
        """[B, 2]"""
        return self.head(encoded.tokens["class"][:, 0])  # type: ignore[no-any-return]  # torch types a module's call as Any

    def score(self, encoded: Encoded) -> Tensor:
        """[B] logit of match over no match."""
        logits = self.logits(encoded)
        return logits[:, MATCH] - logits[:, NO_MATCH]

    def data_watch(self) -> MismatchWatch:
        """Ends a run that is shown no mismatch."""
        return MismatchWatch(self.settings)

    def check_validation(self, seed: int, samples: int, whole: bool, read: ReadMetadata) -> None:
        """Refuses a validation set without matches or without mismatches."""

        def numbers(positions: range) -> tuple[int, int]:
            found = draw_pairs(self.settings, seed, positions, read(positions), "validation")
            counted = found["counted"]
            return int(counted.sum()), int((counted & (found["match"] == NO_MATCH)).sum())

        check_validation(self.settings, samples, whole, numbers)


def draw_pairs(
    settings: MmaSettings, seed: int, positions: Sequence[int], samples: Sequence[SampleMetadata], purpose: Purpose
) -> Targets:
    """Targets (see `MultiModalAlignment`) for samples at global positions (Eq. 3: match ~ U{0, 1}).

    Each draw is keyed by its position; a partner comes from the position's own group. A sound that can have no partner
    is left out, also as a match: shown in matches only, it would tilt the balance.
    """
    drawn_for = "mma" if purpose == "train" else purpose
    partners = draw_partners(settings, seed, positions, samples, drawn_for)
    sounds = list(range(len(samples)))
    counted = [partner is not None for partner in partners]
    left_out = counted.count(False)
    others = [index if partner is None else partner for index, partner in enumerate(partners)]
    if settings.pairs == "both":
        shown, sounds, counted = sounds + others, sounds * 2, counted * 2
    else:
        coins = [keyed_generator(seed, f"{drawn_for}-match", position).random() for position in positions]
        shown = [index if coin < 0.5 else others[index] for index, coin in enumerate(coins)]
    matches = [MATCH if frame == sound else NO_MATCH for frame, sound in zip(shown, sounds, strict=True)]
    seen = [0.0] * len(CeilingCounts.names())
    if purpose != "train":  # which would take longer than all the rest
        chosen = zip(shown, sounds, matches, counted, strict=True)
        pairs = [
            Pair(samples[frame], samples[sound], match == MATCH) for frame, sound, match, counts in chosen if counts
        ]
        seen = list(CeilingCounts.of(pairs).values())
    return {
        "frame": torch.tensor(shown),
        "sound": torch.tensor(sounds),
        "match": torch.tensor(matches),
        "counted": torch.tensor(counted),
        "known": torch.tensor([left_out, *seen], dtype=torch.float64),
    }
