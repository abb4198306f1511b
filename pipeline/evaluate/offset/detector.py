"""By how much sound and picture are apart, told from onsets: what moves as something sounds.

Each cell of the picture is correlated with the sound at every shift, wrapped round the ends. The best shift within the
range is judged by what is the best where nothing belongs together: with the sound cut into pieces of half a second that
are shuffled. Three things have to be there: a peak far above that, no other peak near its height, and several onsets
that make it, since one that coincides with another says nothing.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import MediaError
from pipeline.evaluate.offset.onsets import HOP_S, Float, Onsets
from pipeline.reasons import Reason

_LOCAL_S = 2.0
"""Onsets are what exceeds the mean of so many seconds around them."""
_LOUDEST = 4.0
"""In root mean squares: what exceeds it, such as a cut, counts no more than that."""
_STILL = 0.25
"""Of the cell that changes most: noise matches by chance, so what hardly moves counts less."""
_PEAK_S = 0.15
"""So far (s) from a peak there is nothing left of it."""
_TOP_HOPS = 3
_PIECE_S = 0.5
_CHANCES, _FEWEST_SHUFFLES = 32, 4
_FEWEST_ONSETS = 3.5
_SHORTEST_PERIOD_S, _PERIODIC, _AS_GOOD = 0.3, 0.5, 0.8
_WEIGHTS = (-5.03, 1.36, 0.61)
"""Of 1, height and lead: log-odds that the offset is right, where as many belong together as don't. By logistic
regression over clips of Sync-Movers and made-up onsets, 301 with their own sound moved and 258 with another, and 139
pieces of films with another piece's sound."""


@dataclass(frozen=True)
class Apart:
    """By how much sound and picture are apart.

    Attributes:
        offset_s: how much later (s) the sound comes than what is seen; negative where it comes earlier. It is right to
            within a frame.
        confidence: probability that it is right, 0–1.
        every_s: where all repeats itself in the same rhythm, after how many seconds: the offset may as well be that
            much more or less, and is the smallest of these.
    """

    offset_s: float
    confidence: float
    every_s: float | None = None


