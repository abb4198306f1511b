"""What a scene is: every parameter of its picture and its sounds, drawn from (seed, split, number) alone."""

from dataclasses import dataclass

from pipeline.worlds.backgrounds import BACKGROUNDS
from pipeline.worlds.contract import draw_count, scene_generator
from pipeline.worlds.instruments import INSTRUMENTS
from pipeline.worlds.settings import Split
from pipeline.worlds.sound import SoundSource, draw_source
from pipeline.worlds.sprites import Sprite, draw_sprites
from pipeline.worlds.timbre_scenes.settings import TimbreScenesSettings


@dataclass(frozen=True)
class Scene:
    """One picture and the sounds of each of its videos.

    Attributes:
        sprites: all instruments seen, of distinct classes, none touching another.
        background: name of its family.
        picture_seed: key of the background and of the sensor noise.
        variants: for each video, what sounds in it; sets of classes that are disjoint and not empty.
    """

    sprites: tuple[Sprite, ...]
    background: str
    picture_seed: int
    variants: tuple[tuple[SoundSource, ...], ...]


def draw_scene(settings: TimbreScenesSettings, seed: int, split: Split, number: int) -> Scene:
    """Scene `number` of a split. A pure function of its arguments, whatever else is drawn and by whom."""
    random = scene_generator(seed, split, number)
    variants = 1 if split == "train" else settings.variants_per_test_scene
    sounding_counts = [draw_count(random, settings.sounding_weights) for _ in range(variants)]
    seen = max(sounding_counts[0] + draw_count(random, settings.silent_weights), variants)
    classes = [int(c) for c in random.permutation(len(INSTRUMENTS))[:seen]]
    sprites = draw_sprites(random, settings, split, classes)
    sets: list[list[int]] = []
    left = list(classes)
    for variant, count in enumerate(sounding_counts):
        count = min(count, len(left) - (variants - variant - 1))  # each later video needs a source too
        sets.append(left[:count])
        left = left[count:]
    return Scene(
        sprites=sprites,
        background=str(random.choice(sorted(BACKGROUNDS))),
        picture_seed=int(random.integers(2**31)),
        variants=tuple(tuple(draw_source(random, c, settings.duration_s) for c in classes) for classes in sets),
    )
