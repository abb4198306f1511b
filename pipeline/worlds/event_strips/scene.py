"""What a strip is: for each of its segments what is seen and what is heard."""

from dataclasses import dataclass

import numpy as np

from pipeline.worlds.backgrounds import BACKGROUNDS
from pipeline.worlds.contract import draw_count, scene_generator
from pipeline.worlds.event_strips.settings import HEARD, SEEN, SEGMENT_KINDS, EventStripsSettings, SegmentKind
from pipeline.worlds.instruments import INSTRUMENTS
from pipeline.worlds.settings import Split
from pipeline.worlds.sound import SoundSource, draw_source
from pipeline.worlds.sprites import Sprite, draw_sprites


@dataclass(frozen=True)
class Segment:
    """One segment.

    Attributes:
        sprites: what is seen, of distinct classes; what is of interest comes first, then its companions.
        heard: the instrument that sounds; None if none does.
        noise_db: level of the noise that is heard in its stead, dB of full scale (RMS); None if there is none.
    """

    kind: SegmentKind
    sprites: tuple[Sprite, ...]
    heard: SoundSource | None
    noise_db: float | None

    @property
    def event(self) -> int | None:
        """Class that is both seen and heard."""
        return self.heard.instrument if self.kind == "seen_and_heard" and self.heard else None


@dataclass(frozen=True)
class Strip:
    """A video.

    Attributes:
        background: name of its family.
        noise_seed: key of the background, of the sensor noise, and of all noise in the sound.
    """

    segments: tuple[Segment, ...]
    background: str
    noise_seed: int


def draw_strip(settings: EventStripsSettings, seed: int, split: Split, number: int) -> Strip:
    """Strip `number` of a split. A pure function of its arguments."""
    random = scene_generator(seed, split, number)
    classes = [int(c) for c in random.permutation(len(INSTRUMENTS))[: settings.classes_per_video]]
    kinds = _draw_kinds(random, settings)
    segments = tuple(_draw_segment(random, settings, split, kind, classes) for kind in kinds)
    return Strip(segments, str(random.choice(sorted(BACKGROUNDS))), int(random.integers(2**31)))


def _draw_kinds(random: np.random.Generator, settings: EventStripsSettings) -> list[SegmentKind]:
    """As many of each as the weights say, what is left over by chance; in random order."""
    weights = np.array([settings.weights.get(kind, 0.0) for kind in SEGMENT_KINDS])
    wanted = weights / weights.sum() * settings.segments
    counts = np.floor(wanted + 1e-9).astype(int)
    left = settings.segments - int(counts.sum())
    if left:
        rest = np.clip(wanted - counts, 0, None)
        # systematic sampling: each kind gets one more as often as its rest says
        bounds = np.cumsum(rest) / rest.sum() * left
        counts += np.bincount(np.searchsorted(bounds, random.random() + np.arange(left)), minlength=len(counts))
    kinds = [kind for kind, count in zip(SEGMENT_KINDS, counts, strict=True) for _ in range(count)]
    return [kinds[int(place)] for place in random.permutation(len(kinds))]


def _draw_segment(
    random: np.random.Generator, settings: EventStripsSettings, split: Split, kind: SegmentKind, classes: list[int]
) -> Segment:
    main, other = (classes[int(place)] for place in random.permutation(len(classes))[:2])
    shown = []
    if kind in SEEN:
        heard_elsewhere = [main, other] if kind == "off_screen" else [main]
        free = [c for c in range(len(INSTRUMENTS)) if c not in heard_elsewhere]
        companions = random.permutation(free)[: draw_count(random, settings.companion_weights)]
        shown = [main, *(int(c) for c in companions)]
    heard = None
    if kind in HEARD:
        heard = draw_source(random, other if kind == "off_screen" else main, settings.segment_s)
    noise_db = round(float(random.uniform(-22.0, -17.0)), 4) if kind == "noise" else None
    return Segment(kind, draw_sprites(random, settings, split, shown), heard, noise_db)
