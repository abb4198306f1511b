"""Files whose clock starts again: joined recordings, streams with discontinuities, advertising breaks.

Seeking in them goes astray, and the picture of one part would be put beside the sound of another that has the same
time. So such a file is cut where both its tracks start again, and its parts are written anew, undecoded, one behind the
other with a gap between them: a window of sound that reached over it would have a hole and is left out, so no sample
mixes two parts. A part begins with its first whole picture, since what a part was cut from is not there.

A file is looked through from beginning to end for that, but only of formats where it occurs: MPEG-TS, MPEG-PS and
fragmented MP4. FFmpeg itself puts the 33 bits of MPEG's clock right where they overflow.
"""

import bisect
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from cluster.scratch import scratch_folder
from pipeline.errors import MediaError
from pipeline.reasons import Reason
from pipeline.video.open_media import open_container
from pipeline.video.start_points import StartPoints
from pipeline.video.track_extent import seek, tick_of

_BACK_S = Fraction(1, 5)  # a packet that lies so far before the one before it begins another part
_AHEAD_S = 10  # so does one that lies so far behind it, if the other track goes as far
_ALIKE_S = 2  # how much farther one track may go than the other
_STRAY = 6  # packets after which a damaged time is past
_GAP_S = Fraction(1, 2)
_SUFFIX = "nut"  # keeps any codec as it is, and times exactly
_Streams = Sequence["av.VideoStream | av.AudioStream"]


@dataclass
class _Track:
    """The packets of a track that have a time, in the order of the file; times in ticks.

    Attributes:
        decoded, shown: when each is decoded and when it is presented.
        begins: numbers of the packets with which a part begins, but for the first.
        strays: numbers of those whose time is damaged.
    """

    tick_s: Fraction
    decoded: list[int] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    strays: set[int] = field(default_factory=set)

    def jump_s(self, number: int) -> Fraction:
        """How far (s) packet `number` lies behind the one before it."""
        return (self.decoded[number] - self.decoded[number - 1]) * self.tick_s


@contextmanager
def with_one_clock(
    container: InputContainer, video: av.VideoStream, audio: av.AudioStream | None
) -> Iterator[tuple[InputContainer, av.VideoStream, av.AudioStream | None]]:
    """The container and its tracks, or a copy whose clock goes on where theirs starts again.

    Raises:
        MediaError: `damaged` where the tracks don't start again together.
        StorageError: there is no room for the copy.
    """
    streams = [video] if audio is None else [video, audio]
    parts = _parts(container, streams) if _may_start_again(container, video) else 1
    if isinstance(parts, int):
        yield container, video, audio
        return
    with scratch_folder("gavt-one-clock-") as folder:
        path = folder / f"joined.{_SUFFIX}"
        _join(container, streams, parts, path)
        with open_container(str(path), format=_SUFFIX) as joined:
            yield joined, joined.streams.video[0], None if audio is None else joined.streams.audio[0]


def _may_start_again(container: InputContainer, video: av.VideoStream) -> bool:
    name = container.format.name
    return name in ("mpegts", "mpeg") or (name.startswith("mov") and not video.frames)  # fragments list no frames


def _parts(container: InputContainer, streams: _Streams) -> "int | dict[int, _Track]":
    """The tracks of picture and, where there is one, sound by their index, cut where they start again together; 1
    where they don't."""
    tracks = {stream.index: _Track(tick_of(stream)) for stream in streams}
    for packet in _packets(container, streams):
        track = tracks[packet.stream_index]
        track.decoded.append(_decoding_time(packet))
        track.shown.append(packet.pts if packet.pts is not None else packet.dts)
    for track in tracks.values():
        _find_jumps(track)
    if len(streams) == 1:
        (alone,) = tracks.values()
        alone.begins = [number for number in alone.begins if alone.jump_s(number) < 0]  # pictures may be far apart
        return tracks if alone.begins else 1
    picture, sound = (tracks[stream.index] for stream in streams)
    for one, other in ((picture, sound), (sound, picture)):
        # pictures may be far apart, and sound may pause: a jump ahead counts if both make it
        ahead = [other.jump_s(number) for number in other.begins]
        one.begins = [
            number
            for number in one.begins
            if one.jump_s(number) < 0 or any(abs(one.jump_s(number) - far) <= _ALIKE_S for far in ahead)
        ]
    if not picture.begins and not sound.begins:
        return 1
    jumps = itertools.zip_longest(map(picture.jump_s, picture.begins), map(sound.jump_s, sound.begins))
    if any(one is None or other is None or abs(one - other) > _ALIKE_S for one, other in jumps):
        found = f"picture's clock starts again {len(picture.begins)} times, its sound's {len(sound.begins)} times"
        raise MediaError(
            Reason.DAMAGED, f"its {found}, and not together, so which sound belongs to which picture is unknown"
        )
    return tracks


