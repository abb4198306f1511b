"""Synchronisation: how far is the sound moved against the frames? (papers 002 and 003; Synchformer, Iashin et al. 2024)

frames ──► features of each moment ──┬──► segments ──► contrast with the segments of the clip's own sound,
sound  ──► features of each moment ──┘                 and with those of the group's
moved sound ──► class token, or features of each moment ──► offset
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import SettingsError
from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel, EmbedOnce, Encoded, Inputs, TokenGrid, Tokens
from pipeline.stream.randomness import keyed_generator
from pipeline.tasks.contract import Metadata, Purpose
from pipeline.tasks.over_time import by_time, in_segments, stretch_of
from pipeline.tasks.pairing import contrasted
from pipeline.tasks.synchronisation_settings import SynchronisationSettings
from pipeline.tasks.task import Targets, Task

_MOVED = "moved"


class Synchronisation(Task):
    """Heads that tell an offset, and that contrast segments.

    Its targets say how the sound is moved, and what is contrasted with what:

        offset_s  float64 [B] the sound is that of so many seconds later
        answer    [B] the class of that offset; of `in_sync` the middle one, or 0 where it is moved
        contrast  [B, B] True of each sample with itself, and with those of its group that are of other scenes
    """

    settings: SynchronisationSettings

    def __init__(self, settings: SynchronisationSettings, model: AudioVisualModel) -> None:
        """
        Raises:
            SettingsError: moments are compared, and nobody knows when the model's tokens are seen and heard.
        """
        super().__init__()
        self.settings, self.scores = settings, bool(settings.offset_weight) and settings.head == "class"
        self._moments = {}
        self._compares = settings.contrasts or settings.head == "lags"
        for stream in (VISUAL, AUDIO) if self._compares else ():
            if len(model.moments_s.get(stream, ())) < 2:
                raise SettingsError(f"task.kind = synchronisation: expected a model whose {stream} tokens lie in time")
            self._moments[stream] = tuple(model.moments_s[stream])
        if self._compares:
            self.features = nn.ModuleDict(
                {
                    stream: MomentFeatures(model.grids[stream], model.widths[stream], settings)
                    for stream in (VISUAL, AUDIO)
                }
            )
        if settings.offset_weight and settings.head == "class":
            self.head: nn.Module = nn.Linear(model.widths["class"], settings.classes)
        elif settings.offset_weight:
            self.head = Lags(settings, self._moments[VISUAL], self._moments[AUDIO])

    @property
    def matches(self) -> bool:
        """Whether it says if frames and sound are in sync."""
        return bool(self.settings.offset_weight)

    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        drawn_for = "synchronisation" if purpose == "train" else purpose
        drawn = [draw_offset(self.settings, seed, position, drawn_for) for position in positions]
        return {
            "offset_s": torch.tensor([offset_s for offset_s, _ in drawn], dtype=torch.float64),
            "answer": torch.tensor([answer for _, answer in drawn]),
            "contrast": torch.tensor(contrasted(self.settings.group, positions, metadata)),
        }

    def further(self, inputs: Inputs, targets: Targets) -> dict[str, Inputs]:
        """The moved sounds."""
        if not self.settings.offset_weight:
            return {}
        return {_MOVED: {"sound": self.moved(inputs, targets["offset_s"])}}

    def moved(self, inputs: Inputs, offset_s: Tensor) -> Tensor:
        """The sounds [B, C, S] of so many seconds [B] later, to within a sample."""
        wide, samples = inputs[self.settings.wide_sound], inputs["sound"].shape[-1]
        margin = (wide.shape[-1] - samples) // 2
        first = (margin + (offset_s * (margin / self.settings.margin_s)).round().long()).clamp(0, 2 * margin)
        places = first[:, None] + torch.arange(samples, device=wide.device)
        return wide.gather(2, places[:, None].expand(-1, wide.shape[1], -1))

    def forward(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        settings = self.settings
        own, moved = self._embed(model, inputs, targets)
        zero = torch.zeros((), device=targets["answer"].device)
        loss, right, near, segments, clips = zero, zero, zero, zero, zero
        seen = self._moment_features(VISUAL, own) if self._compares else zero  # once for both
        if settings.offset_weight:
            logits = self._offset_logits(model, own | moved, seen)
            told = [self._offset_loss(logits, targets["answer"])]
            if settings.both:
                in_sync_too = torch.full_like(targets["answer"], settings.classes // 2)
                told.append(self._offset_loss(self._offset_logits(model, own, seen), in_sync_too))
            found, right, near = (torch.stack(one).to(logits.dtype).mean(0) for one in zip(*told, strict=True))
            loss = loss + settings.offset_weight * found
        if settings.contrasts:
            parts = (self._segments(VISUAL, seen), self._segments(AUDIO, self._moment_features(AUDIO, own)))
            wholes = (parts[0].mean(1, True), parts[1].mean(1, True))
        if settings.segment_weight:
            found, segments = self._contrast(*parts, targets["contrast"])
            loss = loss + settings.segment_weight * found
        if settings.clip_weight:
            found, clips = self._contrast(*wholes, targets["contrast"])
            loss = loss + settings.clip_weight * found
        samples = torch.full_like(loss, len(targets["answer"]), dtype=torch.float64)
        sums = [loss.detach().double() * samples, samples, right, near, segments * samples, clips * samples]
        return loss, torch.stack([one.double() for one in sums])

    def _embed(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tokens, Tokens]:
        """Tokens of the micro-batch, and those of its moved sounds. Its own sounds are embedded only where somebody
        looks at them: the contrast, who shows clips in sync as well, or another task."""
        if self.settings.contrasts or self.settings.both or isinstance(model, EmbedOnce):
            once = self.embed_once(model, inputs, targets)
            return once.embed(inputs), once.embed(once.further[_MOVED]) if self.settings.offset_weight else {}
        return model.embed(inputs | self.further(inputs, targets)[_MOVED]), {}

    def offset_logits(self, model: AudioVisualModel, embedded: Tokens) -> Tensor:
        """[B, classes] in float32, from tokens as the model embeds them."""
        seen = self._moment_features(VISUAL, embedded) if self.settings.head == "lags" else embedded[VISUAL]
        return self._offset_logits(model, embedded, seen)

    def _offset_logits(self, model: AudioVisualModel | EmbedOnce, embedded: Tokens, seen: Tensor) -> Tensor:
        if self.settings.head == "class":
            return self._of_token(model.fuse(embedded))
        return self._by_place(embedded, seen).logsumexp(1)

    def _by_place(self, embedded: Tokens, seen: Tensor) -> Tensor:
        """[B, places, classes] how well each place, or the mean of them, goes with the sound by each offset."""
        both = F.normalize(seen, dim=-1), self._heard(embedded)
        return self.head(*both)  # type: ignore[no-any-return]  # torch types a module's call as Any

    def _heard(self, embedded: Tokens) -> Tensor:
        """[B, S, width] of length 1."""
        return F.normalize(self._moment_features(AUDIO, embedded)[:, 0], dim=-1)

    def in_sync_by_place(self, embedded: Tokens) -> Tensor:
        """[B, places] how much of what is seen at each place goes with the sound as it is, of `head: lags` with
        `places: best`: each moment counts by the length of its features. Without that a place at the edge of what moves
        goes with the sound as well as its middle."""
        by_place = self.head(self._moment_features(VISUAL, embedded), self._heard(embedded))
        return by_place[..., self.settings.classes // 2]  # type: ignore[no-any-return]  # as above

    def _of_token(self, encoded: Encoded) -> Tensor:
        return self.head(encoded.tokens["class"][:, 0]).float()  # type: ignore[no-any-return]  # as above

    def segments(self, embedded: Tokens) -> tuple[Tensor, Tensor]:
        """Features [B, segments, width] in float32 and of length 1, of what is seen and of what is heard in each."""
        seen, heard = (self._segments(one, self._moment_features(one, embedded)) for one in (VISUAL, AUDIO))
        return seen, heard

    def _segments(self, stream: str, features: Tensor) -> Tensor:
        whole, moments = stretch_of(self._moments[VISUAL]), stretch_of(self._moments[stream])
        return F.normalize(in_segments(features.mean(1), self.settings.segments, moments, whole), dim=-1)

    def _moment_features(self, stream: str, embedded: Tokens) -> Tensor:
        """[B, places, T, width] in float32."""
        return self.features[stream](embedded[stream]).float()  # type: ignore[no-any-return]  # as above

    def score(self, encoded: Encoded) -> Tensor:
        """[B] log-odds of being in sync."""
        return in_sync(self._of_token(encoded))

    def match(self, model: AudioVisualModel, embedded: Tokens) -> Tensor:
        """[B] log-odds of being in sync."""
        return in_sync(self.offset_logits(model, embedded))

    def _offset_loss(self, logits: Tensor, answer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The mean loss, and how many are right and near."""
        if self.settings.answer == "offset":
            far = (logits.argmax(1) - answer).abs()
            return F.cross_entropy(logits, answer), (far == 0).sum(), (far <= 1).sum()
        sure, truth = in_sync(logits), answer == self.settings.classes // 2
        right = ((sure > 0) == truth).sum()
        return F.binary_cross_entropy_with_logits(sure, truth.to(sure.dtype)), right, right

    def _contrast(self, seen: Tensor, heard: Tensor, contrast: Tensor) -> tuple[Tensor, Tensor]:
        """InfoNCE of [B, n, width], both ways, and the share of those that found their own first."""
        alike = likeness(seen, heard, contrast) / self.settings.temperature
        own = torch.arange(len(alike), device=alike.device)
        loss = (F.cross_entropy(alike, own) + F.cross_entropy(alike.T, own)) / 2
        found = ((alike.argmax(1) == own).double().mean() + (alike.argmax(0) == own).double().mean()) / 2
        return loss, found