def find_offset(onsets: Onsets, range_s: float) -> Apart | None:
    """The offset within ±`range_s`, with its confidence; None where picture or sound never changes.

    Raises:
        MediaError: `too_short`, it does not hold all these offsets.
    """
    count = len(onsets.sound)
    places = np.rint(onsets.times_s / HOP_S).astype(int)
    inside = (places >= 0) & (places < count)
    if count * HOP_S < 2 * range_s:
        raise MediaError(
            Reason.TOO_SHORT,
            f"expected {2 * range_s:g} s or more, to look for offsets within ±{range_s:g} s (--range), found "
            f"{count * HOP_S:.2f} s",
        )
    if inside.sum() < 3:
        raise MediaError(Reason.TOO_SHORT, f"expected three pictures or more in its sound, found {inside.sum()}")
    places, frames_around = places[inside], round(_LOCAL_S / onsets.frame_s)
    seen, heard = _beside_mean(_capped(onsets.picture[:, inside]), frames_around), _heard(onsets)
    length = np.sqrt((seen**2).sum(1, keepdims=True))
    if not length.any() or not heard.any():
        return None
    seen /= length + _STILL * length.max()
    pulses = np.zeros((len(seen), count))
    for picture, place in enumerate(places):  # two may lie in one hop
        pulses[:, place] += seen[:, picture]
    own = _correlations(pulses, heard)
    lags_s: Float = ((np.arange(count) + count // 2) % count - count // 2) * np.float64(HOP_S)
    near = np.flatnonzero(np.abs(lags_s) <= range_s)
    curve = _over_cells(own)
    best = near[curve[near].argmax()]
    period_s = _period_s(pulses, heard, onsets.frame_s, range_s)
    beside_s = np.abs(lags_s - lags_s[best])
    if period_s is not None:
        beside_s = np.abs(beside_s - np.rint(beside_s / period_s) * period_s)
        best = _least_of(near[beside_s[near] <= _TOP_HOPS * HOP_S], lags_s, curve)
    rivals = near[beside_s[near] > _PEAK_S]
    chance = _best_by_chance(pulses, heard, len(near))
    if not len(rivals) or not chance.std():
        return None
    height = (curve[best] - chance.mean()) / chance.std()
    lead = (curve[best] - curve[rivals].max()) / chance.std()
    enough = _onsets_in_common(seen, heard, own[:, best], places, best) >= _FEWEST_ONSETS
    odds = float(np.dot(_WEIGHTS, (1.0, height, lead)))
    # a picture that differs shows what happened since the one before
    offset_s = float(lags_s[best]) + onsets.frame_s / 2
    return Apart(offset_s, float(1 / (1 + np.exp(-odds))) if enough else 0.0, period_s)


def _least_of(same: npt.NDArray[np.int_], lags_s: Float, curve: Float) -> int:
    """The top of the peak nearest to 0, of places on peaks that are as good."""
    least_s = lags_s[same[np.abs(lags_s[same]).argmin()]]
    around = same[np.abs(lags_s[same] - least_s) <= 2 * _TOP_HOPS * HOP_S]
    return int(around[curve[around].argmax()])


def _best_by_chance(pulses: Float, heard: Float, window: int) -> Float:
    """How high the best of `window` neighbouring shifts comes with pieces of the sound in another order, each time."""
    random = np.random.default_rng(0)  # the same answer for the same video
    pieces = np.array_split(heard, max(2, round(len(heard) * HOP_S / _PIECE_S)))
    windows = max(1, len(heard) // window)
    found = []
    for _ in range(max(_FEWEST_SHUFFLES, -(-_CHANCES // windows))):
        shuffled = np.concatenate([pieces[place] for place in random.permutation(len(pieces))])
        curve = _over_cells(_correlations(pulses, shuffled))
        found += [curve[number * window : (number + 1) * window].max() for number in range(windows)]
    return np.array(found)


def _heard(onsets: Onsets) -> Float:
    """[N] the sound's onsets, as far spread as a picture stands, of mean 0 around each and deviation 1."""
    heard = _beside_mean(_spread(_capped(onsets.sound[None]), onsets.frame_s), round(_LOCAL_S / HOP_S))[0]
    scaled: Float = heard / (heard.std() + 1e-9)
    return scaled


def _spread(values: Float, frame_s: float) -> Float:
    """[C, N] each of them over the time of a frame to both sides, wrapped round."""
    half = max(1, round(frame_s / HOP_S))
    kernel = np.zeros(values.shape[1])
    kernel[np.arange(-half + 1, half)] = np.hanning(2 * half + 1)[1:-1]
    wide: Float = np.fft.irfft(np.fft.rfft(values, axis=1) * np.fft.rfft(kernel / kernel.sum()), n=values.shape[1])
    return wide


def _capped(values: Float) -> Float:
    capped: Float = np.minimum(values, _LOUDEST * np.sqrt((values**2).mean(1, keepdims=True)))
    return capped


def _beside_mean(values: Float, around: int) -> Float:
    """[C, K] less the mean of `around` values about each."""
    half = max(1, around // 2)
    padded = np.pad(values, ((0, 0), (half + 1, half)), mode="edge").cumsum(1)
    beside: Float = values - (padded[:, 2 * half + 1 :] - padded[:, : -2 * half - 1]) / (2 * half + 1)
    return beside


def _correlations(pulses: Float, heard: Float) -> Float:
    """[C, N]: of each cell with the sound of so many hops later, wrapped round."""
    spectra = np.fft.rfft(pulses, axis=1).conj() * np.fft.rfft(heard)
    wrapped: Float = np.fft.irfft(spectra, n=len(heard), axis=1)
    return wrapped


def _over_cells(correlations: Float) -> Float:
    """[N]: what the best of cells reach counts most, however many there are."""
    together: Float = (np.clip(correlations, 0, None) ** 4).mean(0) ** 0.25
    return together


def _period_s(pulses: Float, heard: Float, frame_s: float, range_s: float) -> float | None:
    """After how many seconds both picture and sound repeat themselves; None where one of them doesn't."""
    # beats lie up to half a picture beside when they are seen
    both = np.minimum(_likeness_later(_spread(pulses, 2 * frame_s)), _likeness_later(heard[None]))
    first, last = round(_SHORTEST_PERIOD_S / HOP_S), min(round(range_s / HOP_S), len(heard) // 3)
    if last <= first or both[first:last].max() < _PERIODIC:
        return None
    high = both[first:last] >= _AS_GOOD * both[first:last].max()
    begin = int(high.argmax())  # of the first of its peaks
    end = begin + int(np.append(~high[begin:], True).argmax())
    return float((first + begin + both[first + begin : first + end].argmax()) * HOP_S)


def _likeness_later(values: Float) -> Float:
    """[N] how like [C, N] is to itself so many hops later, 1 at 0."""
    power = (np.abs(np.fft.rfft(values, axis=1)) ** 2).sum(0)
    alike = np.fft.irfft(power, n=values.shape[1])
    relative: Float = alike / alike[0]
    return relative


def _onsets_in_common(seen: Float, heard: Float, matches: Float, places: npt.NDArray[np.int_], shift: int) -> float:
    """How many onsets make a match, as many as there would be if all had the same part in it."""
    weights = np.clip(matches, 0, None) ** 3
    parts = np.clip(weights @ seen * heard[(places + shift) % len(heard)], 0, None)
    return float(parts.sum() ** 2 / ((parts**2).sum() + 1e-12))
