"""Multi-modal alignment: does this frame belong to this sound? (G-AVT thesis, section 3.2, Eq. 3)"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.contract import (
    AUDIO,
    VISUAL,
    AudioVisualModel,
    EmbedOnce,
    Encoded,
    Inputs,
    Tokens,
    of_streams,
    rows_of,
)
from pipeline.samples.metadata import SampleMetadata
from pipeline.stream.randomness import keyed_generator
from pipeline.tasks.ceiling import CeilingCounts, Pair
from pipeline.tasks.contract import Metadata, Purpose, ReadMetadata
from pipeline.tasks.gathered import gathered
from pipeline.tasks.mma_data import MismatchWatch, check_validation
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.tasks.negatives import drawn_among, may_be_shown, nearest_among
from pipeline.tasks.pairing import draw_partners, scene_numbers
from pipeline.tasks.task import Targets, Task

NO_MATCH, MATCH = 0, 1


class MultiModalAlignment(Task):
    """The alignment head: a linear layer on the class token, or on the means of other streams, with outputs *no match*
    and *match*. All streams but the sound's are of the frame.

    Its targets say which frame is shown with which sound:

        frame    [P] index in the batch of each pair's frame
        sound    [P] index of its sound
        match    [P] 1 where they belong together
        counted  [P] False where the pair is no part of the loss: its sound can have no partner. It is computed all the
                 same, so that every micro-batch has the same shape
        known    [6] samples without any pair that counts, and `CeilingCounts` of the pairs that do (zeros in training)

    Where frames are chosen on the device, in training with `negatives` of `ranks` and `hard`, these stand beside:

        mismatched  [P] whether a pair is meant to be a mismatch
        partner     [B] index in the batch of a frame of another scene in each sound's group
        partnered   [B] whether there is one
        position    [B] of each sample, counted from the start of the run
        scene       [B, 3] see `pairing.scene_numbers`
        draw        [B] in 0–1, by which one of the whole batch is drawn
        hard        [B] whether its mismatch is to be hard, once the model is warm
    """

    settings: MmaSettings
    scores = True
    mines: bool = True
    """Whether the model is warm enough for hard negatives."""

    def __init__(self, settings: MmaSettings, model: AudioVisualModel) -> None:
        super().__init__()
        self.settings = settings
        self.head = nn.Linear(sum(model.widths[name] for name in settings.streams), 2)

    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        return draw_pairs(self.settings, seed, positions, metadata, purpose)

    def begin_step(self, step: int) -> None:
        self.mines = step >= self.settings.hard.warmup_steps

    def forward(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        """Each frame and each sound is embedded once, however many pairs it is in.

        The loss is the sum of the cross entropy over the pairs that count, divided by all pairs. So a step's gradient
        is the same however it is cut into micro-batches and ranks, of which some may leave out more than others.
        """
        embedded = of_streams(model.embed(inputs))
        frames = {name: tokens for name, tokens in embedded.items() if name != AUDIO}
        if "scene" in targets:
            frames, targets = self._choose(frames, targets)
        pairs = rows_of(frames, dict.fromkeys(frames, targets["frame"]))
        pairs |= rows_of({AUDIO: embedded[AUDIO]}, {AUDIO: targets["sound"]})
        match, counted = targets["match"], targets["counted"]
        logits = self.logits(model.fuse(pairs))
        losses = F.cross_entropy(logits.float(), match, reduction="none")
        loss = losses.masked_fill(~counted, 0).sum() / len(match)
        right, mismatch = (logits.argmax(1) == match) & counted, match == NO_MATCH
        counts = (counted.sum(), right.sum(), (right & mismatch).sum(), (counted & mismatch).sum())
        summed = loss.detach().double() * len(match)
        return loss, torch.cat([torch.stack([summed, *(count.double() for count in counts)]), targets["known"]])

    def _choose(self, own: Tokens, targets: Targets) -> tuple[Tokens, Targets]:
        """The frames' tokens that may be shown, and the targets with those that are, as indices of these.

        Args:
            own: tokens [B, N, D] of all that is seen on this process.
        """
        frames, first, position, scene = own, 0, targets["position"], targets["scene"]
        if self.settings.whole_batch:
            frames = {name: gathered(tokens)[0] for name, tokens in own.items()}
            (position, first), (scene, _) = gathered(position), gathered(scene)
        allowed = may_be_shown(targets["scene"], scene)
        groups = torch.div(position, self.settings.group, rounding_mode="floor")
        together = groups[:, None] == groups
        if not self.settings.whole_batch:
            allowed &= together
        partner, found = first + targets["partner"], targets["partnered"]
        if self.settings.negatives == "ranks":
            partner, found = drawn_among(allowed, position, targets["draw"]), allowed.any(1)
        elif self.mines:
            pooled = frames[VISUAL].detach().mean(1, dtype=torch.float32)
            shares = together / together.sum(1, keepdim=True)
            means = pooled.mean(0, keepdim=True) if self.settings.whole_batch else shares @ pooled
            nearest, there = nearest_among(pooled, means, allowed, first, self.settings.hard.skip_above)
            hard = targets["hard"] & there
            partner, found = torch.where(hard, nearest, partner), found | hard
        sound = targets["sound"]
        counted, own_frame = found[sound], first + sound
        mismatch = targets["mismatched"] & counted
        left_out = (~found).sum()[None].to(targets["known"])
        chosen = {
            "frame": torch.where(mismatch, partner[sound], own_frame),
            "match": torch.where(mismatch, NO_MATCH, MATCH),
            "counted": counted,
            "known": torch.cat([left_out, targets["known"][1:]]),
        }
        return frames, targets | chosen

    def logits(self, encoded: Encoded) -> Tensor:
        """[B, 2]"""
        seen = torch.cat([encoded.tokens[name].mean(1) for name in self.settings.streams], 1)
        return self.head(seen)  # type: ignore[no-any-return]  # torch types a module's call as Any

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
    own = list(range(len(samples)))
    partnered = [partner is not None for partner in partners]
    others = [index if partner is None else partner for index, partner in enumerate(partners)]
    if settings.pairs == "both":
        sounds, mismatched = own * 2, [False] * len(own) + [True] * len(own)
    else:
        coins = [keyed_generator(seed, f"{drawn_for}-match", position).random() for position in positions]
        sounds, mismatched = own, [coin >= 0.5 for coin in coins]
    shown = [others[sound] if other else sound for sound, other in zip(sounds, mismatched, strict=True)]
    counted = [partnered[sound] for sound in sounds]
    matches = [MATCH if frame == sound else NO_MATCH for frame, sound in zip(shown, sounds, strict=True)]
    seen = [0.0] * len(CeilingCounts.names())
    if purpose != "train":  # which would take longer than all the rest
        chosen = zip(shown, sounds, matches, counted, strict=True)
        pairs = [
            Pair(samples[frame], samples[sound], match == MATCH) for frame, sound, match, counts in chosen if counts
        ]
        seen = list(CeilingCounts.of(pairs).values())
    found = {
        "frame": torch.tensor(shown),
        "sound": torch.tensor(sounds),
        "match": torch.tensor(matches),
        "counted": torch.tensor(counted),
        "known": torch.tensor([partnered.count(False), *seen], dtype=torch.float64),
    }
    if settings.negatives in ("any", "unlike") or purpose == "validation":
        return found
    draws = [keyed_generator(seed, "mma-negative", position).random(2) for position in positions]
    return found | {
        "mismatched": torch.tensor(mismatched),
        "partner": torch.tensor(others),
        "partnered": torch.tensor(partnered),
        "position": torch.tensor(list(positions)),
        "scene": torch.tensor([scene_numbers(sample) for sample in samples]),
        "draw": torch.tensor([float(draw[0]) for draw in draws], dtype=torch.float64),
        "hard": torch.tensor([bool(draw[1] < settings.hard.share) for draw in draws]),
    }
