"""Mix-and-separate: what of a mixture belongs to a frame? (G-AVT thesis, section 3.2, Eq. 4–6; Sound of Pixels)"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import RunError, SettingsError
from pipeline.features.inputs import SOUND
from pipeline.features.masks import Stft, energy_by_bin, ideal_binary_mask, ideal_ratio_mask
from pipeline.features.settings import FeatureSettings
from pipeline.features.si_sdr import si_sdr
from pipeline.features.spectrogram import LogFrequencySpectrogram
from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel, EmbedOnce, Inputs, Tokens
from pipeline.models.norms import norm_layer
from pipeline.models.repeatable import resampled
from pipeline.stream.randomness import keyed_generator
from pipeline.tasks.attention_unet import AttentionUnet, StreamPool
from pipeline.tasks.contract import Metadata, Purpose, ReadMetadata, Totals
from pipeline.tasks.mask_decoder import MaskDecoder
from pipeline.tasks.mix_and_separate_settings import MixAndSeparateSettings
from pipeline.tasks.mixing import draw_mixtures
from pipeline.tasks.task import Targets, Task

MIXTURES = "mixtures"
_PLACES_AT_ONCE = 8
"""Masks a sample that are made together."""
_MOST_KEPT = 20.0
"""By which the shares of energy that places keep are multiplied before the softmax over them."""
_LOUDEST_DB = 60.0
"""No sound gains more or less than this: of two that are silent, any mask gains anything."""
_JUDGED_AFTER = 256
"""Samples of a start by which it is known whether there are mixtures."""


class MixAndSeparate(Task):
    """Its targets say what is mixed with what; sounds are mixed on the device, and each mixture is taken apart into all
    of its sounds, P in all:

        members  [M, 1 + added] indices in the batch of the sounds of each mixture
        sample   [P] index of the sound that is sought, and of its frame
        mixture  [P] the mixture that it is sought in
        counted  [P] False where it is no part of the loss. It is computed all the same, so that every micro-batch has
                 the same shape
        place    [P] in 0–1: by which the place that should keep nothing is drawn

    A mask is made in the log-frequency plane from the mixture's spectrogram and its audio tokens. For the heads `class`
    and `audio` the tokens have seen the frame. For the head `places` they have not, and channels of the mixture are
    weighted by each visual token: what tells places apart is theirs alone. For the head `streams` what all streams
    made of each other meets the mixture in the middle of a U-Net.

    Attributes:
        plane: sounds as magnitudes in the plane of the mask.
    """

    settings: MixAndSeparateSettings

    def __init__(self, settings: MixAndSeparateSettings, model: AudioVisualModel) -> None:
        """
        Raises:
            SettingsError: the model does not hear log-frequency spectrograms, its tokens don't lie as the head needs
                them, or `attention` is to compare tokens of different widths.
        """
        super().__init__()
        self.settings = settings
        features, grid = _heard_by(model, settings.head), model.grids[AUDIO]
        if settings.pool == "attention" and settings.head == "places" and model.widths[AUDIO] != model.widths[VISUAL]:
            found = f"{model.widths[VISUAL]} and {model.widths[AUDIO]}"
            raise SettingsError(f"task.pool: expected mean for tokens of different widths, {found}, found attention")
        self._grid, self._stft = grid.shape, Stft.of(features)
        self.bins = settings.bins or features.frequency_bins
        self.hears = self.bins == features.frequency_bins
        self.unheard = settings.head != "places" or settings.pool == "mean"
        self.plane = LogFrequencySpectrogram(features.model_copy(update={"frequency_bins": self.bins}))
        places, self.pool, self.decoder, self.condition = settings.head == "places", None, nn.Module(), None
        weighs = places or (settings.head == "streams" and settings.fusion == "components")
        channels, condition = settings.components if weighs else 1, model.widths[VISUAL]
        if settings.head == "streams":
            condition = settings.widths[-1]
            self.pool = StreamPool(model.widths, model.grids, settings.widths[-1], settings.dropout, settings.look)
            self.decoder = AttentionUnet(settings.widths, channels, settings.norm, settings.fusion)
        else:
            width = model.widths["class" if settings.head == "class" else AUDIO]
            self.decoder = MaskDecoder(settings.widths, width, channels, settings.norm)
        if weighs:
            self.condition = _Condition(condition, settings)

    pool: StreamPool | None
    condition: "_Condition | None"

    @property
    def head(self) -> str:
        """What masks are made from."""
        return self.settings.head

    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        settings, drawn_for = self.settings, "mix" if purpose == "train" else purpose
        mixtures = draw_mixtures(seed, positions, metadata, settings.group, settings.added, drawn_for)
        members = torch.tensor([one.members for one in mixtures])
        draws = [
            float(keyed_generator(seed, f"{drawn_for}-elsewhere", positions[member]).random())
            for one in mixtures
            for member in one.members
        ]
        return {
            "members": members,
            "sample": members.flatten(),
            "mixture": torch.arange(len(mixtures)).repeat_interleave(1 + settings.added),
            "counted": torch.tensor([counted for one in mixtures for counted in one.counted]),
            "place": torch.tensor(draws, dtype=torch.float32),
        }

    def further(self, inputs: Inputs, targets: Targets) -> dict[str, Inputs]:
        """The mixtures [M, C, S] (Eq. 4)."""
        members = targets["members"]
        sounds = inputs[SOUND][members.flatten()]
        return {MIXTURES: {SOUND: sounds.view(*members.shape, *sounds.shape[1:]).sum(1)}}

    def forward(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        """The loss is the sum over the sounds that count, divided by all: a step's gradient is the same however it is
        cut into micro-batches and ranks, of which some may leave out more than others."""
        once = self.embed_once(model, inputs, targets)
        sample, of, counted = targets["sample"], targets["mixture"], targets["counted"]
        own, mixed = once.embed(inputs), once.embed(once.further[MIXTURES])
        sounds = (inputs, once.further[MIXTURES])
        heard, mixtures = ((once.heard(one) if self.hears else self._magnitudes(one[SOUND])) for one in sounds)
        magnitudes = heard[sample]
        seen = {name: tokens[sample] for name, tokens in own.items() if name != AUDIO}
        alone = own.get(AUDIO)
        members = [] if alone is None else [alone[one] for one in targets["members"][of].unbind(1)]
        weights = self._places(seen[VISUAL], None if alone is None else alone[sample], members, targets["place"])
        fused = once.fuse(self.hide(seen, targets) | {AUDIO: mixed[AUDIO][of]}).tokens
        every = self._logits(fused, mixed, of, mixtures, weights).float()
        logits, mixtures = every[:, 0], mixtures[of]
        wanted = (ideal_binary_mask if self.settings.mask == "binary" else ideal_ratio_mask)(magnitudes, mixtures)
        losses = self._losses(logits, wanted, mixtures)
        if every.shape[1] > 1:
            nothing = torch.zeros_like(wanted)
            losses = losses + self.settings.elsewhere * self._losses(every[:, 1], nothing, mixtures)
        beside, further_sums = self.losses_beside(seen, fused, targets)
        loss = (losses.masked_fill(~counted, 0) + beside).sum() / len(sample)
        right, gain = _told(logits.detach().sigmoid(), wanted, magnitudes, mixtures)
        count = counted.sum().double()
        kept = [(one * counted).sum().double() for one in (right, gain)]
        left_out = len(inputs[SOUND]) - count
        return loss, torch.stack([loss.detach().double() * len(sample), count, *kept, left_out, *further_sums])

    def hide(self, seen: Tokens, targets: Targets) -> Tokens:
        """What of the tokens [P, N, D] that are no sound is shown in training."""
        return seen

    def losses_beside(self, seen: Tokens, fused: Tokens, targets: Targets) -> tuple[Tensor, list[Tensor]]:
        """Losses [P] of another kind, of what is seen by itself and of tokens that have seen each other, and sums
        besides."""
        return next(iter(fused.values())).new_zeros(()), []

    @torch.no_grad()
    def frame_masks(self, model: AudioVisualModel, inputs: Inputs) -> Tensor:
        """What of the mixture `sound` belongs to the whole frame: masks [B, F, T] in 0–1, F = `bins`, with no gradient.

        For the head `places` its tokens are pooled as in training; where that looks at the sound that is sought, by how
        much of the mixture each keeps.
        """
        mixed = model.embed({SOUND: inputs[SOUND]})
        seen = model.embed({name: values for name, values in inputs.items() if name != SOUND})
        rows = torch.arange(len(inputs[SOUND]), device=inputs[SOUND].device)
        mixtures, weights = self._magnitudes(inputs[SOUND]), None
        if self.settings.head == "places":
            weights = (
                self._weights(seen[VISUAL], mixed[AUDIO]) if self.settings.pool == "mean" else self._kept(model, inputs)
            )
            weights = weights[:, None]
        fused = model.fuse(seen | {AUDIO: mixed[AUDIO]}).tokens
        return self._logits(fused, mixed, rows, mixtures, weights)[:, 0].float().sigmoid()

    @torch.no_grad()
    def place_masks(self, model: AudioVisualModel, inputs: Inputs, places: Tensor | None = None) -> Tensor:
        """What of the mixture `sound` belongs to places of the frame, for the head `places`.

        Args:
            places: [B, P, N] weights over the N visual tokens, which add to 1: a click is one token or its neighbours,
                a box a mean. None: each token alone.

        Returns:
            Masks [B, P, F, T] in 0–1, F = `bins`, with no gradient.
        """
        return torch.cat(list(self.masks_in_turn(model, inputs, places)), dim=1)

    @torch.no_grad()
    def masks_in_turn(self, model: AudioVisualModel, inputs: Inputs, places: Tensor | None = None) -> Iterator[Tensor]:
        """The same, a few places [B, ≤ 8, F, T] after the other, of one pass through the model."""
        if self.condition is None or self.head != "places":
            raise TypeError(f"expected the head places, found {self.head}")
        embedded = model.embed(inputs)
        visual = model.fuse(embedded).tokens[VISUAL]
        pooled = visual if places is None else torch.einsum("bpn,bnd->bpd", places.to(visual.dtype), visual)
        conditions = self.condition(pooled)
        channels = self._decode(embedded[AUDIO], self._grid, self._magnitudes(inputs[SOUND]))
        for some in torch.split(conditions, _PLACES_AT_ONCE, dim=1):
            yield self.condition.weigh(some, channels).float().sigmoid()

    @torch.no_grad()
    def place_energies(self, model: AudioVisualModel, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """The sound's energy that each visual token keeps [B, N], and all of it [B], of one pass through the model. It
        is that of evenly spaced frequencies, whatever bins the plane has for them."""
        energy = energy_by_bin(self._stft(inputs[SOUND].mean(1)).abs(), self.bins)
        kept = [torch.einsum("bpft,bft->bp", masks.square(), energy) for masks in self.masks_in_turn(model, inputs)]
        return torch.cat(kept, dim=1), energy.sum((1, 2))

    def check_validation(self, seed: int, samples: int, whole: bool, read: ReadMetadata) -> None:
        """Refuses a validation set without any mixture."""
        group, looked_at = self.settings.group, min(samples, _JUDGED_AFTER)
        for start in range(0, looked_at, group):
            positions = range(start, min(start + group, looked_at))
            if self.targets(seed, positions, read(positions), "validation")["counted"].any():
                return
        raise SettingsError(_sentence("data.validation", f"its first {looked_at} samples", group))

    def data_watch(self) -> "MixtureWatch":
        """Ends a run that has no mixtures."""
        return MixtureWatch(self.settings.group)

    def _losses(self, logits: Tensor, wanted: Tensor, mixtures: Tensor) -> Tensor:
        """[P] of masks [P, F, T]."""
        if self.settings.loss == "bce":
            weight = torch.log1p(mixtures).clamp(1e-3, 10)  # Sound of Pixels
            losses = F.binary_cross_entropy_with_logits(logits, wanted, weight, reduction="none")
        else:
            losses = (logits.sigmoid() - wanted).square()
        return losses.mean((1, 2))

    def _magnitudes(self, sound: Tensor) -> Tensor:
        """[B, C, S] → [B, F, T]; channels are averaged, as the model does."""
        return self.plane.magnitude(sound.mean(1, keepdim=True))[:, 0]

    def _logits(self, fused: Tokens, mixed: Tokens, of: Tensor, mixtures: Tensor, weights: Tensor | None) -> Tensor:
        """Of the masks [P, C, F, T].

        Args:
            fused: tokens [P, N, D] of what is seen and of the mixture, which have seen each other.
            mixed: tokens of the mixtures [M, …] by themselves.
            of: [P] the mixture of each.
            mixtures: their magnitudes [M, F, T].
            weights: [P, C, N] of the places for C masks of each; None for the other heads.
        """
        if self.pool is not None:
            seen = self.pool(fused)
            found: Tensor = self.decoder(self._spectrogram(mixtures, seen), seen, of)
            return found if self.condition is None else self.condition.weigh_times(seen, found)
        if self.condition is None or weights is None:
            of_head, grid = (fused["class"], (1, 1)) if self.head == "class" else (fused[AUDIO], self._grid)
            return self._decode(of_head, grid, mixtures[of])
        pooled = torch.einsum("pcn,pnd->pcd", weights.to(fused[VISUAL].dtype), fused[VISUAL])
        channels = self._decode(mixed[AUDIO], self._grid, mixtures)[of]
        return self.condition.weigh(self.condition(pooled), channels)

    @torch.no_grad()
    def _places(self, visual: Tensor, sought: Tensor | None, members: Sequence[Tensor], draw: Tensor) -> Tensor | None:
        """[P, 1 or 2, N] weights of the places that should keep a sound, and of one that should keep nothing of the
        mixture of `members`."""
        if self.settings.head != "places":
            return None
        weights = self._weights(visual, sought)
        if not self.settings.keeps_nothing:
            return weights[:, None]
        alike = torch.stack([self._similar(visual, one).amax(2) for one in members]).amax(0)
        least, most = alike.amin(1, keepdim=True), alike.amax(1, keepdim=True)
        shares = ((most - alike) / (most - least).clamp_min(1e-6)).square().cumsum(1)
        place = torch.searchsorted(shares, draw[:, None] * shares[:, -1:], right=True)
        place = place[:, 0].clamp_max(visual.shape[1] - 1)
        return torch.stack([weights, F.one_hot(place, visual.shape[1]).to(weights.dtype)], dim=1)

    def _weights(self, visual: Tensor, audio: Tensor | None) -> Tensor:
        """[P, N] of places, 1 in all, from tokens as they are embedded."""
        if audio is None or self.settings.pool == "mean":
            return torch.full(visual.shape[:2], 1 / visual.shape[1], device=visual.device)
        similar = self._similar(visual, audio)
        # over places and times together: of a mixture each sound has moments in which it is the louder one
        return similar.flatten(1).softmax(1).view_as(similar).sum(2)

    def _kept(self, model: AudioVisualModel, inputs: Inputs) -> Tensor:
        """[B, N] of places, 1 in all, by the share of the mixture's energy that each keeps."""
        kept, whole = self.place_energies(model, inputs)
        return (_MOST_KEPT * kept / whole[:, None].clamp_min(1e-12)).softmax(1)

    def _similar(self, visual: Tensor, audio: Tensor) -> Tensor:
        """[P, N, t] of places and times, `sharpness` times the cosine."""
        seen, heard = F.normalize(visual.float(), dim=2), F.normalize(audio.float(), dim=2)
        heard = heard.view(len(heard), *self._grid, -1).mean(1)  # over frequencies
        return self.settings.sharpness * torch.einsum("pnd,ptd->pnt", seen, heard)

    def _decode(self, tokens: Tensor, grid: Sequence[int], magnitudes: Tensor) -> Tensor:
        """Channels [B, K, F, T] of tokens [B, f·t, D] and magnitudes [B, F, T]."""
        across = tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)
        decoded: Tensor = self.decoder(self._spectrogram(magnitudes, tokens), across)
        return decoded

    def _spectrogram(self, magnitudes: Tensor, like: Tensor) -> Tensor:
        """[B, 1, F, T] of the type of other numbers."""
        return self.plane.log(magnitudes)[:, None].to(like.dtype)


