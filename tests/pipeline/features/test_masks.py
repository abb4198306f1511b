"""Masks over spectrograms, and the sounds that they keep."""

import math

import pytest
import torch

from pipeline.features.masks import (
    Stft,
    ideal_binary_mask,
    ideal_ratio_mask,
    resynthesise,
    to_linear_frequency,
)
from pipeline.features.settings import FeatureSettings
from pipeline.features.si_sdr import si_sdr
from pipeline.features.spectrogram import LogFrequencySpectrogram, log_frequency_warp

HEARD = Stft(11025, 1022, 256)
RATES = [11025, 16000, 44100, 48000]


def tones(rate_hz, *frequencies_hz, seconds=1.5):
    time_s = torch.arange(round(seconds * rate_hz), dtype=torch.float64) / rate_hz
    phases = torch.arange(len(frequencies_hz))
    return sum(
        torch.sin(2 * math.pi * frequency * time_s + phase)
        for frequency, phase in zip(frequencies_hz, phases, strict=True)
    ).float()


def noise(samples, seed=0):
    return torch.rand(samples, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("samples", [16383, 20000, 333])
def test_a_sound_comes_back_from_its_spectrum_at_any_rate(rate_hz, samples):
    stft, sound = HEARD.at(rate_hz), noise(2 * 3 * samples).reshape(2, 3, samples)
    spectrum = stft(sound)
    assert spectrum.shape[:3] == (2, 3, stft.frequencies)
    assert spectrum.shape[3] == samples // stft.hop + 1
    covered = (spectrum.shape[3] - 1) * stft.hop  # what lies behind the last window's middle is half heard
    back = resynthesise(stft, spectrum, torch.ones(stft.frequencies, spectrum.shape[3]), samples)
    assert torch.allclose(back[..., :covered], sound[..., :covered], atol=1e-5)


def test_windows_last_as_long_at_any_rate():
    for rate_hz in RATES:
        stft = HEARD.at(rate_hz)
        assert abs(stft.frame / rate_hz - HEARD.frame / HEARD.rate_hz) <= 1 / rate_hz
        assert abs(stft.hop / rate_hz - HEARD.hop / HEARD.rate_hz) <= 0.5 / rate_hz
    assert HEARD.at(11025) is HEARD


def in_the_plane(magnitude, bins, area=True):
    return log_frequency_warp(magnitude.shape[-2], bins, area).to(magnitude) @ magnitude


@pytest.mark.parametrize("warp", ["point", "area"])
def test_magnitudes_in_the_plane_are_the_models_spectrogram(warp):
    features = FeatureSettings(frequency_bins=64, audio_samples=16383, warp=warp)
    sound = noise(16383)
    magnitude = in_the_plane(Stft.of(features)(sound).abs(), 64, warp == "area")
    floor = math.log(features.log_floor)
    expected = LogFrequencySpectrogram(features)(sound[None, None])[0, 0]
    assert torch.allclose((torch.log(magnitude + features.log_floor) - floor) / -floor - 1, expected, atol=1e-5)


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_mask_that_is_the_same_everywhere_stays_the_same(rate_hz):
    target = HEARD.at(rate_hz)
    found = to_linear_frequency(torch.full((2, 64, 30), 0.25), HEARD, target, 41)
    assert found.shape == (2, target.frequencies, 41)
    assert torch.allclose(found, torch.tensor(0.25))


def test_there_and_back_a_smooth_mask_is_what_it_was():
    bins, times = 128, 20
    mask = torch.sin(torch.linspace(0, 3, bins))[:, None] * torch.linspace(0.2, 1, times)
    linear = to_linear_frequency(mask, HEARD, HEARD, times)
    assert torch.allclose(in_the_plane(linear, bins, area=False), mask, atol=2e-3)


def test_what_lies_above_the_models_band_takes_the_mean_of_its_topmost_octave():
    stft = HEARD.at(44100)
    mask = torch.zeros(64, 4)
    octave = in_the_plane((torch.linspace(0, 1, 4001) >= 0.5).float()[:, None], 64, area=False)[:, 0] == 1
    mask[octave] = torch.linspace(0.1, 0.9, int(octave.sum()))[:, None]
    found = to_linear_frequency(mask, HEARD, stft, 4)
    above = torch.linspace(0, 22050, stft.frequencies) > HEARD.rate_hz / 2
    assert torch.allclose(found[above], torch.tensor(0.5))
    below = torch.linspace(0, 22050, stft.frequencies) < 2600  # a bin below the octave, which half belongs to it
    assert torch.equal(found[below].unique(), torch.zeros(1))


@pytest.mark.parametrize("ideal", [ideal_ratio_mask, ideal_binary_mask])
@pytest.mark.parametrize("rate_hz", RATES)
def test_ideal_masks_of_the_models_plane_take_a_sum_of_tones_apart_at_any_rate(ideal, rate_hz):
    low, high = tones(rate_hz, 300, 700, 1500), tones(rate_hz, 450, 1000, 3000)
    stft, heard = HEARD.at(rate_hz), [HEARD(tones(11025, *one)) for one in ((300, 700, 1500), (450, 1000, 3000))]
    planes = [in_the_plane(one.abs(), 256) for one in (*heard, sum(heard))]
    mixture = stft(low + high)
    for truth, plane in zip((low, high), planes, strict=False):
        mask = to_linear_frequency(ideal(plane, planes[2]), HEARD, stft, mixture.shape[-1])
        found = resynthesise(stft, mixture, mask, len(truth))
        assert si_sdr(found, truth) > si_sdr(low + high, truth) + 20


def test_ideal_masks_say_what_is_a_sounds_own():
    magnitude, mixture = torch.tensor([0.0, 0.4, 0.6, 2.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0])
    assert torch.equal(ideal_ratio_mask(magnitude, mixture), torch.tensor([0.0, 0.4, 0.6, 1.0, 0.0]))
    assert torch.equal(ideal_binary_mask(magnitude, mixture), torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0]))


def test_si_sdr_is_blind_to_loudness_and_finite_for_silence():
    truth, other = tones(11025, 300), tones(11025, 400)
    ratio = si_sdr(truth + 0.1 * other, truth)
    assert ratio == pytest.approx(20, abs=0.1)
    assert si_sdr(7 * (truth + 0.1 * other), truth) == pytest.approx(float(ratio), abs=1e-3)
    silence = torch.zeros_like(truth)
    assert si_sdr(torch.stack([silence, truth]), torch.stack([truth, silence])).isfinite().all()
