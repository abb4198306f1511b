"""A video at a glance: frames with the places that their sound goes with, and below them what happens when."""

import io
from fractions import Fraction

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.evaluate.events.track import BOTH, EventTrack
from pipeline.evaluate.overlay.on_screen import shown
from pipeline.evaluate.overlay.overlay import lay_heat
from pipeline.evaluate.overlay.track import unit_range
from pipeline.evaluate.overlay.video_stream import Pixels
from pipeline.video.video_file import open_video

_MOST_FRAMES, _FRAME_ROWS, _GAP = 10, 150, 4
_LEFT, _LINE, _EDGE, _LEAST_WIDTH = 140, 24, 10, 400
_INK, _PAPER, _EMPTY, _HAPPENS = (60, 60, 67), (255, 255, 255), (240, 240, 243), (29, 92, 171)
_NOTHING = "nothing is both seen and heard"


def draw_events(source: str, track: EventTrack) -> bytes:
    """PNG: up to ten segments evenly spread over the video, each a frame with heat and its class below; then a line a
    class that happens, darker where it is likelier, and one where it is seen or heard, if that is told apart."""
    chosen = _spread(len(track.segments))
    frames = _frames(source, track, chosen)
    happening = sorted({(row["class"], row["what"]) for row in track.rows}) or [(_NOTHING, BOTH)]
    across = max(sum(pixels.shape[1] + _GAP for pixels in frames) - _GAP, _LEAST_WIDTH)
    down = _EDGE + max(pixels.shape[0] for pixels in frames)
    strip = Image.new("RGB", (_LEFT + across + _EDGE, down + _LINE * (len(happening) + 2)), _PAPER)
    draw = ImageDraw.Draw(strip)
    left = _LEFT
    for place, pixels in zip(chosen, frames, strict=True):
        strip.paste(Image.fromarray(pixels), (left, _EDGE))
        _write(draw, left + pixels.shape[1] / 2, down + _LINE / 2, track.surest(place) or "-", "mm")
        left += pixels.shape[1] + _GAP
    for line, (name, what) in enumerate(happening):
        _draw_line(draw, track, name, what, across, down + _LINE * (line + 1))
    for share, anchor in ((0.0, "lm"), (0.25, "mm"), (0.5, "mm"), (0.75, "mm"), (1.0, "rm")):
        below = down + _LINE * (len(happening) + 1.5)
        _write(draw, _LEFT + share * across, below, f"{share * track.end_s:.4g} s", anchor)
    buffer = io.BytesIO()
    strip.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _spread(count: int) -> list[int]:
    """Up to ten places out of so many."""
    places: list[int] = np.unique(np.linspace(0, count - 1, min(_MOST_FRAMES, count)).round().astype(int)).tolist()
    return places


def _frames(source: str, track: EventTrack, places: list[int]) -> list[Pixels]:
    """In the middle of these segments, with heat where the model says where."""
    step = Fraction(track.segment_s).limit_denominator(1_000_000)
    middles = [(int(track.segments[place]) + Fraction(1, 2)) * step for place in places]
    with open_video(source) as video:
        frames = [picture.pixels(_FRAME_ROWS) for _, picture, _ in shown(video, middles)]
    if track.maps is None:
        return frames
    return [
        lay_heat(pixels, unit_range(track.maps[place]), track.square, centres=track.centres)
        for pixels, place in zip(frames, places, strict=True)
    ]


def _draw_line(draw: ImageDraw.ImageDraw, track: EventTrack, name: str, what: str, across: int, top: int) -> None:
    if name == _NOTHING:
        _write(draw, _LEFT + across / 2, top + _LINE / 2, name, "mm")
        return
    _write(draw, _LEFT - 8, top + _LINE / 2, name if what == BOTH else f"{name}, {what}", "rm")
    for segment, likely in zip(track.segments, track.likely(name, what), strict=True):
        begin, end = (_LEFT + (segment + at) * track.segment_s / track.end_s * across for at in (0, 1))
        colour = tuple(round(one + (other - one) * float(likely)) for one, other in zip(_EMPTY, _HAPPENS, strict=True))
        draw.rectangle((begin, top + 2, end - 1, top + _LINE - 2), fill=colour)


def _write(draw: ImageDraw.ImageDraw, x: float, y: float, text: str, anchor: str) -> None:
    draw.text((x, y), text, fill=_INK, font=ImageFont.load_default(size=13), anchor=anchor)
