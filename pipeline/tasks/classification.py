"""Classification: which of given classes is a sample, or each segment of it, of? (papers 001, 002 and 004; probes)"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import RunError, SettingsError
from pipeline.models.contract import CLASS_MAPS, AudioVisualModel, EmbedOnce, Encoded, Inputs, Tokens
from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.classification_settings import ClassificationSettings, LabelSettings
from pipeline.tasks.contract import Metadata, Purpose, ReadMetadata, Totals
from pipeline.tasks.over_time import by_time, in_segments
from pipeline.tasks.task import Targets, Task
from pipeline.tasks.tells_classes import TellsClasses

_JUDGED_AFTER = 256
"""Samples of a start that are shown before it is said that many have no label."""
_LOOKED_AT = 2048
"""Samples of the validation set that are read at most to find one with a label."""
_MANY = 0.5
"""Share of samples without a label that is told."""


class Classification(Task, TellsClasses):
    """A head on the means of some of the model's streams.

    Its targets say what is there:

        truth    int8 [B, T, C] 1 for the classes that are there, in T segments or the one whole
        counted  [B] False of samples without labels: they are no part of the loss
    """

    settings: LabelSettings
    maps_weight: float
    """Of the loss that gives class maps their names; 0 leaves them without."""

    def __init__(self, settings: LabelSettings, model: AudioVisualModel) -> None:
        super().__init__()
        self.settings = settings
        self.maps_weight = settings.maps_weight if isinstance(settings, ClassificationSettings) else 0.0
        self._grids = {name: model.grids[name] for name in settings.streams}
        width, answers = sum(model.widths[name] for name in settings.streams), len(settings.answers)
        self.head: nn.Module
        if settings.hidden is None:
            self.head = nn.Linear(width, answers)
        else:
            self.head = nn.Sequential(nn.Linear(width, settings.hidden), nn.GELU(), nn.Linear(settings.hidden, answers))
        self._weights = [settings.class_weights.get(name, 1.0) for name in settings.answers]

    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        """
        Raises:
            SettingsError: a label that is none of the classes, or several where there is to be one.
        """
        asked, classes = self._asked, len(self._asked.answers)
        if purpose == "example":  # noise, of any class
            known: list[list[list[int]] | None] = [
                [[int(number == position % classes) for number in range(classes)]] * (asked.segments or 1)
                for position in positions
            ]
        else:
            known = [labels_of(sample, asked) for sample in metadata]
        nothing = [[0] * classes] * (asked.segments or 1)
        return {
            "truth": torch.tensor([nothing if labels is None else labels for labels in known], dtype=torch.int8),
            "counted": torch.tensor([labels is not None for labels in known]),
        }

    @property
    def _asked(self) -> LabelSettings:
        """The labels that are learnt."""
        return self.settings

    def forward(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        """The loss is the sum over the samples that count, divided by all: a step's gradient is the same however it is
        cut into micro-batches and ranks, of which some may leave out more than others."""
        embedded = model.embed(inputs)
        logits, truth = self.logits(model.fuse(embedded)).float(), targets["truth"].float()
        surest = logits.argmax(-1, keepdim=True)
        said = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, surest, True)
        losses = self._losses(logits, truth).mean(1) + self._losses_beside(embedded, targets)
        return self._summed(losses, surest, logits > 0 if self.settings.tells_several else said, targets)

    def _losses_beside(self, embedded: Tokens, targets: Targets) -> Tensor | float:
        """[B] that are added, of what each stream says by itself."""
        if not self.maps_weight:
            return 0.0
        of_maps = embedded[CLASS_MAPS].float().mean(1, True)
        return self.maps_weight * self._losses(of_maps, targets["truth"].float())[:, 0]

    def _summed(self, losses: Tensor, surest: Tensor, said: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Loss and sums.

        Args:
            losses: [B] of each sample.
            surest: [B, T, 1] the class of each answer that is most likely.
            said: [B, T, C] the classes that are said to be there.
        """
        counted, is_there = targets["counted"], targets["truth"].bool()
        loss = losses.masked_fill(~counted, 0).sum() / len(counted)
        counts = counted[:, None, None].expand(is_there.shape)
        right = is_there.gather(-1, surest) & counts[..., :1]
        numbers = (
            counted.sum(),
            counts[..., 0].sum(),
            right.sum(),
            (~counted).sum(),
            (~is_there & counts).sum(),
            (~is_there & ~said & counts).sum(),
        )
        summed = loss.detach().double() * len(counted)
        of_classes = ((is_there & counts).sum((0, 1)), (is_there & said & counts).sum((0, 1)))
        return loss, torch.cat([torch.stack([summed, *(number.double() for number in numbers)]), *of_classes])

    def logits(self, encoded: Encoded) -> Tensor:
        """[B, T, C] of each segment, or of the one whole."""
        seen = [self._means(encoded.tokens[name], name) for name in self.settings.streams]
        return self.head(torch.cat(seen, -1))  # type: ignore[no-any-return]  # torch types a module's call as Any

    @property
    def classes_told(self) -> Sequence[str]:
        """All that can be answered."""
        return self.settings.answers

    def heard(self, encoded: Encoded) -> Tensor:
        """[B, C] how likely each class is to be there."""
        logits = self.seen(encoded)
        return logits.softmax(1) if self.settings.labels == "one" else logits.sigmoid()

    def seen(self, encoded: Encoded) -> Tensor:
        """[B, C] logits, which all streams have a part in; of segments their means."""
        return self.logits(encoded).float().mean(1)

    def _means(self, tokens: Tensor, stream: str) -> Tensor:
        if self.settings.segments is None:
            return tokens.mean(1, keepdim=True)
        return in_segments(by_time(tokens, self._grids[stream]).mean(2), self.settings.segments)

    def _losses(self, logits: Tensor, there: Tensor) -> Tensor:
        """[B, T]"""
        settings, weights = self.settings, logits.new_tensor(self._weights)
        smooth = settings.label_smoothing
        if settings.labels == "one":
            classes_last = (logits.flatten(0, 1), there.flatten(0, 1))
            losses = F.cross_entropy(*classes_last, weight=weights, reduction="none", label_smoothing=smooth)
            return losses.view(logits.shape[:2])
        smoothed = there * (1 - smooth) + smooth / 2
        return (F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none") * weights).mean(-1)

    def data_watch(self) -> "LabelWatch":
        """Ends a run that is shown no label."""
        return LabelWatch()

    def check_validation(self, seed: int, samples: int, whole: bool, read: ReadMetadata) -> None:
        """Refuses a validation set without labels."""
        check_some_labels(samples, read, self._asked)


def check_some_labels(samples: int, read: ReadMetadata, settings: LabelSettings) -> None:
    """Look for a label at the beginning of a validation set of so many samples.

    Raises:
        SettingsError: there is none.
    """
    looked_at = min(samples, _LOOKED_AT)
    for start in range(0, looked_at, 8):
        found = read(range(start, min(start + 8, looked_at)))
        if any(labels_of(sample, settings) is not None for sample in found):
            return
    raise SettingsError(
        f"data.validation: expected samples with {_kind(settings)} of task.classes, found none among its first "
        f"{looked_at}"
    )


def labels_of(sample: SampleMetadata, settings: LabelSettings) -> list[list[int]] | None:
    """Of a sample, or of each of its segments, 1 for the classes that are there, [T, C]; None of one without labels.

    Raises:
        SettingsError: a label that is none of the classes, several where there is to be one, or other segments.
    """
    segments = settings.segments
    listed = [sample.labels] if segments is None else sample.segment_labels
    if listed is None or (segments is None and not sample.labels):
        return None
    try:
        if segments is not None and len(listed) != segments:
            raise ValueError(f"task.segments: expected labels of {segments} segments, found those of {len(listed)}")
        return [_marks(names, settings) for names in listed]
    except _UnknownLabelError as error:
        if settings.unknown == "leave_out":
            return None
        raise SettingsError(f"{sample.source}: {error}") from None
    except ValueError as error:
        raise SettingsError(f"{sample.source}: {error}") from None


def _marks(names: Sequence[str], settings: LabelSettings) -> list[int]:
    marks = [0] * len(settings.answers)
    for name in names:
        if name not in settings.classes:
            raise _UnknownLabelError(
                f"task.classes: expected one of the {len(settings.classes)} classes as {_kind(settings)}, found "
                f"{name!r}; task.unknown=leave_out leaves such samples out"
            )
        marks[settings.classes.index(name)] = 1
    if settings.labels == "one" and sum(marks) > 1:
        each = "sample" if settings.segments is None else "segment"
        raise ValueError(f"task.labels: expected one label a {each}, found {', '.join(names)}; set task.labels=several")
    if settings.has_background and not any(marks):
        marks[-1] = 1
    return marks


class _UnknownLabelError(ValueError):
    """A label that is none of the classes."""


def _kind(settings: LabelSettings) -> str:
    return "labels" if settings.segments is None else "segment_labels"


class LabelWatch:
    """Counts what training is shown from its start on; every process counts the same."""

    def __init__(self) -> None:
        self._samples, self._left_out = 0, 0.0

    def add(self, totals: Totals, samples: int, whole: bool) -> str | None:
        """As of `DataWatch`.

        Raises:
            RunError: no sample has a label.
        """
        judged = self._samples >= _JUDGED_AFTER
        self._samples += samples
        self._left_out += totals["left_out"]
        if judged or not (whole or self._samples >= _JUDGED_AFTER):
            return None
        if self._left_out == self._samples:
            raise RunError(
                f"data.train: expected samples with labels of task.classes, found none among the first {self._samples}"
            )
        if self._left_out <= _MANY * self._samples:
            return None
        return f"{self._left_out:.0f} of the first {self._samples} samples have no label and are left out"
