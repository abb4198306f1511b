"""What a scene is: every parameter of its picture and its sounds, drawn from (seed, split, number) alone."""

from dataclasses import dataclass, replace

import numpy as np

from pipeline.worlds.backgrounds import BACKGROUNDS
from pipeline.worlds.contract import draw_count, scene_generator
from pipeline.worlds.finishes import FINISHES
from pipeline.worlds.instruments import INSTRUMENTS
from pipeline.worlds.settings import Split
from pipeline.worlds.sound import SoundSource, draw_source
from pipeline.worlds.sprites import Sprite, draw_sprites
from pipeline.worlds.timbre_scenes.players import Player, hands_of
from pipeline.worlds.timbre_scenes.settings import TimbreScenesSettings


@dataclass(frozen=True)
class Scene:
    """One picture and the sounds of each of its videos.

    Attributes:
        sprites: all instruments seen, none touching another.
        classes: of each of them, how it sounds; all distinct. Where instruments look alike a sprite doesn't tell it.
        background: name of its family.
        picture_seed: key of the background and of the sensor noise.
        variants: for each video, what sounds in it; sets of classes that are disjoint and not empty.
        players: one an instrument, or none at all.
        unheard: what those play who are heard in none of the videos, and move all the same.
    """

    sprites: tuple[Sprite, ...]
    classes: tuple[int, ...]
    background: str
    picture_seed: int
    variants: tuple[tuple[SoundSource, ...], ...]
    players: tuple[Player, ...] = ()
    unheard: tuple[SoundSource, ...] = ()

    def strokes(self, variant: int, silent_move: bool) -> list[tuple[float, ...]]:
        """When each player strikes in a video, seconds from its zero."""
        others = [*self.unheard, *(source for sources in self.variants for source in sources)]
        playing = {source.instrument: source for source in (others if silent_move else self.variants[variant])}
        return [tuple(note.start_s for note in playing[c].notes) if c in playing else () for c in self.classes]


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
    scene = Scene(
        sprites=sprites,
        classes=tuple(classes),
        background=str(random.choice(sorted(BACKGROUNDS))),
        picture_seed=int(random.integers(2**31)),
        variants=tuple(tuple(draw_source(random, c, settings.duration_s) for c in classes) for classes in sets),
    )
    return scene if settings.players is None else _with_players(random, scene, settings)


def _with_players(random: np.random.Generator, scene: Scene, settings: TimbreScenesSettings) -> Scene:
    """The scene with a player beside each instrument; drawn last, so that all else is as without."""
    assert settings.players is not None
    persons = random.permutation(len(scene.sprites))
    players = tuple(
        Player(one.x, one.y, one.size, int(random.choice((-1, 1))), int(person))
        for one, person in zip(scene.sprites, persons, strict=True)
    )
    if settings.players.hands == "own":
        players = tuple(replace(one, hands=hands_of(c)) for one, c in zip(players, scene.classes, strict=True))
    heard = {source.instrument for sources in scene.variants for source in sources}
    unheard = tuple(draw_source(random, c, settings.duration_s) for c in scene.classes if c not in heard)
    look = replace(
        scene.sprites[0], instrument=int(random.integers(len(INSTRUMENTS))), finish=str(random.choice(sorted(FINISHES)))
    )
    look = replace(look, colour=(round(float(random.random()), 4), *look.colour[1:]))
    sprites = []
    for sprite, player in zip(scene.sprites, players, strict=True):
        x, y, size = player.instrument(sprite)
        sprites.append(replace(look if settings.players.alike else sprite, x=x, y=y, size=size))
    return replace(scene, sprites=tuple(sprites), players=players, unheard=unheard)
