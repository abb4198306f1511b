"""A strip of frames with heat, times below: the video at a glance."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.evaluate.overlay.on_screen import displayed
from pipeline.evaluate.overlay.overlay import lay_heat
from pipeline.evaluate.overlay.track import MapTrack
from pipeline.evaluate.overlay.video_stream import Pixels
from pipeline.video.video_file import open_video

_MOST_FRAMES = 8
_ROWS, _GAP, _CAPTION = 240, 8, 28
_INK, _PAPER = (60, 60, 67), (255, 255, 255)


def draw_strip(source: str, track: MapTrack) -> bytes:
    """PNG of up to eight moments of the track, evenly spread over it."""
    count = min(_MOST_FRAMES, len(track.times_s))
    chosen = np.unique(np.linspace(0, len(track.times_s) - 1, count).round().astype(int))
    times = [track.times_s[index] for index in chosen]
    with open_video(source) as video:
        frames = [(float(time), _drawn(pixels, float(time), track)) for time, pixels in displayed(video, times, _ROWS)]
    width = sum(pixels.shape[1] for _, pixels in frames) + _GAP * (len(frames) - 1)
    height = max(pixels.shape[0] for _, pixels in frames)
    strip = Image.new("RGB", (width, height + _CAPTION), _PAPER)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(size=15)
    left = 0
    for time, pixels in frames:
        strip.paste(Image.fromarray(pixels), (left, 0))
        middle = left + pixels.shape[1] / 2
        draw.text((middle, height + _CAPTION / 2), f"{time:.1f} s", fill=_INK, font=font, anchor="mm")
        left += pixels.shape[1] + _GAP
    buffer = io.BytesIO()
    strip.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _drawn(pixels: Pixels, time_s: float, track: MapTrack) -> Pixels:
    heat = track.heat(time_s)
    return pixels if heat is None else lay_heat(pixels, heat, track.square, centres=track.centres)