class _Condition(nn.Module):
    """Weights of a mixture's channels, from what is seen (Sound of Pixels' inner product)."""

    def __init__(self, width: int, settings: MixAndSeparateSettings) -> None:
        super().__init__()
        self.norm = norm_layer(settings.norm)(width)
        self.weights = nn.Linear(width, settings.components)
        self.bias = nn.Parameter(torch.empty(1))

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.bias)

    def forward(self, seen: Tensor) -> Tensor:
        """[B, P, D] → [B, P, K]"""
        normed: Tensor = self.norm(seen.transpose(1, 2)[..., None])
        return self.weights(normed[..., 0].transpose(1, 2))  # type: ignore[no-any-return]  # a module's call

    def weigh(self, weights: Tensor, channels: Tensor) -> Tensor:
        """Logits [B, P, F, T] of weights [B, P, K] and channels [B, K, F, T]."""
        return torch.einsum("bpk,bkft->bpft", weights, channels) + self.bias

    def weigh_times(self, seen: Tensor, channels: Tensor) -> Tensor:
        """Logits [B, 1, F, T] of what is seen [B, D, t], t evenly over the time or 1, and channels [B, K, F, T]."""
        weights = self(seen.transpose(1, 2)).transpose(1, 2)
        weights = resampled(weights, channels.shape[3]) if weights.shape[2] > 1 else weights
        return (weights[:, :, None] * channels).sum(1, keepdim=True) + self.bias


