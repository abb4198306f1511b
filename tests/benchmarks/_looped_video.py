"""Long videos for measurements, made quickly: a short one is encoded and its packets are repeated."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE_HZ = 44100


def write_looped(path: Path, unit_s: int, repeats: int, size: tuple[int, int], fps: int = 25, gop: int = 250) -> Path:
    """An MP4 (H.264, AAC) of `repeats` times `unit_s` seconds, every repeat beginning with a keyframe."""
    unit = path.with_name(f"unit-{path.name}")
    _write_unit(unit, unit_s, size, fps, gop)
    loop(unit, path, unit_s, repeats)
    unit.unlink()
    return path


def loop(unit: Path, path: Path, unit_s: int, repeats: int) -> None:
    """Write the packets of `unit`, an MP4 of `unit_s` seconds, `repeats` times one after the other."""
    with av.open(str(path), "w") as out:
        with av.open(str(unit)) as first:
            tracks = (first.streams.video[0], first.streams.audio[0])
            streams = [out.add_stream_from_template(track) for track in tracks]
        for repeat in range(repeats):
            with av.open(str(unit)) as source:
                for packet in source.demux():
                    if packet.pts is None or packet.dts is None:
                        continue
                    # the encoder's priming only once, and nothing that reaches into the next repeat
                    if (repeat and packet.pts < 0) or packet.pts * packet.time_base >= unit_s:
                        continue
                    shift = round(repeat * unit_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream_index]
                    out.mux(packet)


def _write_unit(path: Path, seconds: int, size: tuple[int, int], fps: int, gop: int) -> None:
    width, height = size
    blocks = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = blocks.repeat(8, 0).repeat(8, 1)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(seconds * RATE_HZ) / RATE_HZ)
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "x264-params": f"keyint={gop}:scenecut=0", "crf": "28"}
        video = container.add_stream("libx264", rate=fps, options=options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for number in range(seconds * fps):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, number * 2, axis=1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        piece = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), format="fltp", layout="mono")
        piece.sample_rate, piece.pts, piece.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        resampler = av.AudioResampler("fltp", "mono", RATE_HZ, frame_size=sound.frame_size)
        for item in (piece, None):
            for part in resampler.resample(item):
                container.mux(sound.encode(part))
        container.mux(sound.encode(None))
