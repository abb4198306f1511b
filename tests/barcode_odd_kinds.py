"""Kinds of video whose container says what isn't so: made of ordinary ones by patching and joining their bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from barcode_kinds import CLICKS_S, FPS, SECONDS
from barcode_video import RATE_HZ, clicks, write_video
from media_patches import remux, set_matrix

Pixels = npt.NDArray[np.uint8]
SOUND = clicks(SECONDS, CLICKS_S)
_X264 = "scenecut=0:keyint={0}:min-keyint={0}"


@dataclass(frozen=True)
class OddKind:
    """A kind of video.

    Attributes:
        write: writes one into a folder.
        refused: whether nothing in it can be told to be right, so that it must be refused.
        own_only: whether `gavt prepare` reads it, and foreign shards refuse it.
        usual: whether it is tested always.
    """

    name: str
    write: Callable[[Path], Path]
    refused: bool = False
    own_only: bool = False
    usual: bool = False

    def __str__(self) -> str:
        return self.name


def _plain(name: str, **how: Any) -> Callable[[Path], Path]:
    return lambda folder: write_video(folder / name, SECONDS, audio=SOUND, **how)


def _intra_refresh(name: str, keyint: int, b_frames: int = 0) -> Callable[[Path], Path]:
    params = f"{_X264.format(keyint)}:intra-refresh=1:bframes={b_frames}"
    return _plain(name, options={"x264-params": params})


def _all_flagged(name: str, **how: Any) -> Callable[[Path], Path]:
    """Every packet flagged as keyframe: MP4 without its table of keyframes, or flags in Matroska."""

    def write(folder: Path) -> Path:
        path = write_video(folder / name, SECONDS, audio=SOUND, **how)
        if path.suffix in (".mp4", ".mov"):
            path.write_bytes(path.read_bytes().replace(b"stss", b"free"))
            return path
        return _flagged(path, lambda number: True)

    return write


def _flagged(path: Path, flag: Callable[[int], bool]) -> Path:
    """The file with other flags on the packets of its picture."""
    out = path.with_name(f"flagged{path.suffix}")
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        copies = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        number = 0
        for packet in source.demux():
            if not packet.size:
                continue
            if packet.stream.type == "video":
                packet.is_keyframe = flag(number)
                number += 1
            packet.stream = copies[packet.stream_index]
            target.mux(packet)
    return out


def _only_the_first_flagged(folder: Path) -> Path:
    return _flagged(write_video(folder / "first.mkv", SECONDS, audio=SOUND), lambda number: number == 0)


def _part(path: Path, begin_s: float, end_s: float, **how: Any) -> Path:
    sound = SOUND[:, round(begin_s * RATE_HZ) : round(end_s * RATE_HZ)]
    return write_video(path, end_s - begin_s, audio=sound, first_number=round(begin_s * FPS), **how)


def _joined(name: str, *sizes: tuple[int, int], **how: Any) -> Callable[[Path], Path]:
    """As many parts as sizes, one behind the other, each with a clock from zero."""

    def write(folder: Path) -> Path:
        each_s = SECONDS / len(sizes)
        parts = [
            _part(folder / f"{place}{Path(name).suffix}", place * each_s, (place + 1) * each_s, size=size, **how)
            for place, size in enumerate(sizes)
        ]
        (folder / name).write_bytes(b"".join(part.read_bytes() for part in parts))
        return folder / name

    return write


def _only_sound_starts_again(folder: Path) -> Path:
    one, other = (_part(folder / f"{begin}.ts", begin, begin + 4) for begin in (0, 4))
    late = remux(
        folder / "late.ts", "-itsoffset", "4", "-i", str(other), "-i", str(other), "-map", "0:v", "-map", "1:a"
    )
    out = folder / "sound.ts"
    out.write_bytes(one.read_bytes() + late.read_bytes())
    return out


# display matrix, and how a picture has to be stored so that the matrix makes it upright
MIRRORS: dict[str, tuple[tuple[int, int, int, int], Callable[[Pixels], Pixels]]] = {
    "hflip": ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
    "vflip": ((1, 0, 0, -1), lambda picture: picture[::-1]),
    "transpose": ((0, 1, 1, 0), lambda picture: picture.transpose(1, 0, 2)),
    "antitranspose": ((0, -1, -1, 0), lambda picture: picture[::-1, ::-1].transpose(1, 0, 2)),
}


def _mirrored(name: str, cut: bool = False) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        matrix, coded_as = MIRRORS[name]
        path = write_video(folder / "m.mp4", SECONDS, audio=SOUND, coded_as=coded_as)
        if cut:
            path = remux(folder / "cut.mp4", "-ss", "1.52", "-i", str(path))
        return set_matrix(path, *matrix)

    return write


def _flat_matrix(folder: Path) -> Path:
    return set_matrix(write_video(folder / "flat.mp4", SECONDS, audio=SOUND), 0, 0, 0, 0)


def _aspect_changes(folder: Path) -> Path:
    half = SECONDS / 2
    how: dict[str, Any] = {"options": {"x264-params": f"{_X264.format(30)}:bframes=0"}, "audio_codec": None}
    one = _part(folder / "1.ts", 0, half, pixel_aspect=Fraction(1), **how)
    other = _part(folder / "2.ts", half, SECONDS, pixel_aspect=Fraction(16, 11), start_s=half, **how)
    joined = folder / "joined.ts"
    joined.write_bytes(one.read_bytes() + other.read_bytes())
    whole = write_video(folder / "whole.mp4", SECONDS, audio=SOUND)  # for the sound, which has no seam there
    return remux(folder / "aspect.ts", "-i", str(joined), "-i", str(whole), "-map", "0:v", "-map", "1:a")


def _without_its_first_keyframe(folder: Path) -> Path:
    path = write_video(
        folder / "whole.mp4", SECONDS, audio=SOUND, options={"x264-params": f"{_X264.format(30)}:bframes=0"}
    )
    out = folder / "beheaded.mp4"
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        copies = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for number, packet in enumerate(source.demux()):
            if packet.size and not (packet.stream.type == "video" and packet.pts == 0 and number < 50):
                packet.stream = copies[packet.stream_index]
                target.mux(packet)
    return out


def _few_frames(folder: Path) -> Path:
    return write_video(folder / "few.mkv", 0.2, audio=SOUND)


def _mpeg_4_cut_between_keyframes(folder: Path) -> Path:
    """A file whose first pictures refer to what was cut off, all flagged."""
    path = write_video(folder / "a.mkv", SECONDS, audio=SOUND, codec="mpeg4", gop=30)
    out = folder / "cut.mkv"
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        copies = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if not packet.size or (packet.stream.type == "video" and packet.pts * packet.time_base < 0.5):
                continue
            packet.is_keyframe = True
            packet.stream = copies[packet.stream_index]
            target.mux(packet)
    return out


SIZE, SMALL = (280, 160), (168, 96)
ODD_KINDS = [
    OddKind("H.264, intra refresh, mp4", _intra_refresh("ir.mp4", 50), usual=True),
    OddKind("H.264, intra refresh, B-frames, mkv", _intra_refresh("ir.mkv", 80, 2)),
    OddKind("H.264, intra refresh, ts", _intra_refresh("ir.ts", 60)),
    OddKind("H.264, intra refresh, flv", _intra_refresh("ir.flv", 40)),
    OddKind("H.264, intra refresh, one keyframe, mp4", _intra_refresh("ir1.mp4", 250, 2)),
    OddKind("H.264, all flagged, mp4", _all_flagged("f.mp4")),
    OddKind("H.265, all flagged, mp4", _all_flagged("f.mp4", codec="libx265")),
    OddKind("H.265, all flagged, mkv", _all_flagged("f.mkv", codec="libx265")),
    OddKind("MPEG-4, all flagged, mp4", _all_flagged("f.mp4", codec="mpeg4"), usual=True),
    OddKind(
        "MPEG-2, all flagged, mp4",
        _all_flagged("f.mp4", codec="mpeg2video", options={"bf": "2"}, frames_per_second_clock=True),
    ),
    OddKind("MPEG-1, all flagged, mkv", _all_flagged("f.mkv", codec="mpeg1video", frames_per_second_clock=True)),
    OddKind("H.263, all flagged, mov", _all_flagged("f.mov", codec="h263", size=(352, 288))),
    OddKind("AV1, all flagged, mp4", _all_flagged("f.mp4", codec="libsvtav1")),
    OddKind("VP9, all flagged, mp4", _all_flagged("f.mp4", codec="libvpx-vp9")),
    OddKind(
        "WMV 8, all flagged, asf", _all_flagged("f.asf", codec="wmv2", audio_codec="wmav2"), own_only=True, usual=True
    ),
    OddKind("MS-MPEG-4, all flagged, mkv", _all_flagged("f.mkv", codec="msmpeg4")),
    OddKind("H.264, only the first flagged, mkv", _only_the_first_flagged),
    OddKind("MPEG-4, cut between keyframes, all flagged, mkv", _mpeg_4_cut_between_keyframes),
    OddKind("clock starts again, H.264, ts", _joined("j.ts", SIZE, SIZE), own_only=True, usual=True),
    OddKind("clock starts again twice, other sizes, ts", _joined("j.ts", SIZE, SMALL, SIZE), own_only=True),
    OddKind(
        "clock starts again, MPEG-2, vob",
        _joined("j.vob", SIZE, SIZE, codec="mpeg2video", audio_codec="mp2", frames_per_second_clock=True),
        own_only=True,
    ),
    OddKind("clock of the sound alone starts again, ts", _only_sound_starts_again, refused=True),
    *(OddKind(f"display matrix {name}, mp4", _mirrored(name), usual=name == "hflip") for name in MIRRORS),
    OddKind("display matrix hflip, edit list, mp4", _mirrored("hflip", cut=True)),
    OddKind("display matrix of zeros, mp4", _flat_matrix),
    OddKind("pixel aspect changes, ts", _aspect_changes),
    OddKind("first sample no keyframe, mp4", _without_its_first_keyframe),
    OddKind("five frames under long sound, mkv", _few_frames, refused=True),
]