def likeness(seen: Tensor, heard: Tensor, contrast: Tensor) -> Tensor:
    """Cosines [B·n, B·n] of the n parts [B, n, width] of what is seen and of what is heard; −∞ where two samples are
    not contrasted [B, B]."""
    parts = seen.shape[1]
    left_out = ~contrast.repeat_interleave(parts, 0).repeat_interleave(parts, 1)
    seen, heard = (F.normalize(one.flatten(0, 1), dim=-1) for one in (seen, heard))
    return (seen @ heard.T).masked_fill(left_out, -torch.inf)


def in_sync(logits: Tensor) -> Tensor:
    """[B] log-odds of the middle one of classes [B, K], where it is as likely beforehand as all others together: of a
    head that makes no difference between classes they are 0."""
    middle = logits.shape[1] // 2
    others = torch.cat([logits[:, :middle], logits[:, middle + 1 :]], 1)
    return logits[:, middle] - others.logsumexp(1) + math.log(others.shape[1])


def draw_offset(settings: SynchronisationSettings, seed: int, position: int, drawn_for: str) -> tuple[float, int]:
    """How much later (s) the sound at a position is, and the class that says so; a pure function of its arguments."""
    generator = keyed_generator(seed, f"{drawn_for}-offset", position)
    jitter_s, middle = float(generator.uniform(-settings.jitter_s, settings.jitter_s)), settings.classes // 2
    if settings.answer == "offset":
        number = int(generator.integers(settings.classes))
        return settings.offsets_s[number] + jitter_s, number
    if not settings.both and generator.random() < 0.5:
        return jitter_s, middle
    least_s = settings.step_s if settings.least_s is None else settings.least_s
    return float(generator.uniform(least_s, settings.range_s)) * (1 if generator.random() < 0.5 else -1), 0


