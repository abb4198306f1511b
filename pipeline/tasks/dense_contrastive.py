"""Dense contrastive learning: which places of a frame are like a sound? (Hamilton et al. 2024, DenseAV)"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import SettingsError
from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel, EmbedOnce, Inputs, Tokens
from pipeline.tasks.compared import (
    Compared,
    Samples,
    compare_all,
    compare_groups,
    draw_partners_in_groups,
    within_groups,
)
from pipeline.tasks.contract import Metadata, Purpose
from pipeline.tasks.dense_contrastive_settings import DenseContrastiveSettings
from pipeline.tasks.pairing import scene_numbers
from pipeline.tasks.similarity_volume import (
    audio_directions,
    entanglement,
    heard_times,
    in_silence,
    negative_part,
    pool,
    total_variation,
    visual_directions,
    volume,
)
from pipeline.tasks.task import Targets, Task


class MatchLogit(nn.Module):
    """A similarity s as the logit of a match, t · (s − s₀), whose scale t and threshold s₀ are learned; without a
    threshold t · s."""

    def __init__(self, scale: float, threshold: float | None) -> None:
        super().__init__()
        self.first_scale, self.first_threshold = scale, threshold
        self.log_scale = nn.Parameter(torch.empty(1))
        self.threshold = None if threshold is None else nn.Parameter(torch.empty(1))

    def reset_parameters(self) -> None:
        """Begin as the settings say."""
        nn.init.constant_(self.log_scale, math.log(self.first_scale))
        if self.threshold is not None and self.first_threshold is not None:
            nn.init.constant_(self.threshold, self.first_threshold)

    def forward(self, similar: Tensor) -> Tensor:
        above = similar if self.threshold is None else similar - self.threshold.float()
        return above * self.log_scale.float().exp()

    def fallen(self) -> Tensor:
        """max(log t₀ − log t, 0)²"""
        return (math.log(self.first_scale) - self.log_scale.float()).clamp_min(0).square().sum()


class DenseContrastive(Task):
    """Its targets are

        scene    [B, 3] numbers of the sample's video, source and image: samples that share one are no negatives
        partner  [B] number within its group of the sound that is added to each in mixtures

    Whether a pair matches is learned beside the contrast, from similarities whose gradient ends there: own pairs and
    others of the group count alike, however many others there are.

    Attributes:
        contrast: similarities as the logits of the contrast.
        answer: similarities as logits of a match.
        mixed: similarities with mixtures as logits of a match; None without mixtures.
    """

    settings: DenseContrastiveSettings

    def __init__(self, settings: DenseContrastiveSettings, model: AudioVisualModel) -> None:
        """
        Raises:
            SettingsError: tokens of different widths are to be compared as they are, or heads don't divide them.
        """
        super().__init__()
        self.settings = settings
        widths = {name: model.widths[name] for name in (VISUAL, AUDIO)}
        self.project: nn.ModuleDict | None = None
        if settings.projection is not None:
            self.project = nn.ModuleDict({name: nn.Linear(own, settings.projection) for name, own in widths.items()})
            widths = dict.fromkeys(widths, settings.projection)
        if widths[VISUAL] != widths[AUDIO]:
            found = f"{widths[VISUAL]} and {widths[AUDIO]}"
            raise SettingsError(f"task.projection: expected a width for tokens of different ones, {found}, found none")
        if widths[VISUAL] % settings.heads:
            width = widths[VISUAL]
            raise SettingsError(f"task.heads: expected a number that divides the width {width}, found {settings.heads}")
        self.contrast = MatchLogit(settings.scale, settings.threshold if settings.form == "sigmoid" else None)
        self.answer = MatchLogit(settings.scale, settings.threshold)
        self.mixed = MatchLogit(settings.scale, settings.threshold) if settings.mixtures else None
        self._audio_grid = model.grids[AUDIO]

    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        group = self.settings.group
        drawn_for = "mixture" if purpose == "train" else f"mixture-{purpose}"
        return {
            "scene": torch.tensor([scene_numbers(sample) for sample in metadata], dtype=torch.int64),
            "partner": torch.tensor(draw_partners_in_groups(group, seed, positions, metadata, drawn_for)),
        }

    def further(self, inputs: Inputs, targets: Targets) -> dict[str, Inputs]:
        """Each sound with another of its group."""
        if self.mixed is None:
            return {}
        sound, group = inputs["sound"], self.settings.group
        partner, index = targets["partner"], torch.arange(len(sound), device=sound.device)
        return {"mixtures": {"sound": sound + sound[index // group * group + partner]}}

    def forward(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        """The contrast of each frame with the sounds that it is compared with, what regularises it, and the cross
        entropy of the answers."""
        settings = self.settings
        once = self.embed_once(model, inputs, targets)
        seen, heard = self.directions(once.embed(inputs))
        times = heard_times(inputs["sound"], heard.shape[1])
        samples = Samples(seen, heard, times, targets["scene"], targets["partner"])
        compared = self._compared(samples)
        own, counted = compared.own(), compared.counted(settings.near)
        similar = volume(compared.seen, compared.heard)
        rows = self._pool(similar, compared.times)
        if settings.form == "sigmoid":
            loss = _sigmoid_loss(self.contrast(rows), own, counted)
        else:
            columns = self._of_own_sounds(rows, compared)
            both = [_nce_loss(self.contrast(one), own, counted) for one in (rows, columns)]
            loss = torch.stack(both).mean()
        loss = loss + self._regularisers(similar, compared)
        if self.mixed is not None:
            loss = loss + settings.mixtures * self._with_mixtures(once, samples)
        among, own, counted = (within_groups(pairs, compared.mine, settings.group) for pairs in (rows, own, counted))
        answers, others = self.answer(among.detach()), counted & ~own
        loss = loss + _balanced_loss(answers, own, others)
        known = among.masked_fill(~counted, -torch.inf)
        found = [(own & (known == known.amax(axis, keepdim=True))).sum() for axis in (2, 1)]
        told = [(own & (answers > 0)).sum(), (others & (answers <= 0)).sum(), others.sum()]
        count = own.sum().double()
        sums = [loss.detach().double() * count, count, *(count.double() for count in (*found, *told))]
        return loss, torch.stack(sums)

    def match(self, model: AudioVisualModel, embedded: Tokens) -> Tensor:
        """[B], above 0 where the frame has places that are like the sound."""
        seen, heard = self.directions(embedded)
        answers: Tensor = self.answer(self.similarities(seen[:, None], heard[:, None]))
        return answers[:, 0, 0]

    matches = True

    def similarity(self, embedded: Tokens) -> Tensor:
        """[B, N]: how like each visual token is to its own sound: of the heads the highest, the mean over times."""
        seen, heard = self.directions(embedded)
        return volume(seen[:, None], heard[:, None])[:, 0, 0].amax(1).mean(1)

    def similarities(self, seen: Tensor, heard: Tensor) -> Tensor:
        """[G, b, c]: how like frames are to sounds, from directions [G, b, N, K, d] and [G, c, T, K, d], with all that
        is heard."""
        everything = heard.new_ones(heard.shape[:3], dtype=torch.bool)
        return self._pool(volume(seen, heard), everything)

    def directions(self, embedded: Tokens) -> tuple[Tensor, Tensor]:
        """[B, N, K, d] of what is seen and [B, T, K, d] of what is heard."""
        seen = embedded[VISUAL] if self.project is None else self.project[VISUAL](embedded[VISUAL])
        return visual_directions(seen, self.settings.heads), self._audio(embedded)

    def _audio(self, embedded: Tokens) -> Tensor:
        """[B, T, K, d] of what is heard."""
        heard = embedded[AUDIO] if self.project is None else self.project[AUDIO](embedded[AUDIO])
        return audio_directions(heard, self._audio_grid, self.settings.heads)

    def _compared(self, samples: Samples) -> Compared:
        """What is compared: each group by itself, or in training all of the step."""
        settings = self.settings
        if settings.negatives == "batch" and self.training:
            return compare_all(samples, settings.group, settings.form == "infonce" or settings.near is not None)
        return compare_groups(samples, settings.group)

    def _pool(self, similar: Tensor, times: Tensor) -> Tensor:
        return pool(similar, times, self.settings.pool, self.settings.gamma)

    def _of_own_sounds(self, rows: Tensor, compared: Compared) -> Tensor:
        """[G, b, c]: how like each of the b sounds is to all c frames."""
        if rows.shape[1] == rows.shape[2]:
            return rows.transpose(1, 2)
        assert compared.frames is not None
        similar = volume(compared.frames, compared.heard[:, compared.mine])
        return self._pool(similar, compared.times[:, compared.mine]).transpose(1, 2)

    def _regularisers(self, similar: Tensor, compared: Compared) -> Tensor:
        """The weighted sum of those that are on."""
        weights, found = self.settings.regularisers, similar.new_zeros(())
        if weights.nonnegative:
            found = found + weights.nonnegative * negative_part(similar)
        if weights.silence:
            found = found + weights.silence * in_silence(similar, ~compared.times)
        if weights.total_variation or weights.disentangle:
            own = similar[:, :, compared.mine].diagonal(dim1=1, dim2=2).movedim(-1, 1).flatten(0, 1)
            found = found + weights.total_variation * total_variation(own) + weights.disentangle * entanglement(own)
        if weights.calibration:
            found = found + weights.calibration * self.contrast.fallen()
        return found

    def _with_mixtures(self, once: EmbedOnce, samples: Samples) -> Tensor:
        """The contrast of frames with mixtures, each of which belongs to the two frames of its sounds."""
        assert self.mixed is not None
        mixtures = once.further["mixtures"]
        heard = self._audio(once.embed(mixtures))
        times = heard_times(mixtures["sound"], heard.shape[1])
        compared = self._compared(samples._replace(heard=heard, times=times))
        own, counted = compared.own(), compared.counted(None)
        own = (own | compared.of_partners(own)) & compared.there[:, None]
        counted = own | (counted & compared.of_partners(counted))
        rows = self._pool(volume(compared.seen, compared.heard), compared.times)
        return _sigmoid_loss(self.mixed(rows), own, counted)


def _sigmoid_loss(logits: Tensor, own: Tensor, counted: Tensor) -> Tensor:
    """Of logits [G, b, c] the cross entropy of each pair by itself, added up over the sounds of a frame, averaged over
    frames."""
    losses = F.softplus(torch.where(own, -logits, logits))
    return (losses * counted).sum() / own.any(2).sum()


def _nce_loss(logits: Tensor, own: Tensor, counted: Tensor) -> Tensor:
    """Of logits [G, b, c] the cross entropy of which one is a row's own."""
    logs = logits.masked_fill(~counted, torch.finfo(logits.dtype).min).log_softmax(2)
    return -(logs * own).sum() / own.sum()


def _balanced_loss(logits: Tensor, own: Tensor, others: Tensor) -> Tensor:
    """Of logits [n, g, g] the cross entropy of match or no match, own pairs as weighty as all others together. What is
    left out counts as nothing, so that a step is the same however it is cut."""
    losses = F.softplus(torch.where(own, -logits, logits))
    return ((losses * own).sum() + (losses * others).sum() / (logits.shape[2] - 1)) / (2 * own.sum())
