"""Audio-visual events: what is seen and heard in each segment of a video, or that nothing is (papers 002 and 004)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import SettingsError
from pipeline.models.contract import AUDIO, AudioVisualModel, EmbedOnce, Encoded, Inputs, Tokens, rows_of
from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.classification import Classification
from pipeline.tasks.classification_settings import LabelSettings
from pipeline.tasks.contract import Metadata, Purpose
from pipeline.tasks.events_settings import APART, EventsSettings
from pipeline.tasks.over_time import by_time, in_segments
from pipeline.tasks.pairing import draw_one, others_in_groups
from pipeline.tasks.task import Targets


class Events(Classification):
    """A head on the segments of the model's streams.

    Learnt from videos, its targets have T = 1 and the classes without background, and say besides, where mismatched
    pairs are asked for,

        other    [B] index of the video whose sound each is shown with
        unlike   [B] False where there is none with labels that shares none

    Where what is seen and what is heard are told apart, they say of each

        seen, heard              int8 [B, T, C] 1 for the classes that are
        seen_known, heard_known  [B] False of samples that don't say it
    """

    settings: EventsSettings

    def __init__(self, settings: EventsSettings, model: AudioVisualModel) -> None:
        super().__init__(settings, model)
        self.apart = nn.ModuleDict()
        if settings.apart_weight:
            self._apart_grids = {name: model.grids[stream] for name, stream in APART.items()}
            for name, stream in APART.items():
                self.apart[name] = nn.Linear(model.widths[stream], len(settings.classes))

    @property
    def _asked(self) -> LabelSettings:
        return self.settings if self.settings.supervision == "segments" else self.settings.of_video

    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        targets = super().targets(seed, positions, metadata, purpose)
        if self.apart:
            targets |= self._apart_targets(targets["truth"][..., :-1] if purpose == "example" else None, metadata)
        if not self.settings.mismatched:
            return targets
        drawn = []
        in_groups = others_in_groups(self.settings.group, positions, metadata)
        for position, sample, others in zip(positions, metadata, in_groups, strict=True):
            labels = [(other, set(metadata[other].labels)) for other in others]
            unlike = [other for other, its in labels if its and not its & set(sample.labels)]  # no label: may be alike
            drawn.append(draw_one(seed, f"{purpose}-mismatched", position, unlike))
        return targets | {
            "other": torch.tensor([index if other is None else other for index, other in enumerate(drawn)]),
            "unlike": torch.tensor([other is not None for other in drawn]),
        }

    def forward(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        """As of classification; of videos the loss of their own sounds, and with its weight that of others'."""
        settings = self.settings
        if settings.supervision == "segments":
            return super().forward(model, inputs, targets)
        embedded = model.embed(inputs)
        likely = self._likely(model.fuse(embedded))
        pooled = self._pooled(likely)
        losses = self._told_losses(pooled, targets["truth"][:, 0].float())
        if settings.mismatched:
            apart = self._pooled(self._likely(model.fuse(rows_of(embedded, {AUDIO: targets["other"]}))))
            of_others = self._told_losses(apart, torch.zeros_like(apart))
            losses = losses + settings.mismatched * of_others.masked_fill(~targets["unlike"], 0)
        surest = likely.argmax(-1, keepdim=True)
        said = torch.zeros_like(likely, dtype=torch.bool).scatter(-1, surest, True).any(1, keepdim=True)
        return self._summed(losses, pooled.argmax(-1)[:, None, None], said[..., : pooled.shape[-1]], targets)

    def tell_apart(self, embedded: Tokens) -> dict[str, Tensor]:
        """Logits [B, T, C] of what is `seen`, somewhere in the frame of each segment, and of what is `heard`."""
        found = {}
        for name, head in self.apart.items():
            places = head(by_time(embedded[APART[name]], self._apart_grids[name]))
            found[name] = in_segments(places.amax(2), self.settings.segments)
        return found

    def _losses_beside(self, embedded: Tokens, targets: Targets) -> Tensor | float:
        losses = super()._losses_beside(embedded, targets)
        for name, logits in self.tell_apart(embedded).items():
            own = F.binary_cross_entropy_with_logits(logits.float(), targets[name].float(), reduction="none")
            of_known = own.mean((1, 2)).masked_fill(~targets[f"{name}_known"], 0)
            losses = losses + self.settings.apart_weight * of_known
        return losses

    def _apart_targets(self, made_up: Tensor | None, metadata: Metadata) -> Targets:
        found = {}
        for name in APART:
            marks = [apart_labels(sample, self.settings)[name] for sample in metadata]
            nothing = [[0] * len(self.settings.classes)] * self.settings.segments
            known = torch.tensor([one or nothing for one in marks], dtype=torch.int8)
            found[name] = known if made_up is None else made_up
            found[f"{name}_known"] = torch.tensor([made_up is not None or one is not None for one in marks])
        return found

    def _likely(self, encoded: Encoded) -> Tensor:
        """[B, T, C] the probability of each answer."""
        return self.logits(encoded).float().softmax(-1)

    def _pooled(self, likely: Tensor) -> Tensor:
        """[B, C] of all classes but the background that of a whole video."""
        classes = likely[..., :-1]
        return classes.mean(1) if self.settings.pool == "mean" else classes.amax(1)

    def _told_losses(self, pooled: Tensor, there: Tensor) -> Tensor:
        """[B]: the mean over classes."""
        smooth, weights = self.settings.label_smoothing, pooled.new_tensor(self._weights[:-1])
        losses = F.binary_cross_entropy(pooled, there * (1 - smooth) + smooth / 2, reduction="none")
        return (losses * weights).mean(-1)


def apart_labels(sample: SampleMetadata, settings: EventsSettings) -> dict[str, list[list[int]] | None]:
    """Of what is seen and what is heard in each segment of a sample, 1 for the classes that are, [T, C]; None where it
    doesn't say. What is of no class, such as noise, is left out.

    Raises:
        SettingsError: it says so of another number of segments.
    """
    found: dict[str, list[list[int]] | None] = {}
    for name, said in (("seen", sample.segment_visible), ("heard", sample.segment_heard)):
        if said is not None and len(said) != settings.segments:
            raise SettingsError(
                f"{sample.source}: task.segments: expected what is {name} in {settings.segments} segments, found that "
                f"in {len(said)}"
            )
        found[name] = said if said is None else [[int(one in names) for one in settings.classes] for names in said]
    return found
