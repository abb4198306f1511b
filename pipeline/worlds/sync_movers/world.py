"""The videos of Sync-Movers, and what is known of each.

ground_truth/{split}/{id}.json  every parameter; of each object the tight box in every frame and the envelope of all
ground_truth/{split}/{id}.flac  the sound before AAC

Manifests hold the envelope of the object that moves with the sound; those of off-screen sounds hold no boxes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.sound.flac import encode_flac
from pipeline.worlds.backgrounds import draw_background
from pipeline.worlds.contract import RenderedVideo, Row, Truth, World
from pipeline.worlds.instruments import NAMES
from pipeline.worlds.mp4 import encode_mp4
from pipeline.worlds.picture import Box, Picture, draw_picture
from pipeline.worlds.settings import SPLITS, Split
from pipeline.worlds.sound import mix, render_stems
from pipeline.worlds.sync_movers.scene import STRUCK, MovingScene, draw_scene
from pipeline.worlds.sync_movers.settings import SyncMoversSettings

_OFF_SCREEN = "_off_screen"


class SyncMovers(World[SyncMoversSettings]):
    """Objects that look alike, of which one moves with the sound, or none. In validation and test several videos show
    the same pictures."""

    @property
    def facts(self) -> dict[str, Any]:
        """What is heard."""
        return {"heard": [NAMES[number] for number in STRUCK]}

    @property
    def manifests(self) -> tuple[str, ...]:
        """Names of its manifests: sounds that go with an object, and others."""
        return (*SPLITS, *(f"{split}{_OFF_SCREEN}" for split in SPLITS)) if self.settings.off_screen_share else SPLITS

    def manifest_of(self, truth: Truth) -> str:
        """The manifest in which a video stands."""
        return f"{truth['split']}{_OFF_SCREEN}" if truth["mover"] is None else str(truth["split"])

    def variants(self, split: Split) -> int:
        """Videos of each scene of a split."""
        return 1 if split == "train" else self.settings.variants_per_test_scene + bool(self.settings.off_screen_share)

    def render(self, split: Split, number: int) -> Iterator[RenderedVideo]:
        """The videos of a scene."""
        settings = self.settings
        scene = draw_scene(settings, self.seed, split, number)
        pictures = _draw_pictures(scene, settings)
        movers = _truth_of_movers(scene, pictures)
        for video, sound in zip(self.video_ids(split, number), scene.sounds, strict=True):
            waveform = mix(render_stems((sound.source,), settings.audio_rate_hz, settings.duration_s))
            truth = {
                "version": 1,
                "id": video,
                "split": split,
                "group": self.group(split, number),
                "frame_size": settings.frame_size,
                "fps": settings.fps,
                "duration_s": settings.duration_s,
                "audio_rate_hz": settings.audio_rate_hz,
                "background": scene.background,
                "picture_seed": scene.picture_seed,
                "move_s": settings.move_s,
                "movers": movers,
                "mover": sound.mover,
                "sound": sound.source.described(),
                "onsets_s": [note.start_s for note in sound.source.notes],
                "stem": f"{video}.flac",
            }
            shots = [(picture.image, 1) for picture in pictures]
            mp4 = encode_mp4(shots, waveform, settings, scene.picture_seed)
            yield RenderedVideo(mp4, truth, {f"{video}.flac": encode_flac(waveform[None], settings.audio_rate_hz)})

    def row_of(self, truth: Truth) -> Row:
        """A video's row in the manifest."""
        mover = truth["mover"]
        return {
            "labels": [truth["sound"]["class"]],
            "boxes": [] if mover is None else [truth["movers"][mover]["envelope"]],
        }


def envelope(boxes: Sequence[Box]) -> Box:
    """The smallest box around all of them."""
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return min(x1), min(y1), max(x2), max(y2)


def _draw_pictures(scene: MovingScene, settings: SyncMoversSettings) -> list[Picture]:
    """What is seen at the presentation time of each frame."""
    random = np.random.default_rng([scene.picture_seed, 0])
    background = draw_background(scene.background, random, settings.frame_size)
    pictures: list[Picture] = []
    before: list[object] = []
    for frame in range(round(settings.fps * settings.duration_s)):
        sprites = [mover.at(frame / settings.fps, settings.move_s) for mover in scene.movers]
        pictures.append(pictures[-1] if sprites == before else draw_picture(background, sprites))
        before = list(sprites)
    return pictures


def _truth_of_movers(scene: MovingScene, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    found = []
    for place, mover in enumerate(scene.movers):
        boxes = [picture.box(place) for picture in pictures]
        look = mover.rest.described()
        found.append(
            {
                "shape": look.pop("class"),
                **look,
                "dx": mover.dx,
                "dy": mover.dy,
                "moves_s": mover.moves_s,
                "envelope": envelope(boxes),
                "boxes": boxes,
            }
        )
    return found
