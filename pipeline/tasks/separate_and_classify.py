"""Mix-and-separate whose streams tell the classes of what is sought besides: TriBERT's own objective (paper 001)."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.contract import AUDIO, CLASS_MAPS, VISUAL, AudioVisualModel, Encoded, Tokens
from pipeline.stream.randomness import keyed_generator
from pipeline.tasks.classification import check_some_labels, labels_of
from pipeline.tasks.contract import Metadata, Purpose, ReadMetadata
from pipeline.tasks.mix_and_separate import MixAndSeparate
from pipeline.tasks.separate_and_classify_settings import STREAMS, SeparateAndClassifySettings
from pipeline.tasks.task import Targets
from pipeline.tasks.tells_classes import TellsClasses

_LEAST = 1e-6
"""No probability lies nearer to 0 or 1, where its loss has no end."""


class SeparateAndClassify(MixAndSeparate, TellsClasses):
    """Its targets say besides, of each sample of the batch:

    truth     int8 [B, C] 1 for the classes that are there
    labelled  [B] False of samples without labels
    hidden/S  [B, N] which tokens of stream S are zeros
    """

    settings: SeparateAndClassifySettings

    def __init__(self, settings: SeparateAndClassifySettings, model: AudioVisualModel) -> None:
        super().__init__(settings, model)
        self.maps_weight = settings.maps_weight
        self._grids = {name: model.grids[name] for name in STREAMS if name in model.grids}
        self.classes = nn.ModuleDict(
            {name: ClassHead(model.widths[name], len(settings.classes), weakly=name != AUDIO) for name in self._grids}
        )

    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        """
        Raises:
            SettingsError: a label that is none of the classes.
        """
        settings, classes = self.settings, len(self.settings.classes)
        known: list[list[int] | None]
        if purpose == "example":  # noise, of any class
            known = [[int(number == position % classes) for number in range(classes)] for position in positions]
        else:
            known = [None if (told := labels_of(sample, settings.told)) is None else told[0] for sample in metadata]
        share = 0.0 if purpose == "validation" else settings.hidden
        hidden = {}
        for name, grid in self._grids.items():
            if name != AUDIO:
                draws = [keyed_generator(seed, f"hidden-{name}", place).random(grid.count) for place in positions]
                chosen = np.stack(draws) < share
                chosen[:, : grid.summaries] = False
                hidden[f"hidden/{name}"] = torch.from_numpy(chosen)
        return {
            **super().targets(seed, positions, metadata, purpose),
            "truth": torch.tensor([labels or [0] * classes for labels in known], dtype=torch.int8),
            "labelled": torch.tensor([labels is not None for labels in known]),
            **hidden,
        }

    def hide(self, seen: Tokens, targets: Targets) -> Tokens:
        hidden = {name: targets[f"hidden/{name}"][targets["sample"]] for name in self._grids if name != AUDIO}
        return seen | {name: seen[name].masked_fill(chosen[..., None], 0) for name, chosen in hidden.items()}

    def losses_beside(self, seen: Tokens, fused: Tokens, targets: Targets) -> tuple[Tensor, list[Tensor]]:
        """Binary cross entropy of the classes of each sound's video, added up over streams, and of its class maps."""
        sample = targets["sample"]
        counted = targets["counted"] & targets["labelled"][sample]
        truth, count = targets["truth"][sample].float(), counted.sum().double()
        losses, told, right = (
            truth.new_zeros(len(truth)),
            0 * count.repeat(len(STREAMS)),
            0 * count.repeat(len(STREAMS)),
        )
        for name in self.classes:
            sure = self._sure(name, fused).clamp(_LEAST, 1 - _LEAST)
            losses = losses - (truth * sure.log() + (1 - truth) * (1 - sure).log()).mean(1)
            is_right = truth.gather(1, sure.argmax(1, keepdim=True))[:, 0] > 0
            number = STREAMS.index(name)
            told[number], right[number] = count, (is_right & counted).sum()
        losses = self.settings.class_weight * losses
        if self.maps_weight:
            named = F.binary_cross_entropy_with_logits(seen[CLASS_MAPS].float().mean(1), truth, reduction="none")
            losses = losses + self.maps_weight * named.mean(1)
        losses = losses.masked_fill(~counted, 0)
        return losses, [losses.detach().sum().double(), *told, *right]

    @property
    def classes_told(self) -> Sequence[str]:
        """All labels."""
        return self.settings.classes

    def heard(self, encoded: Encoded) -> Tensor:
        """[B, C] by the audio stream's head."""
        return self._sure(AUDIO, encoded.tokens)

    def seen(self, encoded: Encoded) -> Tensor:
        """[B, C] logarithms, by the visual stream's head."""
        return self._sure(VISUAL, encoded.tokens).clamp(min=_LEAST).log()

    def _sure(self, stream: str, fused: Tokens) -> Tensor:
        """[P, C] how sure each class is, of a stream's tokens."""
        tokens = fused[stream]
        by_frame = tokens.view(len(tokens), -1, self._grids[stream].shape[-1], tokens.shape[2])
        return self.classes[stream](by_frame)  # type: ignore[no-any-return]  # torch types a module's call as Any

    def check_validation(self, seed: int, samples: int, whole: bool, read: ReadMetadata) -> None:
        """Refuses a validation set without any mixture, or without any label."""
        super().check_validation(seed, samples, whole, read)
        check_some_labels(samples, read, self.settings.told)


class ClassHead(nn.Module):
    """How sure each class is, of tokens that lie by frame and object, also of the frame that stands for all.

    Logits of each object are means over the frames. Weakly supervised, one layer tells what each object is, by a
    softmax over classes, and another which object tells it, by a softmax over objects; a class is as sure as the sum of
    their products (Eq. 3–4; Bilen and Vedaldi). Else it is a softmax over classes of the mean over objects.
    """

    def __init__(self, width: int, classes: int, weakly: bool) -> None:
        super().__init__()
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, 1e-12))
        self.decode = nn.Linear(width, classes)
        self.recognise = nn.Linear(classes, classes) if weakly else None
        self.detect = nn.Linear(classes, classes) if weakly else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [P, frames, objects, D] → float32 [P, C] in 0–1."""
        objects = self.decode(self.transform(tokens)).mean(1)
        if self.recognise is None or self.detect is None:
            return objects.mean(1).float().softmax(1)  # type: ignore[no-any-return]  # torch types a module's call as Any
        recognised, detected = self.recognise(objects).float().softmax(2), self.detect(objects).float().softmax(1)
        return (recognised * detected).sum(1)  # type: ignore[no-any-return]  # likewise
