"""Media files changed without being decoded."""

import struct
import subprocess
from pathlib import Path

import imageio_ffmpeg


def remux(out: Path, *words: str) -> Path:
    """What FFmpeg makes of its arguments, all tracks copied."""
    begin = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y"]
    subprocess.run([*begin, *words, "-c", "copy", str(out)], check=True, timeout=60)
    return out


def set_matrix(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Write the display matrix of an MP4's first track, which is its picture."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    numbers = [round(number * 65536) for number in (a, b, 0, c, d, 0, 0, 0)]
    content[place : place + 36] = struct.pack(">9i", *numbers, 1 << 30)
    path.write_bytes(content)
    return path
