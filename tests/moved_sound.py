"""Videos whose sound is moved by a known time."""

from fractions import Fraction
from pathlib import Path

import av

from pipeline.worlds.sync_movers.settings import SyncMoversSettings
from pipeline.worlds.sync_movers.world import SyncMovers


def write_movers(folder: Path, scenes: int) -> list[Path]:
    """Of each scene two videos in which an object moves as something sounds, and one in which none does (`…c.mp4`)."""
    world = SyncMovers(SyncMoversSettings(), 3)
    paths = []
    for number in range(scenes):
        for video in world.render("test", number):
            paths.append(folder / f"{video.truth['id']}.mp4")
            paths[-1].write_bytes(video.mp4)
    return paths


def with_sound_later(source: Path, out: Path, by_s: float) -> Path:
    """A copy, not coded anew, whose sound comes `by_s` later."""
    with av.open(str(source)) as old, av.open(str(out), "w", options={"avoid_negative_ts": "make_zero"}) as new:
        streams = {one.index: new.add_stream_from_template(one) for one in (old.streams.video[0], old.streams.audio[0])}
        for packet in old.demux(list(old.streams.video[:1] + old.streams.audio[:1])):
            if packet.dts is None:
                continue
            if packet.stream.type == "audio":
                ticks = round(Fraction(by_s) / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            packet.stream = streams[packet.stream_index]
            new.mux(packet)
    return out
