"""BSS eval, version 3: what of an estimated sound is the source, other sources, and neither (Vincent et al. 2006)."""

import torch
from torch import Tensor

_LEAST = 1e-12
"""Of an estimate's energy: no ratio is above 120 dB."""


def bss_eval(sources: Tensor, estimates: Tensor, taps: int = 512) -> tuple[Tensor, Tensor, Tensor]:
    """Ratios of source to distortion, to interference and to artifacts (SDR, SIR, SAR), in dB.

    They are those of `mir_eval.separation.bss_eval_sources(…, compute_permutation=False)`: whatever a filter of `taps`
    samples makes of the source still counts as the source. Here all estimates of the same sources share the costly
    part, and only energies of projections are computed, never the projections.

    Args:
        sources: [n, S], none of them silent.
        estimates: [K, n, S], K ways to estimate each source.

    Returns:
        [K, n] each.
    """
    count, samples = sources.shape
    ways = len(estimates)
    length = 1 << (samples + taps - 2).bit_length()
    spectra = torch.fft.rfft(sources.double(), length)
    lags = torch.fft.irfft(spectra[:, None].conj() * spectra, length)  # [n, n, length], Σ xᵢ(t) xⱼ(t + lag)
    lag = torch.arange(taps, device=sources.device)
    toeplitz = lags[:, :, (lag[:, None] - lag) % length]  # [n, n, taps, taps]
    whole = toeplitz.permute(0, 2, 1, 3).reshape(count * taps, count * taps)
    heard = torch.fft.rfft(estimates.double().flatten(0, 1), length)
    shared = torch.fft.irfft(spectra[:, None].conj() * heard, length)[..., :taps]  # [n, K·n, taps]
    energy = estimates.double().square().sum(2)
    explained = _projected(whole, shared.transpose(1, 2).reshape(count * taps, -1)).view(ways, count)
    own = torch.stack(
        [_projected(toeplitz[one, one], shared[one, one::count].T) for one in range(count)], dim=1
    )  # [K, n]
    own, explained = own.clamp_min(0), torch.maximum(explained, own)

    def ratio(signal: Tensor, rest: Tensor) -> Tensor:
        least = (_LEAST * energy).clamp_min(torch.finfo(torch.float64).tiny)
        return 10 * torch.log10(torch.maximum(signal, least) / torch.maximum(rest, least))

    return ratio(own, energy - own), ratio(own, explained - own), ratio(explained, energy - explained)


def _projected(gram: Tensor, shared: Tensor) -> Tensor:
    """Energies [M] of what is projected onto signals with these inner products [N, N], of which the inner products with
    the signals are [N, M]."""
    solved, failed = torch.linalg.solve_ex(gram, shared)
    if failed or not solved.isfinite().all():  # signals that depend on each other, such as pure tones
        solved = torch.linalg.pinv(gram, hermitian=True) @ shared
    energies: Tensor = (shared * solved).sum(0)
    return energies
