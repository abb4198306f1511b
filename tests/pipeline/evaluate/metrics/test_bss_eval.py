"""BSS eval: the figures of mir_eval, of which one factorisation serves all estimates."""

import numpy as np
import pytest
import torch

from pipeline.evaluate.metrics.bss_eval import bss_eval


def mixed():
    """Two noises, one of them coloured, and two ways to estimate them."""
    random = np.random.default_rng(0)
    sources = random.standard_normal((2, 4000))
    sources[1] = np.convolve(sources[1], [1, 0.9, 0.5, 0.2], "same")
    noisy = sources + 0.3 * sources[::-1] + 0.1 * random.standard_normal((2, 4000))
    late = np.stack([np.roll(sources[0], 3) * 0.5, sources[1] + 0.7 * sources[0]])
    return torch.from_numpy(sources), torch.from_numpy(np.stack([noisy, late]))


def test_the_ratios_are_those_of_mir_eval():
    """As mir_eval 0.8.2 gave them: `bss_eval_sources(sources, estimates, False)`."""
    expected = [
        [[7.50534, 14.02273], [31.90339, 7.13723]],
        [[7.69174, 14.42136], [43.34564, 7.13723]],
        [[21.95391, 24.7468], [32.2269, 120]],  # without artifacts it gave 300
    ]
    for found, ratios in zip(bss_eval(*mixed()), expected, strict=True):
        assert found.tolist() == [pytest.approx(one, abs=1e-4) for one in ratios]


def test_a_source_that_was_filtered_is_still_the_source():
    sources, _ = mixed()
    sources[:, -100:] = 0  # so that all of the echo is there
    echo = sources + 0.5 * torch.roll(sources, 100, 1)
    sdr, sir, sar = bss_eval(sources, echo[None])
    assert (sdr > 100).all()
    assert (sir > 100).all()
    assert (sar > 100).all()


def test_tones_of_which_shifted_ones_depend_on_each_other_have_finite_ratios():
    time_s = torch.arange(4000) / 8000
    tones = torch.stack([torch.sin(2 * torch.pi * pitch * time_s) for pitch in (440, 1000)])
    mixture = tones.sum(0).expand(2, -1)
    sdr, sir, _ = bss_eval(tones, torch.stack([mixture, tones + 0.01 * mixture]), taps=64)
    assert sdr.isfinite().all()
    assert (sdr[1] > sdr[0]).all()
    assert (sir[1] > sir[0] + 20).all()


def test_an_estimate_nearer_to_the_source_never_scores_less():
    random = np.random.default_rng(2)
    sources = torch.from_numpy(random.standard_normal((2, 3000)))
    other, noise = sources.flip(0), torch.from_numpy(random.standard_normal((2, 3000)))
    shares = (0.8, 0.4, 0.2, 0.1, 0.0)
    leaking = torch.stack([sources + share * other + 0.1 * noise for share in shares])
    noisy = torch.stack([sources + share * noise for share in shares])
    (sdr, sir, _), (noisy_sdr, _, sar) = (bss_eval(sources, estimates, taps=64) for estimates in (leaking, noisy))
    for ratios in (sdr, sir, noisy_sdr, sar):
        assert (ratios.diff(dim=0) > 0).all()
