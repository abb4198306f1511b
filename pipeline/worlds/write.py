"""Rendering the videos of one scene and writing them with their ground truth."""

import io
import json
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cluster import storage
from pipeline.sound.flac import encode_flac
from pipeline.worlds.instruments import NAMES
from pipeline.worlds.mp4 import encode_mp4
from pipeline.worlds.picture import ScenePicture, draw_picture
from pipeline.worlds.scene import Scene
from pipeline.worlds.settings import SynthSettings
from pipeline.worlds.sound import mix, render_stems

Row = dict[str, Any]
"""One row of a manifest."""
Truth = dict[str, Any]
"""The ground truth of one video, as its JSON says it."""


def video_path(split: str, video: str) -> str:
    """Place of a video in the world's folder."""
    return f"videos/{split}/{video}.mp4"


def truth_path(split: str, video: str) -> str:
    """Place of a video's ground truth in the world's folder."""
    return f"ground_truth/{split}/{video}.json"


def row_of(truth: Truth) -> Row:
    """A video's row in the manifest, made from its ground truth."""
    row = {
        "video": truth["id"],
        "source": video_path(truth["split"], truth["id"]),
        "labels": [source["class"] for source in truth["sounding"]],
        "split": truth["split"],
        "boxes": [source["box"] for source in truth["sounding"]],
        "visible": [sprite["class"] for sprite in truth["sprites"]],
        "extra": {"ground_truth": truth_path(truth["split"], truth["id"])},
    }
    if truth["group"] is not None:
        row["group"] = truth["group"]
    return row


def read_truth(out: str, split: str, video: str) -> Truth | None:
    """The ground truth that an earlier run wrote; None where it is torn (a power cut) and must be made again."""
    try:
        truth = json.loads(storage.read_text(storage.join(out, truth_path(split, video))))
    except json.JSONDecodeError:
        return None
    return truth if isinstance(truth, dict) else None


def write_scene(scene: Scene, settings: SynthSettings, out: str) -> list[Truth]:
    """Render all videos of a scene; each one's JSON is written behind its other files."""
    picture = draw_picture(scene, settings.frame_size)
    truths = []
    for variant, sources in enumerate(scene.variants):
        stems = render_stems(sources, settings.audio_rate_hz, settings.duration_s)
        video = encode_mp4(picture.image, mix(stems), settings, scene.picture_seed)
        truth = _truth(scene, variant, picture, settings)
        name = truth["id"]
        _write(out, video_path(scene.split, name), video)
        folder = f"ground_truth/{scene.split}"
        if truth["mask"] is not None:
            places = [source["sprite"] for source in truth["sounding"]]
            _write(out, f"{folder}/{truth['mask']}", _png(picture.mask(places)))
        for source, stem in zip(truth["sounding"], stems, strict=True):
            if source["stem"] is not None:
                _write(out, f"{folder}/{source['stem']}", encode_flac(stem[None], settings.audio_rate_hz))
        _write(out, truth_path(scene.split, name), json.dumps(truth).encode())
        truths.append(truth)
    return truths


def _truth(scene: Scene, variant: int, picture: ScenePicture, settings: SynthSettings) -> Truth:
    video = scene.video_id(variant)
    with_files = settings.stems == "all" or (settings.stems == "test" and scene.split != "train")
    place_of = {sprite.instrument: place for place, sprite in enumerate(scene.sprites)}
    sounding = []
    for number, source in enumerate(scene.variants[variant]):
        place = place_of[source.instrument]
        sounding.append(
            {
                "class": NAMES[source.instrument],
                "sprite": place,
                "box": picture.box(place),
                "stem": f"{video}_{number}.flac" if with_files else None,
                "level_db": source.level_db,
                "noise_seed": source.noise_seed,
                "notes": [asdict(note) for note in source.notes],
            }
        )
    sprites = []
    for place, sprite in enumerate(scene.sprites):
        look = {name: value for name, value in asdict(sprite).items() if name != "instrument"}
        sprites.append({"class": NAMES[sprite.instrument], "box": picture.box(place), **look})
    return {
        "version": 1,
        "id": video,
        "split": scene.split,
        "group": None if scene.split == "train" else scene.id,
        "difficulty": settings.difficulty,
        "frame_size": settings.frame_size,
        "fps": settings.fps,
        "duration_s": settings.duration_s,
        "audio_rate_hz": settings.audio_rate_hz,
        "background": scene.background,
        "picture_seed": scene.picture_seed,
        "mask": f"{video}.png" if with_files else None,
        "sprites": sprites,
        "sounding": sounding,
    }


def _write(out: str, path: str, content: bytes) -> None:
    # a world can be rendered again: waiting for the disk at every small file would halve the speed
    storage.write_bytes(storage.join(out, path), content, durable=False)


def _png(mask: npt.NDArray[np.uint8]) -> bytes:
    """An index PNG whose pixel values are the mask's, in colours that can be told apart by eye."""
    image = Image.fromarray(mask).convert("P")
    image.putpalette([0, 0, 0, 230, 60, 60, 60, 200, 90, 80, 130, 240, 240, 200, 60, 200, 90, 220] + [255] * 9)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
