"""The videos of Event-Strips, and what is known of each.

ground_truth/{split}/{id}.json  every parameter; for each segment its kind, what is seen where, and what is heard
ground_truth/{split}/{id}.flac  the sound before AAC

In manifests, as in AVE, a segment's label is the class that is seen and heard; all others have none. Boxes are of that.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.sound.flac import encode_flac
from pipeline.worlds.backgrounds import draw_background
from pipeline.worlds.contract import RenderedVideo, Row, Truth, World
from pipeline.worlds.event_strips.scene import Segment, Strip, draw_strip
from pipeline.worlds.event_strips.settings import EventStripsSettings
from pipeline.worlds.instruments import NAMES
from pipeline.worlds.mp4 import encode_mp4
from pipeline.worlds.picture import Picture, draw_picture
from pipeline.worlds.settings import Split
from pipeline.worlds.sound import render_stems
from pipeline.worlds.sprites import CLASS_FACTS

_FADE_S = 0.015
"""At both ends of a segment, so that nothing of it is heard in the next."""


class EventStrips(World[EventStripsSettings]):
    """Segments in which an instrument is seen and heard, and others that lack something for it."""

    @property
    def facts(self) -> dict[str, Any]:
        """Classes, and finishes kept for the test split."""
        return CLASS_FACTS

    def render(self, split: Split, number: int) -> Iterator[RenderedVideo]:
        """The video of a strip."""
        settings = self.settings
        strip = draw_strip(settings, self.seed, split, number)
        random = np.random.default_rng([strip.noise_seed, 0])
        background = draw_background(strip.background, random, settings.frame_size)
        pictures = [draw_picture(background, segment.sprites) for segment in strip.segments]
        sound = _render_sound(strip, settings)
        (video,) = self.video_ids(split, number)
        truth = {
            "version": 1,
            "id": video,
            "split": split,
            "difficulty": settings.difficulty,
            "frame_size": settings.frame_size,
            "fps": settings.fps,
            "segment_s": settings.segment_s,
            "audio_rate_hz": settings.audio_rate_hz,
            "background": strip.background,
            "noise_seed": strip.noise_seed,
            "room_noise_db": settings.room_noise_db,
            "segments": [_truth(*one) for one in zip(strip.segments, pictures, strict=True)],
            "stem": f"{video}.flac",
        }
        shots = [(picture.image, round(settings.segment_s * settings.fps)) for picture in pictures]
        mp4 = encode_mp4(shots, sound, settings, strip.noise_seed)
        yield RenderedVideo(mp4, truth, {f"{video}.flac": encode_flac(sound[None], settings.audio_rate_hz)})

    def row_of(self, truth: Truth) -> Row:
        """A video's row in the manifest."""
        segments = truth["segments"]
        events = [[] if segment["event"] is None else [segment["event"]] for segment in segments]
        seen = [[sprite["class"] for sprite in segment["sprites"]] for segment in segments]
        return {
            "labels": sorted({name for names in events for name in names}),
            "visible": sorted({name for names in seen for name in names}),
            "segment_labels": events,
            "segment_heard": [_heard_in(segment) for segment in segments],
            "segment_visible": seen,
            "segment_boxes": [
                [sprite["box"] for sprite in segment["sprites"] if sprite["class"] == segment["event"]]
                for segment in segments
            ],
        }


def _heard_in(segment: dict[str, Any]) -> list[str]:
    heard = [] if segment["heard"] is None else [segment["heard"]["class"]]
    return heard if segment["noise_db"] is None else [*heard, "noise"]


def _truth(segment: Segment, picture: Picture) -> dict[str, Any]:
    return {
        "kind": segment.kind,
        "event": None if segment.event is None else NAMES[segment.event],
        "sprites": picture.described(segment.sprites),
        "heard": None if segment.heard is None else segment.heard.described(),
        "noise_db": segment.noise_db,
    }


def _render_sound(strip: Strip, settings: EventStripsSettings) -> npt.NDArray[np.int16]:
    """The sound [S] of all segments."""
    rate = settings.audio_rate_hz
    random = np.random.default_rng([strip.noise_seed, 2])
    bounds = [round(place * settings.segment_s * rate) for place in range(len(strip.segments) + 1)]
    sound = _noise(random, bounds[-1], settings.room_noise_db)
    fade = np.minimum(1.0, np.arange(max(np.diff(bounds))) / (_FADE_S * rate))
    for segment, start, end in zip(strip.segments, bounds, bounds[1:], strict=False):
        edges = np.minimum(fade[: end - start], fade[: end - start][::-1])
        if segment.heard is not None:
            sound[start:end] += edges * render_stems((segment.heard,), rate, settings.segment_s)[0, : end - start]
        if segment.noise_db is not None:
            sound[start:end] += edges * _noise(random, end - start, segment.noise_db)
    return np.clip(np.round(sound), -32768, 32767).astype(np.int16)


def _noise(random: np.random.Generator, samples: int, level_db: float) -> npt.NDArray[np.float64]:
    """White noise [S] in levels of int16."""
    return random.standard_normal(samples) * (10 ** (level_db / 20) * 32767)
