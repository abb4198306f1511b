"""Where decoding can start is told by the bitstream, and is what decoding from there shows."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from barcode_video import write_video
from pipeline.video.start_points import StartPoints

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "H.264, closed GOP": ("a.mp4", {}),
    "H.264, open GOP, start codes": ("a.ts", {"options": {"x264-params": "keyint=20:open-gop=1:bframes=3"}}),
    "H.264, intra refresh": ("a.mp4", {"options": {"x264-params": "keyint=40:intra-refresh=1:bframes=0"}}),
    "H.264, intra refresh, B-frames": ("a.mp4", {"options": {"x264-params": "keyint=40:intra-refresh=1:bframes=2"}}),
    "H.264, intra refresh, start codes": ("a.ts", {"options": {"x264-params": "keyint=40:intra-refresh=1"}}),
    "H.265, open GOP": ("a.mp4", {"codec": "libx265"}),
    "H.265, start codes": ("a.ts", {"codec": "libx265"}),
    "VP8": ("a.webm", {"codec": "libvpx", "audio_codec": "libopus"}),
    "VP9": ("a.mp4", {"codec": "libvpx-vp9"}),
    "AV1": ("a.mp4", {"codec": "libsvtav1"}),
    "MPEG-4": ("a.mp4", {"codec": "mpeg4"}),
    "MPEG-2": ("a.ts", {"codec": "mpeg2video", "options": {"bf": "2"}, "frames_per_second_clock": True}),
    "MPEG-1": ("a.mkv", {"codec": "mpeg1video", "frames_per_second_clock": True}),
    "H.263": ("a.mov", {"codec": "h263", "size": (176, 144)}),
    "MS-MPEG-4": ("a.avi", {"codec": "msmpeg4", "frames_per_second_clock": True, "audio_codec": "pcm_s16le"}),
    "MJPEG": ("a.mkv", {"codec": "mjpeg"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_from_a_start_point_on_are_those_of_decoding_everything(kind: str, tmp_path: Path) -> None:
    name, how = KINDS[kind]
    if how.get("codec") == "mjpeg":
        how = {**how, "options": {"strict": "unofficial"}}
    path = write_video(tmp_path / name, 4, gop=20, **how)
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        codec.thread_count = 1
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for packet in packets:
            packet.is_keyframe = True  # as wrong containers do
            packet.pts = packet.dts if packet.pts is None else packet.pts
        whole = {frame.pts: as_bytes(frame) for frame in decode(codec, packets)}
        assert len(whole) == len(packets) or kind == "VP8"
        points = StartPoints(codec)
        for packet in packets:
            points.add(packet, packet.pts)
        starts = [points.start_for(number, packet.pts) for number, packet in enumerate(packets)]
        assert None not in starts
        assert len({*starts}) > 2 or kind.startswith("H.264, intra")
        for start in sorted({start for start in starts if start is not None}):
            last = max(number for number, found in enumerate(starts) if found == start)
            shown = {frame.pts: as_bytes(frame) for frame in decode(codec, packets[start : last + 1])}
            for number, found in enumerate(starts):
                if found == start and packets[number].pts in whole:
                    assert shown[packets[number].pts] == whole[packets[number].pts], (start, number)


def decode(codec: av.VideoCodecContext, packets: list[av.Packet]) -> list[av.VideoFrame]:
    codec.flush_buffers()
    frames = [frame for packet in packets for frame in codec.decode(packet)]
    frames += codec.decode(None)
    codec.flush_buffers()
    return frames


def as_bytes(frame: av.VideoFrame) -> bytes:
    return np.ascontiguousarray(frame.to_ndarray(format="gray")).tobytes()


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_a_recovery_point_of_a_gradual_refresh_is_no_whole_picture(name: str, tmp_path: Path) -> None:
    options = {"x264-params": "keyint=30:intra-refresh=1:bframes=0"}
    with av.open(str(write_video(tmp_path / name, 4, options=options))) as container:
        stream = container.streams.video[0]
        points = StartPoints(stream.codec_context)
        packets = [packet for packet in container.demux(stream) if packet.size]
        for packet in packets:
            points.add(packet, packet.pts)
    flagged = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    assert flagged == [0, 30, 60, 90]
    assert [number for number in flagged if points.is_whole_picture(number)] == [0]
    assert [points.start_for(number, packets[number].pts) for number in flagged] == [0, 0, 30, 60]
    assert [points.start_for(number, packets[number].pts, gradual=False) for number in flagged] == [0] * 4
    width_in_blocks = 280 // 16 + 1
    assert 0 < points.refresh_of(30) <= width_in_blocks


def test_a_packet_without_anything_known_in_it_is_no_start_point() -> None:
    for codec in ("h264", "hevc", "vvc", "vp8", "mpeg2video", "mpeg4"):
        points = StartPoints(av.CodecContext.create(codec, "r"))  # type: ignore[arg-type]
        generator = np.random.default_rng(0)
        for number, size in enumerate((1, 2, 3, 5, 40)):
            packet = av.Packet(bytes(generator.integers(1, 255, size, np.uint8) | 1))
            packet.time_base = Fraction(1, 25)
            points.add(packet, number)
        assert points.start_for(4, 4) is None
