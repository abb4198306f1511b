import math

import pytest
import torch
import torch.nn.functional as F

from pipeline.features.settings import FeatureSettings
from pipeline.features.spectrogram import LogFrequencySpectrogram, log_frequency_warp


def test_the_papers_window_gives_256_by_256():
    spectrogram = LogFrequencySpectrogram(FeatureSettings())
    assert spectrogram(torch.rand(2, 1, 65535)).shape == (2, 1, 256, 256)


def test_silence_is_minus_one_everywhere():
    spectrogram = LogFrequencySpectrogram(FeatureSettings())
    assert torch.equal(spectrogram(torch.zeros(1, 1, 65535)).unique(), torch.tensor([-1.0]))


@pytest.mark.parametrize("bins", [64, 256])
def test_point_warp_equals_grid_sampling_of_sound_of_pixels(bins):
    spectrum = torch.rand(1, 1, 512, 7, dtype=torch.float64)
    y = torch.linspace(-1, 1, bins, dtype=torch.float64)
    y = (21 ** ((y + 1) / 2) - 11) / 10
    x = torch.linspace(-1, 1, 7, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    expected = F.grid_sample(spectrum, grid, align_corners=True)
    assert torch.allclose(log_frequency_warp(512, bins, area=False) @ spectrum, expected, atol=1e-12)


@pytest.mark.parametrize("area", [False, True])
def test_each_bin_is_an_average(area):
    assert torch.allclose(log_frequency_warp(512, 64, area).sum(1), torch.ones(64, dtype=torch.float64))


@pytest.mark.parametrize("frequency_hz", [220.0, 880.0, 3520.0])
def test_a_tone_peaks_in_the_bin_of_its_frequency(frequency_hz):
    settings = FeatureSettings(frequency_bins=64, audio_samples=16383, warp="area")
    time_s = torch.arange(settings.audio_samples) / settings.audio_rate_hz
    tone = torch.sin(2 * math.pi * frequency_hz * time_s)[None, None]
    peak = int(LogFrequencySpectrogram(settings)(tone)[0, 0].mean(1).argmax())
    share = frequency_hz / (settings.audio_rate_hz / 2)
    expected = math.log((share * 2 - 1) * 10 + 11, 21) * 63  # the warp's inverse
    assert abs(peak - expected) < 1


def test_the_spectrogram_stays_in_float32_when_the_model_is_cast():
    spectrogram = LogFrequencySpectrogram(FeatureSettings())
    before = spectrogram(torch.ones(1, 1, 65535))
    assert torch.equal(spectrogram.bfloat16()(torch.ones(1, 1, 65535)), before)