class MomentFeatures(nn.Module):
    """What each moment of a stream is known by: tokens [B, N, D] → [B, P, T, width] of each place, or of their mean. A
    convolution over time at each place sees what changes there. Nothing is added to features: what all moments have in
    common tells no offset, and when it grows in the first steps all are alike."""

    def __init__(self, grid: TokenGrid, tokens: int, settings: SynchronisationSettings) -> None:
        super().__init__()
        self._grid, self._over_places = grid, settings.places
        context = settings.context
        self.over_time = nn.Conv1d(tokens, settings.width, context, padding=context // 2, bias=False)
        self.out = nn.Linear(settings.width, settings.width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        at_places = by_time(tokens, self._grid).permute(0, 2, 3, 1)  # [B, P, D, T]
        seen = F.gelu(self.over_time(at_places.flatten(0, 1)))
        of_samples = seen.view(*at_places.shape[:2], *seen.shape[1:])
        if self._over_places == "mean":
            of_samples = of_samples.mean(1, True)
        return self.out(of_samples.transpose(2, 3))  # type: ignore[no-any-return]  # torch types a module's call as Any


class Lags(nn.Module):
    """How alike what is seen is to what is heard by each offset beside it: features of moments [B, P, T, W] and
    [B, S, W], of length 1 → logits [B, P, classes], the mean cosine over all moments that have a counterpart, over a
    learnt temperature."""

    def __init__(self, settings: SynchronisationSettings, seen_s: Sequence[float], heard_s: Sequence[float]) -> None:
        super().__init__()
        self._settings, self._seen_s, self._heard_s = settings, seen_s, heard_s
        self.log_scale = nn.Parameter(torch.empty(1))

    def reset_parameters(self) -> None:
        """Begin with the temperature of the contrast."""
        nn.init.constant_(self.log_scale, -math.log(self._settings.temperature))

    def forward(self, seen: Tensor, heard: Tensor) -> Tensor:
        alike = torch.einsum("bptw,bsw->bpts", seen, heard)
        return torch.einsum("kts,bpts->bpk", self._counterparts(alike), alike) * self.log_scale.float().exp()

    def _counterparts(self, like: Tensor) -> Tensor:
        """[classes, T, S] how much each pair of moments counts for an offset: what is seen at t is heard at t − offset,
        between two moments of the sound; rows of a class add up to 1."""
        offsets, seen, heard = (
            torch.tensor(one, dtype=torch.float32, device=like.device)
            for one in (self._settings.offsets_s, self._seen_s, self._heard_s)
        )
        beside = seen[None, :, None] - offsets[:, None, None] - heard
        between_s = (self._heard_s[-1] - self._heard_s[0]) / (len(self._heard_s) - 1)
        near = (1 - beside.abs() / max(between_s, self._settings.step_s)).clamp(min=0)
        return near / near.sum((1, 2), keepdim=True)
