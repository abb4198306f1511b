"""The eight instruments: the timbre, pitch range and, in the easy world, the colour of each. Shapes are in `shapes`."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Timbre:
    """How an instrument sounds.

    Attributes:
        partials: (frequency as a multiple of the note's, amplitude).
        attack_s: time from silence to full level.
        decay_s: time in which the fundamental falls to 1/e; None for a tone that is held. Higher partials fall faster.
        vibrato_hz: rate of the vibrato.
        vibrato_cents: depth of the vibrato.
        detune_cents: distance of a second reed, whose beating is heard; 0 for one voice only.
        noise: level of the breath, bow or hammer noise against the tone.
        noise_band_hz: band of that noise.
    """

    partials: tuple[tuple[float, float], ...]
    attack_s: float
    decay_s: float | None = None
    vibrato_hz: float = 0.0
    vibrato_cents: float = 0.0
    detune_cents: float = 0.0
    noise: float = 0.0
    noise_band_hz: tuple[float, float] = (1000.0, 4000.0)


@dataclass(frozen=True)
class Instrument:
    """One class of the world.

    Attributes:
        name: the label.
        timbre: how it sounds.
        pitch_range: lowest and highest note, MIDI numbers; the ranges overlap, so pitch alone does not tell the class.
        hue: its colour in the easy world, in turns of the colour circle.
    """

    name: str
    timbre: Timbre
    pitch_range: tuple[int, int]
    hue: float


def _harmonic(*amplitudes: float) -> tuple[tuple[float, float], ...]:
    return tuple((float(k), amplitude) for k, amplitude in enumerate(amplitudes, start=1) if amplitude)


def _falling(count: int, power: float) -> tuple[tuple[float, float], ...]:
    return _harmonic(*(k**-power for k in range(1, count + 1)))


INSTRUMENTS: tuple[Instrument, ...] = (
    Instrument(
        "accordion",
        Timbre(_harmonic(1, 0.08, 0.6, 0.06, 0.45, 0.05, 0.35, 0.04, 0.25), attack_s=0.05, detune_cents=18),
        (55, 79),
        hue=0.0,
    ),
    Instrument(
        "bell",  # minor-third bell: hum, prime, tierce, quint, nominal and above
        Timbre(
            ((0.5, 0.5), (1.0, 0.8), (1.19, 0.7), (1.5, 0.4), (2.0, 1.0), (2.51, 0.5), (3.01, 0.4), (4.17, 0.3)),
            attack_s=0.003,
            decay_s=0.9,
        ),
        (58, 82),
        hue=0.125,
    ),
    Instrument("harp", Timbre(_falling(7, 1.5), attack_s=0.004, decay_s=0.35), (52, 78), hue=0.25),
    Instrument(
        "kalimba",  # a clamped bar: the overtones lie far above the fundamental
        Timbre(
            ((1.0, 1.0), (5.4, 0.35), (6.27, 0.12)),
            attack_s=0.003,
            decay_s=0.25,
            noise=0.04,
            noise_band_hz=(500.0, 1500.0),
        ),
        (57, 81),
        hue=0.375,
    ),
    Instrument(
        "ocarina",
        Timbre(
            _harmonic(1, 0.05, 0.03),
            attack_s=0.04,
            vibrato_hz=5,
            vibrato_cents=12,
            noise=0.08,
            noise_band_hz=(2000.0, 5000.0),
        ),
        (62, 84),
        hue=0.5,
    ),
    Instrument("organ", Timbre(_harmonic(1, 0.9, 0.25, 0.7, 0, 0, 0, 0.5), attack_s=0.02), (52, 76), hue=0.625),
    Instrument(
        "trumpet",
        Timbre(_harmonic(0.45, 0.75, 1, 0.95, 0.8, 0.6, 0.45, 0.35, 0.25, 0.18), attack_s=0.03),
        (55, 79),
        hue=0.75,
    ),
    Instrument(
        "violin",
        Timbre(
            _falling(12, 0.9),
            attack_s=0.08,
            vibrato_hz=6,
            vibrato_cents=30,
            noise=0.03,
            noise_band_hz=(2500.0, 5500.0),
        ),
        (55, 81),
        hue=0.875,
    ),
)
"""All classes, by name; a class's number is its place here."""

NAMES: tuple[str, ...] = tuple(instrument.name for instrument in INSTRUMENTS)


@dataclass(frozen=True)
class OfInstrument:
    """What is of one instrument, as it is seen or heard.

    Attributes:
        instrument: class number.
    """

    instrument: int

    def described(self) -> dict[str, Any]:
        """All of it for a ground truth, with the class by its name."""
        return {"class": NAMES[self.instrument]} | {
            name: value for name, value in asdict(self).items() if name != "instrument"
        }