def _find_jumps(track: _Track) -> None:
    """Note the packets with which the clock starts again, and the few whose times are damaged."""
    back, ahead = -_BACK_S / track.tick_s, _AHEAD_S / track.tick_s
    last = 0
    for number, time in enumerate(track.decoded):
        if number and not back <= time - track.decoded[last] <= ahead:
            coming = track.decoded[number + 1 : number + 1 + _STRAY]
            if any(back <= later - track.decoded[last] <= ahead for later in coming):
                track.strays.add(number)
                continue
            track.begins.append(number)
        last = number


def _packets(container: InputContainer, streams: _Streams) -> Iterator[av.Packet]:
    """Packets of all tracks, of which the first is the picture's, that have a time, from the beginning of the file."""
    seek(container, streams[0], int(streams[0].start_time or 0) - int(1 / tick_of(streams[0])))
    while True:
        try:
            for packet in container.demux(list(streams)):
                if packet.size and (packet.dts is not None or packet.pts is not None):
                    yield packet
        except IndexError:  # a track that begins in the middle of a damaged file
            continue
        return


def _decoding_time(packet: av.Packet) -> int:
    return int(packet.dts if packet.dts is not None else packet.pts)


def _join(container: InputContainer, streams: _Streams, tracks: dict[int, _Track], path: Path) -> None:
    """Write the tracks with one clock."""
    offsets = _offsets_s(list(tracks.values()))
    parts = [_Part(StartPoints(streams[0].codec_context)) for _ in offsets]
    parts[0].begins_s = -Fraction(1 << 40)  # sound before the first picture stays where it is
    counts = dict.fromkeys(tracks, 0)
    with av.open(str(path), "w", format=_SUFFIX) as out:
        copies = {stream.index: _Copy(out.add_stream_from_template(stream), out) for stream in streams}
        for packet in _packets(container, streams):
            index = packet.stream_index
            track, number = tracks[index], counts[index]
            counts[index] += 1
            if number in track.strays:
                continue
            place = bisect.bisect_right(track.begins, number)
            for ready in parts[place].pass_on(packet, track.shown[number] * track.tick_s):
                copies[ready.stream_index].write(ready, offsets[place])


def _offsets_s(tracks: Sequence[_Track]) -> list[Fraction]:
    """How far (s) each part is moved."""
    offsets: list[Fraction] = []
    end_s = Fraction(0)
    for place in range(len(tracks[0].begins) + 1):
        firsts, lasts = [], []
        for track in tracks:
            edges = [0, *track.begins, len(track.shown)]
            times = [
                time
                for number in range(edges[place], edges[place + 1])
                if number not in track.strays
                for time in (track.decoded[number], track.shown[number])
            ]
            firsts.append(min(times) * track.tick_s)
            lasts.append(max(times) * track.tick_s)
        offsets.append(end_s + _GAP_S - min(firsts) if place else Fraction(0))
        end_s = max(lasts) + offsets[-1]
    return offsets


@dataclass
class _Part:
    """A part that is being read.

    Attributes:
        begins_s: when its first whole picture is displayed, on its own clock; None until that is found.
    """

    starts: StartPoints
    begins_s: Fraction | None = None
    _waiting: list[tuple[av.Packet, Fraction]] = field(default_factory=list)

    def pass_on(self, packet: av.Packet, time_s: Fraction) -> Iterator[av.Packet]:
        """The packets that can be written now that another one, displayed at `time_s`, was read."""
        self._waiting.append((packet, time_s))
        if self.begins_s is None and packet.stream.type == "video":
            number = len(self.starts)
            self.starts.add(packet, packet.pts if packet.pts is not None else packet.dts)
            if self.starts.is_whole_picture(number):
                self.begins_s = time_s
                sound = [item for item in self._waiting if item[0].stream.type != "video"]
                self._waiting = [*sound, (packet, time_s)]
        if self.begins_s is not None:
            for ready, shown_s in self._waiting:
                if shown_s >= self.begins_s:
                    yield ready
            self._waiting.clear()


class _Copy:
    """A track of the copy."""

    def __init__(self, stream: av.VideoStream | av.AudioStream, out: av.container.OutputContainer) -> None:
        self._stream, self._out = stream, out
        self._last: int | None = None

    def write(self, packet: av.Packet, offset_s: Fraction) -> None:
        """Write a packet moved by `offset_s`. One that is decoded no later than the last is left out: no muxer takes
        it, and its time is damaged."""
        shift = round(offset_s / Fraction(packet.time_base or 1))
        decoded = _decoding_time(packet) + shift
        shown = (packet.pts if packet.pts is not None else packet.dts) + shift
        if (self._last is not None and decoded <= self._last) or shown < decoded:
            return
        self._last = decoded
        packet.pts, packet.dts, packet.stream = shown, decoded, self._stream
        self._out.mux(packet)
