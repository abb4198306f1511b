"""Videos whose sound is known noise, so that the source time of any piece of it can be found, whatever became of it."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

SECONDS = 12
RATE_HZ = 48000
_FOUND_AT_HZ = 11025


def noise(seed: int = 7, seconds: float = SECONDS, rate_hz: int = RATE_HZ) -> npt.NDArray[np.float32]:
    """Noise [S] between 200 and 3 500 Hz, at most 0.5; of a seed always the same, at any rate."""
    count = round(seconds * RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    heights = np.fft.rfftfreq(count, 1 / RATE_HZ)
    spectrum[(heights > 3500) | (heights < 200)] = 0
    loudest = np.abs(np.fft.irfft(spectrum, count)).max()
    wanted = round(seconds * rate_hz)
    moved = np.zeros(wanted // 2 + 1, complex)
    shared = min(len(moved), len(spectrum))
    moved[:shared] = spectrum[:shared]
    return (np.fft.irfft(moved, wanted) * (wanted / count) * 0.5 / loudest).astype(np.float32)


def source_time(audio: npt.NDArray[np.int16], seed: int = 7, rate_hz: int = _FOUND_AT_HZ) -> tuple[float, float]:
    """When the first sample of audio [S] comes in the noise of a seed (s), and how alike the two are there, 0–1."""
    whole = noise(seed, rate_hz=rate_hz).astype(np.float64)
    heard = audio.astype(np.float64)
    length = 1 << int(np.ceil(np.log2(len(whole) + len(heard))))
    product = np.fft.irfft(np.fft.rfft(whole, length) * np.conj(np.fft.rfft(heard, length)), length)
    lag = int(product[: len(whole)].argmax())
    there = whole[lag : lag + len(heard)]
    alike = float((there * heard[: len(there)]).sum() / max(1e-9, np.linalg.norm(there) * np.linalg.norm(heard)))
    return lag / rate_hz, alike


def ffmpeg(*words: str | Path) -> None:
    """Run ffmpeg."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    done = subprocess.run([program, "-v", "error", "-y", *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def write_video(
    path: Path,
    channels: Sequence[npt.NDArray[np.float32]],
    *words: str,
    layout: str | None = None,
    rate_hz: int = RATE_HZ,
    picture_s: float = SECONDS,
) -> Path:
    """A small moving picture with these channels [S] of sound.

    Args:
        words: ffmpeg's options of the output, codecs among them.
        layout: ffmpeg's name of the channels' layout.
    """
    raw = path.with_suffix(".pcm")
    np.stack([one[: min(map(len, channels))] for one in channels], axis=1).astype("<f4").tofile(raw)
    named = [] if layout is None else ["-channel_layout", layout]
    sound = ["-f", "f32le", "-ar", str(rate_hz), "-ac", str(len(channels)), *named, "-i", str(raw)]
    picture = ["-f", "lavfi", "-i", f"testsrc=size=160x120:rate=25:duration={picture_s}"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25"]
    ffmpeg(*picture, *sound, "-map", "0:v", "-map", "1:a", *coded, *words, path)
    raw.unlink()
    return path


def remux(source: Path, target: Path, without: tuple[float, float] = (0, 0), later_s: float = 0.0) -> Path:
    """The same file without its packets of sound between two times (s from the first), and with its sound later, or
    with its picture later where `later_s` is negative."""
    with av.open(str(source)) as inside, av.open(str(target), "w") as outside:
        streams = {stream.index: outside.add_stream_from_template(stream) for stream in inside.streams}
        begin_s = float(min(stream.start_time * stream.time_base for stream in inside.streams))
        for packet in inside.demux():
            if packet.dts is None:
                continue
            is_sound, at_s = packet.stream.type == "audio", float(packet.pts * packet.time_base) - begin_s
            if is_sound and without[0] <= at_s < without[1]:
                continue
            if is_sound == (later_s > 0):
                packet.pts += round(abs(later_s) / packet.time_base)
                packet.dts += round(abs(later_s) / packet.time_base)
            packet.stream = streams[packet.stream.index]
            outside.mux(packet)
    return target


def joined(
    folder: Path, kinds: Sequence[tuple[int, int]], words: Sequence[str] = ("-c:a", "mp2", "-b:a", "160k")
) -> Path:
    """A transport stream whose sound has other channels and another rate in each third."""
    whole = write_video(folder / "whole.mkv", [noise()], "-c:a", "pcm_s16le")
    third = SECONDS // len(kinds)
    content = b""
    for number, (channels, rate_hz) in enumerate(kinds):
        part = folder / f"{number}.ts"
        coded = ("-c:v", "libx264", "-preset", "ultrafast", *words, "-ac", str(channels), "-ar", str(rate_hz))
        place = ("-output_ts_offset", str(number * third), "-muxdelay", "0", "-muxpreload", "0")
        ffmpeg("-ss", str(number * third), "-t", str(third), "-i", whole, *coded, *place, part)
        content += part.read_bytes()
    path = folder / "joined.ts"
    path.write_bytes(content)
    return path
