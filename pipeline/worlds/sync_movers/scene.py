"""What a scene is: objects that look alike, when each of them moves, and what is heard in each of its videos.

The times are drawn for all objects and for a sound off the screen together, in a way that knows no difference between
them, and dealt out after that. So whether the sound goes with an object, and with which, can't be told from picture or
sound alone, whatever is measured in them: what moves most, first, last or regularly, lies in the middle or stands out
is each time as likely one as another.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from pipeline.worlds.backgrounds import BACKGROUNDS
from pipeline.worlds.contract import scene_generator
from pipeline.worlds.finishes import FINISHES
from pipeline.worlds.instruments import INSTRUMENTS
from pipeline.worlds.settings import Split
from pipeline.worlds.sound import SoundSource, Tone
from pipeline.worlds.sprites import Sprite, draw_places
from pipeline.worlds.sync_movers.settings import SyncMoversSettings

STRUCK = tuple(number for number, one in enumerate(INSTRUMENTS) if one.timbre.decay_s is not None)
"""Instruments whose tones begin at once; any of them may be heard with objects of any shape."""
FEWEST_MOVES = 3
"""Movements of each object in a video, and onsets of each sound, at least."""


@dataclass(frozen=True)
class Mover:
    """One object.

    Attributes:
        rest: how it lies between two movements.
        dx, dy: where it is in the middle of a movement, from there, as shares of the frame's side.
        moves_s: when its movements begin, seconds from the video's zero.
    """

    rest: Sprite
    dx: float
    dy: float
    moves_s: tuple[float, ...]

    def at(self, time_s: float, move_s: float) -> Sprite:
        """How it lies at a moment; a movement out and back takes `move_s`."""
        begun = max((begin for begin in self.moves_s if begin <= time_s), default=-math.inf)
        out = math.sin(math.pi * (time_s - begun) / move_s) if time_s < begun + move_s else 0.0
        return replace(self.rest, x=self.rest.x + out * self.dx, y=self.rest.y + out * self.dy)


@dataclass(frozen=True)
class Sound:
    """What is heard in a video.

    Attributes:
        mover: place of the object that moves with it; None where it is off the screen.
        source: its onsets are the beginnings of its notes.
    """

    mover: int | None
    source: SoundSource


@dataclass(frozen=True)
class MovingScene:
    """Objects, and the sounds of each of its videos.

    Attributes:
        background: name of its family.
        picture_seed: key of the background and of the sensor noise.
        sounds: one a video.
    """

    movers: tuple[Mover, ...]
    background: str
    picture_seed: int
    sounds: tuple[Sound, ...]


def draw_scene(settings: SyncMoversSettings, seed: int, split: Split, number: int) -> MovingScene:
    """Scene `number` of a split. A pure function of its arguments."""
    random = scene_generator(seed, split, number)
    tracks = _draw_tracks(random, settings, settings.objects + 1)
    movers = _draw_movers(random, settings, tracks)
    off_screen: list[int | None] = [None] if settings.off_screen_share else []
    if split == "train":
        is_off_screen = random.random() < settings.off_screen_share
        with_sound: list[int | None] = [None if is_off_screen else int(random.integers(settings.objects))]
    else:
        with_sound = [*range(settings.variants_per_test_scene), *off_screen]
    sounds = [Sound(mover, _draw_source(random, tracks[-1 if mover is None else mover])) for mover in with_sound]
    return MovingScene(movers, str(random.choice(sorted(BACKGROUNDS))), int(random.integers(2**31)), tuple(sounds))


def _draw_tracks(random: np.random.Generator, settings: SyncMoversSettings, count: int) -> list[tuple[float, ...]]:
    """Times (s) of `count` objects, no one's favoured."""
    while True:
        tracks: list[list[float]] = [[] for _ in range(count)]
        now = settings.apart_s
        while (now := now + float(random.exponential(settings.spare_s))) < settings.duration_s - settings.move_s:
            free = [track for track in tracks if not track or now - track[-1] >= settings.rest_s]
            if free:
                free[int(random.integers(len(free)))].append(round(now, 4))
            now += settings.apart_s
        if min(map(len, tracks)) >= FEWEST_MOVES:
            return [tuple(track) for track in tracks]


def _draw_movers(
    random: np.random.Generator, settings: SyncMoversSettings, tracks: list[tuple[float, ...]]
) -> tuple[Mover, ...]:
    """Objects of one look, each in a square of its own that it doesn't leave."""
    size, reach = float(random.uniform(settings.min_size, settings.max_size)), settings.reach
    places = draw_places(random, size + reach, size + reach, settings.objects)
    shrink = places[0][2] / (size + reach)
    look = Sprite(
        instrument=int(random.integers(len(INSTRUMENTS))),
        finish=str(random.choice(sorted(FINISHES))),
        x=0.0,
        y=0.0,
        size=round(size * shrink, 4),
        tilt_degrees=round(float(random.uniform(-15.0, 15.0)), 2),
        colour=(
            round(float(random.random()), 4),
            round(float(random.uniform(0.7, 1.0)), 4),
            round(float(random.uniform(0.7, 1.0)), 4),
        ),
        accent=round(float(random.uniform(0.35, 0.55)), 4),
    )
    movers = []
    for (x, y, _), track in zip(places, tracks, strict=False):  # the last one is that of an off-screen sound
        angle = random.uniform(0, 2 * math.pi)
        dx, dy = (round(float(reach * shrink * part), 4) for part in (np.cos(angle), np.sin(angle)))
        movers.append(Mover(replace(look, x=round(x - dx / 2, 4), y=round(y - dy / 2, 4)), dx, dy, track))
    return tuple(movers)


def _draw_source(random: np.random.Generator, onsets_s: tuple[float, ...]) -> SoundSource:
    """A struck instrument with a note at each of `onsets_s`."""
    instrument = int(random.choice(STRUCK))
    low, high = INSTRUMENTS[instrument].pitch_range
    notes = [
        Tone(
            onset, round(onset + 0.3, 4), int(random.integers(low, high + 1)), round(float(random.uniform(0.7, 1.0)), 4)
        )
        for onset in onsets_s
    ]
    return SoundSource(
        instrument, round(float(random.uniform(-24.0, -19.0)), 4), tuple(notes), int(random.integers(2**31))
    )
