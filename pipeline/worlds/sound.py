"""Sound of a scene: melodies, and the stems and mixture that they give."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.worlds.instruments import INSTRUMENTS, OfInstrument, Timbre

Waveform = npt.NDArray[np.float64]

RELEASE_S = 0.06
"""Fade behind the end of a note."""
LOUDEST = 0.85
"""No mixture's peak lies above this share of full scale, so that AAC has headroom."""


@dataclass(frozen=True)
class Tone:
    """One tone: when it starts and ends (seconds from the video's zero, the start may lie before it), its pitch as a
    MIDI number and its level in 0–1."""

    start_s: float
    end_s: float
    pitch: int
    level: float


@dataclass(frozen=True)
class SoundSource(OfInstrument):
    """One instrument that sounds: its class number, its level in dB below full scale (RMS), its notes, and the key of
    its noise."""

    level_db: float
    notes: tuple[Tone, ...]
    noise_seed: int


def draw_source(random: np.random.Generator, instrument: int, duration_s: float) -> SoundSource:
    """A melody that begins before the video and goes on past its end."""
    low, high = INSTRUMENTS[instrument].pitch_range
    notes = []
    now = -float(random.uniform(0.0, 0.3))
    while now < duration_s:
        length = float(random.uniform(0.2, 0.55))
        pitch = int(random.integers(low, high + 1))
        notes.append(Tone(_short(now), _short(now + length), pitch, _short(random.uniform(0.6, 1.0))))
        now += length + float(random.uniform(0.0, 0.06))
    return SoundSource(instrument, _short(random.uniform(-22.0, -17.0)), tuple(notes), int(random.integers(2**31)))


def render_stems(sources: tuple[SoundSource, ...], rate_hz: int, duration_s: float) -> npt.NDArray[np.int16]:
    """Stems [sources, S] as int16. Their plain sum, the mixture, stays within int16."""
    samples = round(rate_hz * duration_s)
    stems = np.stack([_render(source, rate_hz, samples) for source in sources])
    peak = float(np.abs(stems.sum(axis=0)).max())
    stems *= min(1.0, LOUDEST / peak) * 32767
    return np.round(stems).astype(np.int16)


def mix(stems: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """The mixture [S] of stems [sources, S]: their exact sum."""
    return np.asarray(stems.sum(axis=0, dtype=np.int32).astype(np.int16))


def _render(source: SoundSource, rate_hz: int, samples: int) -> Waveform:
    """One stem [S] at its level, unquantised."""
    timbre = INSTRUMENTS[source.instrument].timbre
    stem = np.zeros(samples)
    envelope = np.zeros(samples)
    for note in source.notes:
        first = max(0, int(np.ceil(note.start_s * rate_hz)))
        last = min(samples, int((note.end_s + RELEASE_S) * rate_hz))
        if first >= last:
            continue
        time = np.arange(first, last) / rate_hz - note.start_s
        shape = _envelope(timbre, time, note)
        stem[first:last] += _tone(timbre, time, note.pitch, rate_hz) * shape
        envelope[first:last] += shape * _decay(timbre, time)
    if timbre.noise:
        stem += timbre.noise * envelope * _noise(timbre.noise_band_hz, rate_hz, samples, source.noise_seed)
    level = np.sqrt(np.mean(stem**2))
    return np.asarray(stem * (10 ** (source.level_db / 20) / level))


def _envelope(timbre: Timbre, time: Waveform, note: Tone) -> Waveform:
    """Attack, hold and release, before any decay."""
    length = note.end_s - note.start_s
    rise = np.minimum(time / timbre.attack_s, 1.0)
    fall = np.clip((length + RELEASE_S - time) / RELEASE_S, 0.0, 1.0)
    return np.asarray(note.level * rise * fall)


def _tone(timbre: Timbre, time: Waveform, pitch: int, rate_hz: int) -> Waveform:
    frequency = 440.0 * 2 ** ((pitch - 69) / 12)
    phase = 2 * np.pi * frequency * time
    if timbre.vibrato_cents:
        depth = 2 ** (timbre.vibrato_cents / 1200) - 1
        phase += depth * frequency / timbre.vibrato_hz * (1 - np.cos(2 * np.pi * timbre.vibrato_hz * time))
    voices = [1.0, 2 ** (timbre.detune_cents / 1200)] if timbre.detune_cents else [1.0]
    decay = _decay(timbre, time)
    tone = np.zeros_like(time)
    for voice in voices:
        audible = [partial for partial in timbre.partials if partial[0] * voice * frequency < 0.45 * rate_hz]
        for (ratio, amplitude), sine in zip(audible, _sines(voice * phase, [r for r, _ in audible]), strict=True):
            partial = amplitude / len(voices) * sine
            tone += partial * decay ** (0.7 + 0.3 * ratio) if timbre.decay_s else partial
    return tone


def _sines(phase: Waveform, ratios: list[float]) -> Iterator[Waveform]:
    """sin(ratio · phase) for rising ratios; the harmonic ones by sin((k+1)p) = 2 cos p sin kp − sin((k−1)p)."""
    if any(ratio != int(ratio) for ratio in ratios):
        yield from (np.sin(ratio * phase) for ratio in ratios)
        return
    before, now, twice_cos = np.zeros_like(phase), np.sin(phase), 2 * np.cos(phase)
    for k in range(1, int(max(ratios, default=0)) + 1):
        if k in ratios:
            yield now
        before, now = now, twice_cos * now - before


def _decay(timbre: Timbre, time: Waveform) -> Waveform:
    """How a struck or plucked tone dies away; ones for a held tone."""
    return np.exp(-time / timbre.decay_s) if timbre.decay_s else np.ones_like(time)


def _noise(band_hz: tuple[float, float], rate_hz: int, samples: int, seed: int) -> Waveform:
    """Band-limited noise [S] of unit RMS: a piece of a long fixed noise, cut where `seed` says."""
    noise = _long_noise(band_hz, rate_hz)
    first = seed % len(noise)
    return np.resize(np.roll(noise, -first), samples)


@lru_cache(maxsize=16)
def _long_noise(band_hz: tuple[float, float], rate_hz: int) -> Waveform:
    samples = 2**17
    random = np.random.default_rng([round(band_hz[0]), round(band_hz[1]), rate_hz])
    frequencies = np.fft.rfftfreq(samples, 1 / rate_hz)
    spectrum = np.fft.rfft(random.standard_normal(samples))
    spectrum[(frequencies < band_hz[0]) | (frequencies > band_hz[1])] = 0
    noise = np.fft.irfft(spectrum, samples)
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))


def _short(value: float) -> float:
    """Rounded, so that the ground truth is easy to read and says exactly what was rendered."""
    return round(float(value), 4)
