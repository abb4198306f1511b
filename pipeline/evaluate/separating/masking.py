"""Masks laid over a sound of any length at its own rate: what each of them keeps, and what is left over."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.features.masks import Stft, linear_frequency_weights
from pipeline.sound.channels import Float

_OVERLAP = 4
"""Windows that each sample lies in: a Hann window before the transform and one behind it add up to a constant."""
_SQUARES = 1.5
"""That constant."""
_AT_ONCE = 32
"""Windows of the STFT that are transformed together: about a second."""


@dataclass(frozen=True)
class Separated:
    """A piece of a sound, and what of it belongs to each place.

    Attributes:
        sounds: [P + 1, C, n] of each place; the last is what no place keeps.
        mixture: [C, n] the piece itself.
        times_s: [B] middles of the windows of the STFT that were transformed for it, s from the sound's first sample;
            some lie before or behind the sound.
        power: [B, K] of the mixture in each window at each frequency, a mean over the channels.
        masks: [P + 1, B, K] in 0–1, that of what is left over too.
        twice: [B, K] by how much the masks of the places add to more than 1.
    """

    sounds: Tensor
    mixture: Tensor
    times_s: Tensor
    power: Tensor
    masks: Tensor
    twice: Tensor


class Masking:
    """Applies masks of a model's log-frequency plane to sounds of one rate, each channel with the mixture's own phase.

    Windows are about as long as the model's, and a quarter of one apart. What lies above the model's band takes the
    mean of the mask's topmost octave (see `pipeline.features.masks`). What is left over has the mask 1 − the sum of the
    others, not below 0: so the places and what is left over add to the mixture wherever masks add to no more than 1.

    Args:
        heard: how the model hears.
        bins: F of its masks.
    """

    def __init__(self, heard: Stft, bins: int, rate_hz: int) -> None:
        self.heard, self.rate_hz = heard, rate_hz
        self.hop = max(round(heard.frame * rate_hz / heard.rate_hz / _OVERLAP), 2)
        self.frame = _OVERLAP * self.hop
        self.across = linear_frequency_weights(bins, heard.rate_hz, Stft(rate_hz, self.frame, self.hop)).float()
        self.window = torch.hann_window(self.frame, dtype=torch.float64).float()

    @property
    def frequencies_hz(self) -> Tensor:
        """[K]"""
        return torch.linspace(0, self.rate_hz / 2, self.frame // 2 + 1)

    def __call__(self, pieces: Iterator[Float], masks: Iterator[Tensor]) -> Iterator[Separated]:
        """Separate a sound; as much of it is held as is worked on.

        Args:
            pieces: [C, n] of it.
            masks: [P, F, n], pieces too, a column for each step of the model's STFT; behind the last one it stays.
        """
        steps = _MaskSteps(masks)
        lead = self.frame - self.hop
        tail: Tensor | None = None
        for stretch in self._stretches(pieces, lead):
            windows = stretch.samples.unfold(1, self.frame, self.hop)  # [C, B, N]
            spectrum = torch.fft.rfft(windows * self.window)  # [C, B, K]
            middles = (torch.arange(windows.shape[1]) + stretch.number) * self.hop + self.frame / 2 - lead
            kept = steps.at(middles / self.rate_hz * self.heard.rate_hz / self.heard.hop) @ self.across.T  # [P, B, K]
            every = torch.cat([kept, (1 - kept.sum(0)).clamp(min=0)[None]])
            framed = torch.fft.irfft(spectrum * every[:, None], self.frame) * (self.window / _SQUARES)
            sounds, tail = self._add(framed, tail)
            yield Separated(
                sounds=sounds[..., stretch.inside],
                mixture=stretch.samples[:, stretch.inside],
                times_s=middles / self.rate_hz,
                power=spectrum.abs().square().mean(0),
                masks=every,
                twice=(kept.sum(0) - 1).clamp(min=0),
            )

    def _stretches(self, pieces: Iterator[Float], lead: int) -> Iterator["_Stretch"]:
        """The sound cut for the transform, after `lead` samples of silence and with as many behind it: so each sample
        lies in as many windows as any other."""
        first = torch.from_numpy(next(pieces))
        held = torch.cat([first.new_zeros(len(first), lead), first], dim=1)
        whole = (_AT_ONCE - 1) * self.hop + self.frame
        number, begin, ended = 0, lead, False
        while not ended:
            parts, length = [held], held.shape[1]
            while length < whole and (piece := next(pieces, None)) is not None:
                parts.append(torch.from_numpy(piece))
                length += piece.shape[1]
            held, ended = torch.cat(parts, dim=1), length < whole
            count = -(-length // self.hop) if ended else _AT_ONCE
            needed = (count - 1) * self.hop + self.frame
            held = torch.nn.functional.pad(held, (0, max(needed - length, 0)))
            yield _Stretch(number, held[:, :needed], slice(begin, length if ended else count * self.hop))
            held = held[:, count * self.hop :]
            number, begin = number + count, 0

    def _add(self, framed: Tensor, tail: Tensor | None) -> tuple[Tensor, Tensor]:
        """Windows [P, C, B, N] as a sound [P, C, B · hop], and what they add to the windows behind them; `tail` is that
        of the windows before."""
        *shape, count, _ = framed.shape
        quarters = framed.reshape(*shape, count, _OVERLAP, self.hop)
        summed = framed.new_zeros(*shape, count + _OVERLAP - 1, self.hop)
        for place in range(_OVERLAP):
            summed[..., place : place + count, :] += quarters[..., place, :]
        if tail is not None:
            summed[..., : _OVERLAP - 1, :] += tail
        return summed[..., :count, :].flatten(-2), summed[..., count:, :]


@dataclass(frozen=True)
class _Stretch:
    """Samples [C, N] of some windows.

    Attributes:
        number: of the first window.
        inside: which of them belong to the sound and lie in no window to come.
    """

    number: int
    samples: Tensor
    inside: slice


class _MaskSteps:
    """Masks at any rising time, of pieces [P, F, n] that come when they are needed."""

    def __init__(self, masks: Iterator[Tensor]) -> None:
        self._masks, self._held, self._begin = masks, next(masks).cpu(), 0

    def at(self, places: Tensor) -> Tensor:
        """[P, B, F] at these places [B], in steps, between two of which masks are interpolated; before the first and
        behind the last step they stay."""
        last = int(places[-1]) + 1
        while self._begin + self._held.shape[-1] <= last and (piece := next(self._masks, None)) is not None:
            self._held = torch.cat([self._held, piece.cpu()], dim=-1)
        inside = (places - self._begin).clamp(0, self._held.shape[-1] - 1)
        before = inside.long()
        after = (before + 1).clamp(max=self._held.shape[-1] - 1)
        mask = torch.lerp(self._held[..., before], self._held[..., after], (inside - before).float())
        passed = min(max(int(places[0]) - self._begin, 0), self._held.shape[-1] - 1)
        self._held, self._begin = self._held[..., passed:], self._begin + passed
        return mask.transpose(1, 2)
