"""A model's masks over the whole length of a sound: heard in windows that overlap, and joined."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from pipeline.features.settings import FeatureSettings
from pipeline.sound.channels import Float


@dataclass(frozen=True)
class Windows:
    """Windows of sound as a model hears them, half over each other, over a sound of any length.

    They begin on whole steps of the model's STFT, so that their spectrograms lie on one grid. The last one ends with
    the sound, and what is shorter than a window lies in the middle of one, silence around it.

    Attributes:
        starts: step at which each begins, rising; negative where silence lies before the sound.
        steps: T, columns of a window's spectrogram.
        samples: S of a window, at the model's rate.
        hop: samples from one step to the next.
        count: steps from the sound's first sample to its last.
    """

    starts: Sequence[int]
    steps: int
    samples: int
    hop: int
    count: int
    rate_hz: int

    @classmethod
    def over(cls, length_s: Fraction, features: FeatureSettings) -> "Windows":
        """Those over a sound of so many seconds."""
        samples, hop, steps = features.audio_samples, features.stft_hop, features.time_frames
        total = math.ceil(length_s * features.audio_rate_hz)
        if total <= samples:
            starts = [-((samples - total) // 2 // hop)]
        else:
            last = math.ceil((total - samples) / hop)
            starts = [*range(0, last, max(steps // 2, 1)), last]
        return cls(starts, steps, samples, hop, total // hop + 1, features.audio_rate_hz)

    def middle_s(self, number: int) -> Fraction:
        """When the middle of a window lies, s from the sound's first sample."""
        return Fraction(2 * self.starts[number] * self.hop + self.samples, 2 * self.rate_hz)

    def cut(self, pieces: Iterator[Float]) -> Iterator[Float]:
        """The sound [C, S] of each window, of the pieces [C, n] of the whole one; silence where it is over."""
        held, begin = next(pieces), 0
        for start in self.starts:
            first, last = start * self.hop, start * self.hop + self.samples
            parts, end = [held], begin + held.shape[1]
            while end < last and (piece := next(pieces, None)) is not None:
                if end <= first:  # what lies between windows is not held
                    parts, begin = [], end
                parts.append(piece)
                end += piece.shape[1]
            held = np.concatenate(parts, axis=1)[:, max(first - begin, 0) :]
            begin = max(first, begin)
            yield np.pad(held[:, : last - begin], ((0, 0), (begin - first, max(last - end, 0))))

    def join(self, masks: Iterator[Tensor]) -> Iterator[Tensor]:
        """Masks [P, F, T] of each window as one of the whole sound, in pieces [P, F, n], `count` steps in all: each
        step is a mean over the windows that it lies in, in which a window weighs most in its middle and least at its
        ends."""
        weights = torch.sin((torch.arange(self.steps) + 0.5) * math.pi / self.steps).square()
        total, weight = None, torch.zeros(self.steps)
        for number, (start, mask) in enumerate(zip(self.starts, masks, strict=True)):
            total = mask.new_zeros(mask.shape) if total is None else total
            weights, weight = weights.to(mask), weight.to(mask)
            total += mask * weights
            weight += weights
            end = self.starts[number + 1] if number + 1 < len(self.starts) else start + self.steps
            known = end - start
            piece = total[..., :known] / weight[:known]
            yield piece[..., max(-start, 0) : max(self.count - start, 0)]
            total = torch.cat([total[..., known:], total.new_zeros(*total.shape[:-1], known)], dim=-1)
            weight = torch.cat([weight[known:], weight.new_zeros(known)])
