"""The videos of Timbre-Scenes, and what is known of each.

ground_truth/{split}/{id}.json      every parameter
ground_truth/{split}/{id}.png       index mask of the sounding instruments: 1 + place in the JSON's "sprites"
ground_truth/{split}/{id}_{n}.flac  stem of the n-th sounding instrument, before AAC
ground_truth/{split}/{id}.keypoints.json  skeletons of players in each frame, as AlphaPose writes them

Boxes and masks are those of instruments, as they are behind the hands and arms of their players.
"""

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.sound.flac import encode_flac
from pipeline.worlds.backgrounds import draw_background
from pipeline.worlds.contract import RenderedVideo, Row, Truth, World
from pipeline.worlds.instruments import NAMES
from pipeline.worlds.mp4 import Shot, encode_mp4
from pipeline.worlds.picture import Picture, draw_picture
from pipeline.worlds.settings import Split
from pipeline.worlds.sound import mix, render_stems
from pipeline.worlds.sprites import CLASS_FACTS
from pipeline.worlds.timbre_scenes.players import alphapose, draw_players
from pipeline.worlds.timbre_scenes.scene import Scene, draw_scene
from pipeline.worlds.timbre_scenes.settings import TimbreScenesSettings
from pipeline.worlds.write import truth_path


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
        played: _Played | None = None
        group = self.group(split, number)
        for variant, video in enumerate(self.video_ids(split, number)):
            stems = render_stems(scene.variants[variant], settings.audio_rate_hz, settings.duration_s)
            truth = _truth(scene, variant, picture, settings) | {"id": video, "split": split, "group": group}
            with_files = settings.stems == "all" or (settings.stems == "test" and split != "train")
            beside = _name_files(truth, picture, stems, settings) if with_files else {}
            if settings.players is not None:
                strokes = scene.strokes(variant, settings.players.silent == "move")
                if played is None or strokes != played.strokes:  # else the same pictures
                    played = _play(scene, strokes, picture, settings)
                    shots = played.shots
                truth["players"] = played.described(scene)
                truth["keypoints"] = f"{video}.keypoints.json"
                beside[truth["keypoints"]] = played.keypoints
            yield RenderedVideo(encode_mp4(shots, mix(stems), settings, scene.picture_seed), truth, beside)

    def row_of(self, truth: Truth) -> Row:
        """A video's row in the manifest."""
        return {
            "labels": [source["class"] for source in truth["sounding"]],
            "boxes": [source["box"] for source in truth["sounding"]],
            "visible": [sprite["class"] for sprite in truth["sprites"]],
            **({"keypoints": truth_path(truth["split"], truth["keypoints"])} if "keypoints" in truth else {}),
        }


def picture_of(scene: Scene, size: int) -> Picture:
    """The picture of a scene at `size` × `size` pixels."""
    random = np.random.default_rng([scene.picture_seed, 0])
    return draw_picture(draw_background(scene.background, random, size), scene.sprites)


@dataclass(frozen=True)
class _Played:
    """What players do in a video.

    Attributes:
        strokes: of each, when it strikes (s).
        shots: the picture with them, frame by frame.
        keypoints: their skeletons, as a file.
    """

    strokes: list[tuple[float, ...]]
    shots: list[Shot]
    keypoints: bytes

    def described(self, scene: Scene) -> list[dict[str, Any]]:
        """For the ground truth."""
        return [asdict(player) | {"strokes_s": own} for player, own in zip(scene.players, self.strokes, strict=True)]


def _play(scene: Scene, strokes: list[tuple[float, ...]], picture: Picture, settings: TimbreScenesSettings) -> _Played:
    times = [frame / settings.fps for frame in range(round(settings.fps * settings.duration_s))]
    poses = [[one.at(time, own) for one, own in zip(scene.players, strokes, strict=True)] for time in times]
    shots = [(draw_players(picture.image, seen, scene.players), 1) for seen in poses]
    return _Played(strokes, shots, alphapose(poses, scene.players, settings.frame_size))


def _truth(scene: Scene, variant: int, picture: Picture, settings: TimbreScenesSettings) -> Truth:
    place_of = {instrument: place for place, instrument in enumerate(scene.classes)}
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
    sprites = picture.described(scene.sprites)
    if settings.players is not None and settings.players.alike:
        pairs = zip(sprites, scene.classes, strict=True)
        sprites = [sprite | {"class": NAMES[sounds], "shape": sprite["class"]} for sprite, sounds in pairs]
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
        "sprites": sprites,
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
