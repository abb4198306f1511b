"""Masks over a mixture's spectrogram: what of it is kept, and the sound that comes of it.

A mask is predicted in the log-frequency plane of a model's spectrogram, and applied to the STFT of a sound at any rate,
with the phase of the mixture (Sound of Pixels; G-AVT thesis, Eq. 6):

    sound ──LogFrequencySpectrogram──► plane of the model ──► mask
       │                                                        │ to_linear_frequency
       └──Stft──► spectrum ────────────────────────► resynthesise ──► sound
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.features.settings import FeatureSettings
from pipeline.features.spectrogram import WARP_BASE


@dataclass(frozen=True)
class Stft:
    """The short-time Fourier transform of the papers: a Hann window on every `hop`-th sample, mirrored at both ends.

    Attributes:
        rate_hz: samples of the sound a second.
        frame: length of the window in samples.
        hop: samples from one window to the next.
    """

    rate_hz: int
    frame: int
    hop: int

    @classmethod
    def of(cls, features: FeatureSettings) -> "Stft":
        """As a model hears."""
        return cls(features.audio_rate_hz, features.stft_frame, features.stft_hop)

    def at(self, rate_hz: int) -> "Stft":
        """The same at another rate: windows and steps of the same length in seconds, as near as whole samples allow."""
        if rate_hz == self.rate_hz:
            return self
        ratio = rate_hz / self.rate_hz
        return Stft(rate_hz, max(2 * round(self.frame * ratio / 2), 2), max(round(self.hop * ratio), 1))

    @property
    def frequencies(self) -> int:
        """Evenly from 0 to half the rate."""
        return self.frame // 2 + 1

    def times_s(self, count: int) -> Tensor:
        """[count] float64, where the windows' middles lie in the sound."""
        return torch.arange(count, dtype=torch.float64) * self.hop / self.rate_hz

    def __call__(self, waveform: Tensor) -> Tensor:
        """Complex spectrum […, frequencies, T] of a sound […, S], T = S // hop + 1. A sound that is shorter than half a
        window, too short to be mirrored, is followed by silence."""
        samples = waveform.reshape(-1, waveform.shape[-1]).float()
        if samples.shape[-1] <= self.frame // 2:
            samples = torch.nn.functional.pad(samples, (0, self.frame // 2 + 1 - samples.shape[-1]))
        spectrum = torch.stft(
            samples, self.frame, self.hop, window=self._window(samples.device), pad_mode="reflect", return_complex=True
        )
        spectrum = spectrum[..., : waveform.shape[-1] // self.hop + 1]
        return spectrum.reshape(*waveform.shape[:-1], *spectrum.shape[-2:])

    def inverse(self, spectrum: Tensor, samples: int) -> Tensor:
        """The sound […, samples] of a spectrum […, frequencies, T]."""
        flat = spectrum.reshape(-1, *spectrum.shape[-2:])
        sound = torch.istft(flat, self.frame, self.hop, window=self._window(flat.device), length=samples)
        return sound.reshape(*spectrum.shape[:-2], samples)

    def _window(self, device: torch.device) -> Tensor:
        return torch.hann_window(self.frame, dtype=torch.float64, device=device).float()


def to_linear_frequency(mask: Tensor, heard: Stft, target: Stft, times: int) -> Tensor:
    """A mask of the log-frequency plane for the spectrum of a sound at any rate.

    Between bins and between windows it is interpolated linearly. What lies above the band that the mask was made of
    takes the mean of its topmost octave, the upper half of that band.

    Args:
        mask: […, F, T] over 0 to half of the rate of `heard`.
        heard: how the sound was transformed that the mask was made of.
        target: how the sound is transformed that the mask is for; its first sample is that of the other.
        times: windows of that sound; after the mask's last one its last one stays.

    Returns:
        […, target.frequencies, times]
    """
    bins = mask.shape[-2]
    across = linear_frequency_weights(bins, heard.rate_hz, target).to(mask)
    places = (target.times_s(times) * heard.rate_hz / heard.hop).clamp(max=mask.shape[-1] - 1)
    before = places.long().clamp(max=max(mask.shape[-1] - 2, 0))
    after, share = (before + 1).clamp(max=mask.shape[-1] - 1), (places - before).to(mask)
    before, after = before.to(mask.device), after.to(mask.device)
    return torch.matmul(across, mask[..., before] * (1 - share) + mask[..., after] * share)


def linear_frequency_weights(bins: int, heard_hz: int, target: Stft) -> Tensor:
    """[target.frequencies, bins] float64: the frequency part of `to_linear_frequency`, the inverse of the log-frequency
    warp; rows add to 1.

    Args:
        heard_hz: rate of the sound that the mask was made of.
    """
    share = torch.linspace(0, 1, target.frequencies, dtype=torch.float64) * target.rate_hz / heard_hz  # 1: top of band
    above = share > 1
    place = _bin_of(share.clamp(max=1), bins)
    below = place.long().clamp(max=bins - 2)
    weights = torch.zeros(target.frequencies, bins, dtype=torch.float64)
    weights.scatter_(1, below[:, None], (1 - (place - below))[:, None])
    weights.scatter_(1, below[:, None] + 1, (place - below)[:, None])
    octave = torch.arange(bins) >= _bin_of(torch.tensor(0.5, dtype=torch.float64), bins).ceil()
    weights[above] = octave.double() / octave.sum()
    return weights


def energy_by_bin(magnitude: Tensor, bins: int) -> Tensor:
    """The energy of evenly spaced frequencies by the bins of the log-frequency plane: each frequency's goes to the bins
    that a mask for it is made of (`to_linear_frequency`), and all of it is there. The plane's own magnitudes won't do:
    there what is low has many bins, and counts many times.

    Args:
        magnitude: […, frequencies, T], over 0 to half of the rate.

    Returns:
        […, bins, T]
    """
    frequencies = magnitude.shape[-2]
    across = linear_frequency_weights(bins, 1, Stft(1, 2 * (frequencies - 1), 1))
    return torch.matmul(across.T.to(magnitude), magnitude.square())


def _bin_of(share: Tensor, bins: int) -> Tensor:
    """Where frequencies, as shares of half the rate, lie among the bins: the inverse of `log_frequency_warp`."""
    return torch.log(10 * (2 * share - 1) + 11) / math.log(WARP_BASE) * (bins - 1)


def ideal_ratio_mask(magnitude: Tensor, mixture: Tensor) -> Tensor:
    """The share of a mixture that a sound is, in 0–1 (Eq. 6: A₀ = m · A_mix), of magnitudes of the same shape; 0 where
    the mixture is silent."""
    return (magnitude / mixture.clamp(min=torch.finfo(mixture.dtype).tiny)).clamp(0, 1) * (mixture > 0)


def ideal_binary_mask(magnitude: Tensor, mixture: Tensor) -> Tensor:
    """1 where a sound is more than half of a mixture (Sound of Pixels), else 0."""
    return (magnitude > 0.5 * mixture).to(mixture.dtype)


def resynthesise(stft: Stft, mixture: Tensor, mask: Tensor, samples: int) -> Tensor:
    """The sound […, samples] that a mask […, frequencies, T] in 0–1 keeps of a mixture's complex spectrum, with the
    mixture's phase."""
    return stft.inverse(mixture * mask, samples)
