"""Videos like those of YouTube: 720p H.264 at 1–2 Mbit/s, a keyframe every 2–5 s, stereo AAC, five minutes."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from _looped_video import loop

SIZE = (1280, 720)
FPS = 25
UNIT_S = 24
REPEATS = 12  # 288 s
_KEYFRAMES_S = (0.0, 3.2, 5.4, 10.2, 13.0, 17.4, 19.6)  # 2.2 to 4.8 s apart, in every unit
_RATE_HZ = 44100


def write_youtube_like(path: Path, seed: int) -> Path:
    """Write one as an MP4; another seed shows and plays something else."""
    unit = path.with_name(f"unit-{path.name}")
    _write_unit(unit, seed)
    loop(unit, path, UNIT_S, REPEATS)
    unit.unlink()
    return path


def _write_unit(path: Path, seed: int) -> None:
    """A textured picture that moves behind another that moves otherwise, camera noise over both."""
    generator = np.random.default_rng(seed)
    width, height = SIZE
    background, object_ = _texture(generator, (height, 2 * width)), _texture(generator, (240, 320))
    noise = generator.normal(0, 3, (height + 64, width + 64)).astype(np.float32)
    keyframes = {round(time * FPS) for time in _KEYFRAMES_S}
    with av.open(str(path), "w") as container:
        options = {"preset": "fast", "forced-idr": "1", "x264-params": "keyint=300:min-keyint=1:scenecut=0"}
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.bit_rate = 1_500_000
        sound = container.add_stream("aac", rate=_RATE_HZ, layout="stereo")
        sound.bit_rate = 128_000
        for number in range(UNIT_S * FPS):
            left = number * 3 % width
            picture = background[:, left : left + width].copy()
            x, y = (int(space * (0.5 + 0.45 * np.sin(number * pace))) for space, pace in ((960, 0.021), (480, 0.034)))
            picture[y : y + 240, x : x + 320] = object_
            dx, dy = generator.integers(0, 64, 2)
            picture += noise[dy : dy + height, dx : dx + width, None]
            frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            if number in keyframes:
                frame.pict_type = av.video.frame.PictureType.I
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        piece = av.AudioFrame.from_ndarray(_music(generator), format="fltp", layout="stereo")
        piece.sample_rate, piece.pts, piece.time_base = _RATE_HZ, 0, Fraction(1, _RATE_HZ)
        resampler = av.AudioResampler("fltp", "stereo", _RATE_HZ, frame_size=sound.frame_size)
        for item in (piece, None):
            for part in resampler.resample(item):
                container.mux(sound.encode(part))
        container.mux(sound.encode(None))


def _texture(generator: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Colours [H, W, 3] in 0–255 that vary over all scales, as in photographs: half the contrast at half the size."""
    height, width = shape
    picture = np.full((height, width, 3), 128, np.float32)
    for scale in (120, 60, 30, 15, 8, 4, 2):
        coarse = generator.normal(0, 6 + scale / 4, (height // scale + 2, width // scale + 2, 3)).astype(np.float32)
        picture += coarse.repeat(scale, 0).repeat(scale, 1)[:height, :width]
    return np.clip(picture, 0, 255)


def _music(generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """Notes of harmonics [2, S], a new one every quarter of a second, and a little noise."""
    time = np.arange(UNIT_S * _RATE_HZ) / _RATE_HZ
    pitch = 220 * 2 ** (generator.integers(0, 24, UNIT_S * 4) / 12)
    phase = np.cumsum(pitch.repeat(_RATE_HZ // 4)) * 2 * np.pi / _RATE_HZ
    tone = sum(np.sin(phase * harmonic) / harmonic for harmonic in range(1, 8)) * np.exp(-(time % 0.25) * 8)
    return (0.2 * tone + generator.normal(0, 0.005, (2, len(time)))).astype(np.float32)
