"""The videos of Timbre-Scenes, and what is known of each.

ground_truth/{split}/{id}.json      every parameter
ground_truth/{split}/{id}.png       index mask of the sounding instruments: 1 + place in the JSON's "sprites"
ground_truth/{split}/{id}_{n}.flac  stem of the n-th sounding instrument, before AAC
"""

import io
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.sound.flac import encode_flac
from pipeline.worlds.backgrounds import draw_background
from pipeline.worlds.contract import RenderedVideo, Row, Truth, World
from pipeline.worlds.instruments import NAMES
from pipeline.worlds.mp4 import encode_mp4
from pipeline.worlds.picture import Picture, draw_picture
from pipeline.worlds.settings import Split
from pipeline.worlds.sound import mix, render_stems
from pipeline.worlds.sprites import CLASS_FACTS
from pipeline.worlds.timbre_scenes.scene import Scene, draw_scene
from pipeline.worlds.timbre_scenes.settings import TimbreScenesSettings


class TimbreScenes(World[TimbreScenesSettings]):
    """A still of instruments, of which some sound. In validation and test several videos show the same one."""

    @property
    def facts(self) -> dict[str, Any]:
        """Classes, and finishes kept for the test split."""
        return CLASS_FACTS

    def variants(self, split: Split) -> int:
        """Videos of each scene of a split."""
        return 1 if split == "train" else self.settings.variants_per_test_scene

    def render(self, split: Split, number: int) -> Iterator[RenderedVideo]:
        """The videos of a scene."""
        settings = self.settings
        scene = draw_scene(settings, self.seed, split, number)
        picture = picture_of(scene, settings.frame_size)
        shots = [(picture.image, round(settings.fps * settings.duration_s))]
        group = self.group(split, number)
        for variant, video in enumerate(self.video_ids(split, number)):
            stems = render_stems(scene.variants[variant], settings.audio_rate_hz, settings.duration_s)
            truth = _truth(scene, variant, picture, settings) | {"id": video, "split": split, "group": group}
            with_files = settings.stems == "all" or (settings.stems == "test" and split != "train")
            beside = _name_files(truth, picture, stems, settings) if with_files else {}
            yield RenderedVideo(encode_mp4(shots, mix(stems), settings, scene.picture_seed), truth, beside)

    def row_of(self, truth: Truth) -> Row:
        """A video's row in the manifest."""
        return {
            "labels": [source["class"] for source in truth["sounding"]],
            "boxes": [source["box"] for source in truth["sounding"]],
            "visible": [sprite["class"] for sprite in truth["sprites"]],
        }


def picture_of(scene: Scene, size: int) -> Picture:
    """The picture of a scene at `size` × `size` pixels."""
    random = np.random.default_rng([scene.picture_seed, 0])
    return draw_picture(draw_background(scene.background, random, size), scene.sprites)


def _truth(scene: Scene, variant: int, picture: Picture, settings: TimbreScenesSettings) -> Truth:
    place_of = {sprite.instrument: place for place, sprite in enumerate(scene.sprites)}
    sounding = []
    for source in scene.variants[variant]:
        place = place_of[source.instrument]
        sounding.append(
            {
                "class": NAMES[source.instrument],
                "sprite": place,
                "box": picture.box(place),
                "stem": None,
                "level_db": source.level_db,
                "noise_seed": source.noise_seed,
                "notes": [asdict(note) for note in source.notes],
            }
        )
    return {
        "version": 1,
        "id": "",
        "split": "",
        "group": None,
        "difficulty": settings.difficulty,
        "frame_size": settings.frame_size,
        "fps": settings.fps,
        "duration_s": settings.duration_s,
        "audio_rate_hz": settings.audio_rate_hz,
        "background": scene.background,
        "picture_seed": scene.picture_seed,
        "mask": None,
        "sprites": picture.described(scene.sprites),
        "sounding": sounding,
    }


def _name_files(
    truth: Truth, picture: Picture, stems: npt.NDArray[np.int16], settings: TimbreScenesSettings
) -> dict[str, bytes]:
    """Mask and stems of a video; their names are put into its ground truth."""
    truth["mask"] = f"{truth['id']}.png"
    files = {truth["mask"]: _png(picture.mask([source["sprite"] for source in truth["sounding"]]))}
    for number, (source, stem) in enumerate(zip(truth["sounding"], stems, strict=True)):
        source["stem"] = f"{truth['id']}_{number}.flac"
        files[source["stem"]] = encode_flac(stem[None], settings.audio_rate_hz)
    return files


def _png(mask: npt.NDArray[np.uint8]) -> bytes:
    """An index PNG whose pixel values are the mask's, in colours that can be told apart by eye."""
    image = Image.fromarray(mask).convert("P")
    image.putpalette([0, 0, 0, 230, 60, 60, 60, 200, 90, 80, 130, 240, 240, 200, 60, 200, 90, 220] + [255] * 9)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
