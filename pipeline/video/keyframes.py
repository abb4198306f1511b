"""Frame choice: the nearest keyframe where one lies close enough to a wanted time, the exact frame elsewhere.

A keyframe is a picture that is whole by itself, whatever the container flags: a recovery point of a gradual refresh is
none. It costs its own decoding, any other frame that of all from the keyframe before it.
"""

import bisect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction

from av.stream import Discard

from pipeline.reasons import Reason
from pipeline.video.frames import Frame, read_moments
from pipeline.video.packets import presentation_time, timed_packets
from pipeline.video.start_points import StartPoints
from pipeline.video.video_file import VideoFile

_BEFORE_S = 1  # some demuxers land behind the time that they are sent to


def choose_frames(
    video: VideoFile, times_s: Sequence[Fraction], snap_s: Fraction, reach_s: Fraction
) -> Iterator[Frame | Reason]:
    """A frame for each of `times_s` (s from the video's zero, in order), each frame once, in order but for those that
    come in place of a damaged keyframe.

    Args:
        snap_s: how far a keyframe may lie from a wanted time to be taken for it; 0 takes exact frames only.
        reach_s: how far the video's first frame may lie behind a wanted time to be taken for it, where sound begins
            before the picture.

    Yields:
        The frame; or why a wanted time has none: `too_short` where the picture begins later, `damaged` where its frame
        can't be decoded whole.
    """
    begin = video.picture_start_s
    late = [time for time in times_s if time < begin - reach_s]
    yield from [Reason.TOO_SHORT] * len(late)
    times = [max(time, begin) for time in times_s[len(late) :]]
    keyframes = nearest_keyframes(video, times, snap_s) if snap_s else {}
    wanted_at = {keyframe: time for time, keyframe in keyframes.items()}
    moments = sorted({keyframes.get(time, time) for time in times})
    given: set[Fraction] = set()
    answered: set[Fraction] = set()
    instead: list[Fraction] = []
    for moment, frame in read_moments(video, moments):
        if moment in wanted_at and (frame is None or frame.time_s != moment):
            instead.append(wanted_at[moment])
        elif frame is not None:
            answered.add(moment)
            if frame.time_s not in given:
                given.add(frame.time_s)
                yield frame
    for moment, frame in read_moments(video, sorted(instead)):
        if frame is not None:
            answered.add(keyframes[moment])
            if frame.time_s not in given:
                given.add(frame.time_s)
                yield frame
    yield from [Reason.DAMAGED] * (len(moments) - len(answered))


def nearest_keyframes(video: VideoFile, times_s: Sequence[Fraction], within_s: Fraction) -> dict[Fraction, Fraction]:
    """Wanted time → time of the nearest keyframe (s from the video's zero), where one lies within `within_s` of it.

    A keyframe that is the nearest of several wanted times goes to the nearest of them, the next one to the others.
    """
    pairs: list[tuple[Fraction, Fraction, Fraction]] = []
    for times in _stretches(times_s, within_s):
        found = list(_keyframes(video, times[0] - within_s, times[-1] + within_s))
        for time in times:
            low, high = bisect.bisect_left(found, time - within_s), bisect.bisect_right(found, time + within_s)
            pairs += [(abs(keyframe - time), time, keyframe) for keyframe in found[low:high]]
    nearest: dict[Fraction, Fraction] = {}
    taken: set[Fraction] = set()
    for _, time, keyframe in sorted(pairs):
        if time not in nearest and keyframe not in taken:
            nearest[time] = keyframe
            taken.add(keyframe)
    return nearest


def _stretches(times_s: Sequence[Fraction], within_s: Fraction) -> Iterator[list[Fraction]]:
    """Times whose surroundings overlap or touch."""
    stretch: list[Fraction] = []
    for time in times_s:
        if stretch and time - stretch[-1] > 2 * within_s + _BEFORE_S:
            yield stretch
            stretch = []
        stretch.append(time)
    if stretch:
        yield stretch


def _keyframes(video: VideoFile, first_s: Fraction, last_s: Fraction) -> Iterator[Fraction]:
    """Times (s from the video's zero) of the keyframes that are displayed from `first_s` to `last_s`, in order."""
    low, high = (int((time + video.zero) // video.tick_s) for time in (first_s, last_s))
    earliest = int(video.video.start_time or 0)
    if video.hides_order:
        return
    with _without_sound(video):
        video.seek(max(earliest, low - int(_BEFORE_S / video.tick_s)))
        starts = StartPoints(video.video.codec_context)
        for number, packet in enumerate(timed_packets(video)):
            tick = presentation_time(packet) or 0
            if (packet.dts if packet.dts is not None else tick) > high:
                break
            starts.add(packet, tick)
            if not starts.is_whole_picture(number) or packet.is_discard or packet.is_corrupt:
                continue
            time = tick * video.tick_s - video.zero
            if first_s <= time <= last_s and tick >= earliest:
                yield time


@contextmanager
def _without_sound(video: VideoFile) -> Iterator[None]:
    """Containers with an index don't read what is discarded."""
    if video.sound is None:
        yield
        return
    # not `nonkey` for the video, which would save a little more: MP4 then gives wrong presentation times
    video.audio.discard = Discard.all
    try:
        yield
    finally:
        video.audio.discard = Discard.default