class MixtureWatch:
    """Looks whether the start of training has mixtures; every process sees the same."""

    def __init__(self, group: int) -> None:
        self._group, self._samples, self._sounds = group, 0, 0.0

    def add(self, totals: Totals, samples: int, whole: bool) -> str | None:
        """Count a step.

        Raises:
            RunError: there was no mixture at all.
        """
        judged = self._samples >= _JUDGED_AFTER
        self._samples += samples
        self._sounds += totals["sounds"]
        if not judged and not self._sounds and (whole or self._samples >= _JUDGED_AFTER):
            raise RunError(_sentence("data.train", f"the first {self._samples} samples", self._group))
        return None


def _sentence(setting: str, which: str, group: int) -> str:
    return (
        f"{setting}: expected sounds that can be mixed, found none among {which}: each needs one of another video in "
        f"its group of {group} consecutive positions"
    )


def _heard_by(model: AudioVisualModel, head: str) -> FeatureSettings:
    """How the model hears."""
    spectrogram, grid = getattr(model, "spectrogram", None), model.grids[AUDIO].names
    by_frames = head == "streams"
    if isinstance(spectrogram, LogFrequencySpectrogram) and (by_frames or grid == ("frequency", "time")):
        return spectrogram.settings
    raise SettingsError(
        "task.kind: expected a model that hears log-frequency spectrograms"
        + ("" if by_frames else f", with audio tokens by frequency and time for task.head = {head}")
        + f", found tokens by {', '.join(grid)}"
    )


def _told(masks: Tensor, wanted: Tensor, magnitudes: Tensor, mixtures: Tensor) -> tuple[Tensor, Tensor]:
    """Of each sound [P] the share of the mixture's energy on which the mask is right, and its gain in dB."""
    energy = mixtures.square()
    right = (energy * ((masks > 0.5) == (wanted > 0.5))).sum((1, 2)) / energy.sum((1, 2)).clamp_min(1e-12)
    truth = magnitudes.flatten(1)
    gain = si_sdr((masks * mixtures).flatten(1), truth) - si_sdr(mixtures.flatten(1), truth)
    return right, gain.clamp(-_LOUDEST_DB, _LOUDEST_DB)
