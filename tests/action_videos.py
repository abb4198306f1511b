"""A small set of videos in the form of UCF101: folders of classes, AVI with MP3, videos without sound among them, and
three splits that keep a group's videos together.

    Swing/v_Swing_g01_c01.avi        JumpBell and JumpDrum move alike and sound differently;
    splits/trainlist01.txt           the others are told by how they move, and sound like anything
    splits/testlist01.txt            every fifth of them has no audio track
"""

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

SIDE, FPS, SECONDS, RATE_HZ = 64, 25, 3.6, 44100
SPLITS = 3
_Way = Callable[[npt.NDArray[np.float64], float], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]


def _jump(time_s: npt.NDArray[np.float64], rate_hz: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    return 0 * time_s, -np.abs(np.sin(np.pi * rate_hz * time_s))


MOTIONS: dict[str, _Way] = {
    "JumpBell": _jump,
    "JumpDrum": _jump,
    "Shake": lambda time_s, rate_hz: (0.3 * np.sin(6 * np.pi * rate_hz * time_s), 0 * time_s),
    "Swing": lambda time_s, rate_hz: (np.sin(np.pi * rate_hz * time_s), 0 * time_s),
    "Turn": lambda time_s, rate_hz: (np.cos(np.pi * rate_hz * time_s), np.sin(np.pi * rate_hz * time_s)),
}
"""By class, how a square moves, in amplitudes."""


def write_actions(folder: Path, groups: int = 12, clips: int = 2) -> list[str]:
    """Write videos and splits; every third group is tested on in one of them. Gives the classes."""
    lists: dict[str, list[str]] = {}
    for label, name in enumerate(MOTIONS):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for group in range(groups):
            for clip in range(clips):
                place = f"{name}/v_{name}_g{group + 1:02}_c{clip + 1:02}.avi"
                mute = (group * clips + clip) % 5 == 4
                _write(folder / place, name, np.random.default_rng((label, group, clip)), mute)
                for split in range(SPLITS):
                    kind, number = ("test", "") if group % SPLITS == split else ("train", f" {label + 1}")
                    lists.setdefault(f"{kind}list0{split + 1}.txt", []).append(f"{place}{number}\n")
    (folder / "splits").mkdir(exist_ok=True)
    for name, lines in lists.items():
        (folder / "splits" / name).write_text("".join(lines))
    return list(MOTIONS)


def _write(path: Path, name: str, random: np.random.Generator, mute: bool) -> None:
    frames = round(SECONDS * FPS)
    rate_hz, reach, size = random.uniform(1.3, 1.8), random.uniform(12, 16), int(random.integers(10, 15))
    x, y = MOTIONS[name](np.arange(frames) / FPS + random.uniform(0, 2), rate_hz)
    middle = random.uniform(26, 38, 2) - size / 2
    ground = np.kron(random.integers(40, 160, (8, 8, 3)), np.ones((8, 8, 1), np.int64)).astype(np.uint8)
    colour = random.integers(0, 256, 3)
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", rate=FPS, options={"qscale": "4"})
        picture.width, picture.height, picture.pix_fmt = SIDE, SIDE, "yuv420p"
        sound = None
        if not (mute and not name.startswith("Jump")):
            sound = out.add_stream("libmp3lame", rate=RATE_HZ, layout="mono")
        for number in range(frames):
            shown = ground.copy()
            left, top = (round(float(one)) for one in middle + reach * np.array([x[number], y[number]]))
            shown[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = colour
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(picture.encode(frame))
        out.mux(picture.encode())
        if sound is not None:
            heard = av.AudioFrame.from_ndarray(_strokes(name, rate_hz, random)[None], format="fltp", layout="mono")
            heard.rate, heard.pts = RATE_HZ, 0
            out.mux(sound.encode(heard))
            out.mux(sound.encode())


def _strokes(name: str, rate_hz: float, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Strokes of a bell or a drum; of what is told by how it moves either."""
    bell = name == "JumpBell" or (name != "JumpDrum" and random.random() < 0.5)
    time_s = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
    since_s = (time_s + random.uniform(0, 1)) % (1 / rate_hz)
    if bell:
        voice = np.sin(2 * np.pi * random.uniform(1200, 2400) * time_s) * np.exp(-4 * since_s)
    else:
        voice = np.sin(2 * np.pi * random.uniform(80, 160) * time_s) * np.exp(-14 * since_s)
    return (0.4 * voice + random.normal(0, 0.005, len(time_s))).astype(np.float32)


if __name__ == "__main__":
    print(" ".join(write_actions(Path(sys.argv[1]))))
