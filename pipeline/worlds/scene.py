"""What a scene is: every parameter of its picture and its sounds, drawn from (seed, split, number) alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.worlds.backgrounds import BACKGROUNDS
from pipeline.worlds.finishes import FINISHES, HELD_OUT
from pipeline.worlds.instruments import INSTRUMENTS
from pipeline.worlds.settings import SynthSettings
from pipeline.worlds.sound import SoundSource, draw_source

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Sprite:
    """One instrument in the picture.

    Attributes:
        instrument: class number.
        finish: name of its finish.
        x: horizontal centre of its square, as a share of the frame's side.
        y: vertical centre, downwards.
        size: side of the square, as a share of the frame's side.
        tilt_degrees: turn, clockwise.
        colour: hue, saturation and value, each in 0–1.
        accent: value of its detail and second colour, as a factor on the colour's value.
    """

    instrument: int
    finish: str
    x: float
    y: float
    size: float
    tilt_degrees: float
    colour: tuple[float, float, float]
    accent: float


@dataclass(frozen=True)
class Scene:
    """One picture and the sounds of each of its videos.

    Attributes:
        id: `train_000012`; the videos of a group add a letter.
        split: train, validation or test.
        sprites: all instruments seen, of distinct classes, none touching another.
        background: name of its family.
        picture_seed: key of the background and of the sensor noise.
        variants: for each video, what sounds in it; sets of classes that are disjoint and not empty.
    """

    id: str
    split: Split
    sprites: tuple[Sprite, ...]
    background: str
    picture_seed: int
    variants: tuple[tuple[SoundSource, ...], ...]

    def video_id(self, variant: int) -> str:
        """Id of one of its videos: the scene's own where there is only one."""
        return self.id if self.split == "train" else f"{self.id}{'abcd'[variant]}"


def scene_id(split: Split, number: int) -> str:
    """Id of a scene."""
    return f"{split}_{number:06d}"


def draw_scene(settings: SynthSettings, seed: int, split: Split, number: int) -> Scene:
    """Scene `number` of a split. A pure function of its arguments, whatever else is drawn and by whom."""
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, SPLITS.index(split), number])))
    variants = 1 if split == "train" else settings.variants_per_test_scene
    sounding_counts = [_draw_count(random, settings.sounding_weights) for _ in range(variants)]
    seen = max(sounding_counts[0] + _draw_count(random, settings.silent_weights), variants)
    classes = [int(c) for c in random.permutation(len(INSTRUMENTS))[:seen]]
    sprites = _draw_sprites(random, settings, split, classes)
    sets: list[list[int]] = []
    left = list(classes)
    for variant, count in enumerate(sounding_counts):
        count = min(count, len(left) - (variants - variant - 1))  # each later video needs a source too
        sets.append(left[:count])
        left = left[count:]
    return Scene(
        id=scene_id(split, number),
        split=split,
        sprites=sprites,
        background=str(random.choice(sorted(BACKGROUNDS))),
        picture_seed=int(random.integers(2**31)),
        variants=tuple(tuple(draw_source(random, c, settings.duration_s) for c in classes) for classes in sets),
    )


def _draw_count(random: np.random.Generator, weights: Mapping[int, float]) -> int:
    counts = sorted(weights)
    shares = np.array([weights[count] for count in counts], float)
    return int(random.choice(counts, p=shares / shares.sum()))


def _draw_sprites(
    random: np.random.Generator, settings: SynthSettings, split: Split, classes: list[int]
) -> tuple[Sprite, ...]:
    places = _draw_places(random, settings, len(classes))
    sprites = []
    for instrument, (x, y, size) in zip(classes, places, strict=True):
        held_out = split == "test" and random.random() < settings.held_out_share
        finishes = [HELD_OUT[instrument]] if held_out else [f for f in FINISHES if f != HELD_OUT[instrument]]
        own_hue, any_hue = random.normal(INSTRUMENTS[instrument].hue, 0.012), random.random()
        hue = own_hue if settings.difficulty == "easy" else any_hue
        sprites.append(
            Sprite(
                instrument=instrument,
                finish=str(random.choice(finishes)),
                x=x,
                y=y,
                size=size,
                tilt_degrees=round(float(random.uniform(-15.0, 15.0)), 2),
                colour=(
                    round(float(hue) % 1.0, 4),
                    round(float(random.uniform(0.7, 1.0)), 4),
                    round(float(random.uniform(0.7, 1.0)), 4),
                ),
                accent=round(float(random.uniform(0.35, 0.55)), 4),
            )
        )
    return tuple(sprites)


def _draw_places(random: np.random.Generator, settings: SynthSettings, count: int) -> list[tuple[float, float, float]]:
    """Squares (x, y, size) that lie inside the frame and apart from one another."""
    shrink = 1.0
    while True:
        for _ in range(20):
            places = _try_places(random, random.uniform(settings.min_size, settings.max_size, count) * shrink)
            if places is not None:
                # those placed late lie nearer to the edges: shuffled, so that no class or role does
                return [places[int(i)] for i in random.permutation(count)]
        shrink *= 0.93


def _try_places(
    random: np.random.Generator, sizes: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"
) -> list[tuple[float, float, float]] | None:
    places: list[tuple[float, float, float]] = []
    for size in sizes:
        for _ in range(25):
            x, y = random.uniform(size / 2, 1 - size / 2, 2)
            if all(max(abs(x - px), abs(y - py)) > (size + other) / 2 + 0.015 for px, py, other in places):
                places.append((round(float(x), 4), round(float(y), 4), round(float(size), 4)))
                break
        else:
            return None
    return places
