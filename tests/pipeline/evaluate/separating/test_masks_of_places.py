"""Masks of windows that overlap, joined and laid over a sound of any length, rate and channels."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pipeline.evaluate.separating.masking import Masking
from pipeline.evaluate.separating.windows import Windows
from pipeline.features.masks import Stft
from pipeline.features.settings import FeatureSettings
from sounding_video import low_and_high

FEATURES = FeatureSettings(audio_rate_hz=8000, audio_samples=4095, stft_frame=254, stft_hop=128, frequency_bins=32)
Float = npt.NDArray[np.float32]


def in_pieces(sound: Float, size: int) -> Iterator[Float]:
    return (sound[:, start : start + size] for start in range(0, sound.shape[1], size))


def separated(sound: Float, rate_hz: int, masks: torch.Tensor, size: int = 1234) -> tuple[Float, Float]:
    """(sounds [P + 1, C, S], mixture) of masks [P, F, T] that each window has."""
    windows = Windows.over(Fraction(sound.shape[1], rate_hz), FEATURES)
    joined = windows.join(masks for _ in windows.starts)
    pieces = list(Masking(Stft.of(FEATURES), 32, rate_hz)(in_pieces(sound, size), joined))
    both = torch.cat([piece.sounds for piece in pieces], -1), torch.cat([piece.mixture for piece in pieces], -1)
    return both[0].numpy(), both[1].numpy()


@pytest.mark.parametrize(
    ("rate_hz", "samples", "channels"), [(48_000, 100_123, 2), (44_100, 5000, 6), (8000, 1, 1), (7350, 9000, 3)]
)
def test_places_and_rest_are_the_mixture_at_any_rate_length_and_channels(
    rate_hz: int, samples: int, channels: int
) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, (channels, samples)).astype(np.float32)
    masks = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0)) / 2
    sounds, mixture = separated(sound, rate_hz, masks)
    np.testing.assert_array_equal(mixture, sound)
    assert sounds.shape == (3, channels, samples)
    np.testing.assert_allclose(sounds.sum(0), sound, atol=1e-6)
    np.testing.assert_allclose(sounds, separated(sound, rate_hz, masks, size=77)[0], atol=1e-6)


def test_a_mask_keeps_what_lies_at_its_frequencies() -> None:
    low, high = low_and_high(3, 48_000, 2)
    masks = torch.zeros(2, 32, 32)
    masks[0, :18] = 1  # up to 700 Hz of 4 kHz
    masks[1, 18:] = 1
    sounds, _ = separated(low + high, 48_000, masks)
    inside = slice(2000, -2000)
    np.testing.assert_allclose(sounds[0][:, inside], low[:, inside], atol=0.003)
    np.testing.assert_allclose(sounds[1][:, inside], high[:, inside], atol=0.003)


def test_above_the_model_s_band_the_mean_of_its_topmost_octave_counts() -> None:
    times = np.arange(48_000) / 48_000
    above = (0.5 * np.sin(2 * np.pi * 9000 * times)).astype(np.float32)[None]
    masks = torch.zeros(1, 32, 32)
    masks[0, -4:] = 0.5  # the topmost octave, 2 to 4 kHz, is more than that
    sounds, _ = separated(above, 48_000, masks)
    octave = (Masking(Stft.of(FEATURES), 32, 48_000).across[-1] > 0).sum().item()
    share = np.linalg.norm(sounds[0, :, 4000:-4000]) / np.linalg.norm(above[:, 4000:-4000])
    assert share == pytest.approx(0.5 * 4 / octave, abs=0.01)
    assert octave > 4


def test_where_masks_add_to_more_than_one_nothing_is_left_over() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, (1, 20_000)).astype(np.float32)
    windows = Windows.over(Fraction(20_000, 8000), FEATURES)
    masks = windows.join(torch.full((2, 32, 32), 0.75) for _ in windows.starts)
    pieces = list(Masking(Stft.of(FEATURES), 32, 8000)(in_pieces(sound, 999), masks))
    assert max(float(piece.sounds[2].abs().max()) for piece in pieces) < 1e-6
    assert all(torch.allclose(piece.twice, torch.tensor(0.5)) for piece in pieces)


@pytest.mark.parametrize("seconds", [0.1, 0.5, 0.52, 0.8, 7.03])
def test_windows_reach_from_the_first_sample_to_the_last(seconds: float) -> None:
    samples = round(8000 * seconds)
    windows = Windows.over(Fraction(samples, 8000), FEATURES)
    first, last = windows.starts[0] * 128, windows.starts[-1] * 128 + 4095
    assert -2048 <= first <= 0
    assert samples <= last < samples + 128 + 2048
    assert all(after - before <= 16 for before, after in zip(windows.starts, windows.starts[1:], strict=False))
    sound = np.arange(1, samples + 1, dtype=np.float32)[None]
    for start, cut in zip(windows.starts, windows.cut(in_pieces(sound, 1000)), strict=True):
        places = np.arange(4095) + start * 128
        expected = np.where((places >= 0) & (places < samples), places + 1, 0)
        np.testing.assert_array_equal(cut, expected[None])


def test_each_step_is_a_mean_over_the_windows_in_which_it_lies() -> None:
    windows = Windows.over(Fraction(8), FEATURES)
    numbers = [torch.full((1, 1, 32), float(number)) for number in range(len(windows.starts))]
    joined = torch.cat(list(windows.join(iter(numbers))), -1)[0, 0]
    assert joined.shape == (windows.count,)
    for number, start in enumerate(windows.starts[:-2]):
        assert joined[start + 16] == pytest.approx(number + 0.5, abs=0.51)
    middle = [joined[start + 15 : start + 17].mean().item() for start in windows.starts]
    assert middle[:-2] == pytest.approx(range(len(middle) - 2), abs=0.3)  # a window weighs most in its middle
    assert (joined.diff() >= -1e-5).all()  # and nowhere is there a jump
    assert joined.diff().max() < 0.2
