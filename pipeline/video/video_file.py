"""An opened video: its tracks, its zero and its length, all read from the container without decoding."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import IO

import av
from av.container import InputContainer

from cluster import storage
from cluster.errors import ForbiddenError, MissingFileError, StorageError
from cluster.storage.file_url import is_file_url, path_of_file_url
from pipeline.errors import MediaError
from pipeline.reasons import Reason
from pipeline.video.joined_files import next_file_in
from pipeline.video.one_clock import with_one_clock
from pipeline.video.open_media import open_container
from pipeline.video.open_picture import IMAGE_HEAD, WITH_SOUND, is_image
from pipeline.video.track_extent import picture_end, picture_start, seek, tick_of
from pipeline.video.upright import PixelAspects


@dataclass(frozen=True)
class VideoFile:
    """A container with a video track, and an audio track unless one was asked for that may go without.

    Attributes:
        zero: time (s) on the container's clock that counts as 0: the first presentation time of its tracks, after edit
            lists.
        duration_s: length (s) of the video track from `zero` to the end of its last frame.
        picture_start_s: when the first picture is displayed that can be decoded (s from `zero`); sound may begin before
            it.
    """

    container: InputContainer
    video: av.VideoStream
    sound: av.AudioStream | None
    zero: Fraction
    duration_s: Fraction
    picture_start_s: Fraction
    pixel_aspects: PixelAspects

    @property
    def audio(self) -> av.AudioStream:
        """Its audio track.

        Raises:
            MediaError: `no_audio`.
        """
        if self.sound is None:
            raise MediaError(Reason.NO_AUDIO, "it has no audio track")
        return self.sound

    @property
    def tick_s(self) -> Fraction:
        """Length (s) of one tick of the video track's clock."""
        return tick_of(self.video)

    @property
    def frame_s(self) -> Fraction:
        """Usual length (s) of one frame."""
        return 1 / Fraction(self.video.average_rate or 25)

    @property
    def has_no_times(self) -> bool:
        """Whether the container keeps no presentation times: AVI, whose n-th frame is displayed at the n-th tick. What
        FFmpeg guesses is mostly a frame too late."""
        return bool(self.container.format.name == "avi")

    @property
    def hides_order(self) -> bool:
        """Whether only decoding from the beginning tells when a frame is displayed: frames that are coded in another
        order than they are displayed in, and no presentation times."""
        return self.has_no_times and bool(self.video.codec_context.has_b_frames)

    def seek(self, tick: int) -> None:
        """Stand at the keyframe before `tick` of the video track's clock, or at its first where there is none."""
        seek(self.container, self.video, tick)


@contextmanager
def open_video(source: str, needs_audio: bool = True) -> Iterator[VideoFile]:
    """Open a video by path or URL; from object storage only the bytes that are needed are fetched, of formats whose
    clock may start again all of them.

    Args:
        needs_audio: one without an audio track is an error.

    Raises:
        MediaError: `missing`, `forbidden`, `unreadable`, `no_video`, `no_audio` or `damaged`.
    """
    with _opened(source) as container:
        video = container.streams.best("video")
        audio = container.streams.best("audio")
        if not isinstance(video, av.VideoStream) or video.disposition & av.stream.Disposition.attached_pic:
            raise MediaError(Reason.NO_VIDEO, "it has no video track")
        if not isinstance(audio, av.AudioStream) and container.streams.audio:
            raise MediaError(Reason.UNREADABLE, "FFmpeg does not decode the kind of sound in its audio track")
        sound = audio if isinstance(audio, av.AudioStream) else None
        if sound is None and needs_audio:
            raise MediaError(Reason.NO_AUDIO, "it has no audio track")
        for stream in (video, sound):
            if stream is not None and stream.codec_context is None:
                raise MediaError(Reason.UNREADABLE, f"no decoder is known for its {stream.type} track")
        with with_one_clock(container, video, sound) as (container, video, sound):
            yield _survey(container, video, sound)


def read_file(source: str) -> bytes:
    """All bytes of a file that isn't a video.

    Raises:
        MediaError: `missing`, `forbidden`, `unreachable` or `unreadable`.
    """
    if not storage.is_remote(source):
        with open(_checked(source), "rb") as file:
            return file.read()
    try:
        with _open_remote(source) as handle:
            handle.seek(0)
            return handle.read()
    except StorageError as error:
        raise MediaError(Reason.UNREACHABLE, str(error)) from error


def _survey(container: InputContainer, video: av.VideoStream, audio: av.AudioStream | None) -> VideoFile:
    tracks = [video] if audio is None else [video, audio]
    for stream in tracks:
        # one thread a worker: more buy latency, not throughput
        stream.codec_context.thread_count = 1
    starts = [stream.start_time * tick_of(stream) for stream in tracks if stream.start_time is not None]
    zero = min(starts, default=Fraction(0))
    pixel_aspects = PixelAspects(video)
    end = picture_end(container, video)
    if end <= zero:
        raise MediaError(Reason.DAMAGED, "its video track has no frames")
    begin = picture_start(container, video)
    return VideoFile(container, video, audio, zero, end - zero, begin - zero, pixel_aspects)


@contextmanager
def _opened(source: str) -> Iterator[InputContainer]:
    handle: IO[bytes] | None = None
    try:
        if storage.is_remote(source):
            handle = _open_remote(source)
            _refuse_image(handle)
            _refuse_joined(handle)
            handle.seek(0)
            container = open_container(handle)
        else:
            path = _checked(source)
            with open(path, "rb") as file:
                _refuse_image(file)
                _refuse_joined(file)
            container = open_container(path)
    except av.FFmpegError as error:
        raise MediaError(Reason.UNREADABLE, f"not a media file that FFmpeg can read: {error.strerror}") from error
    except StorageError as error:
        raise MediaError(Reason.UNREACHABLE, str(error)) from error
    try:
        with container:
            yield container
    except StorageError as error:
        raise MediaError(Reason.UNREACHABLE, str(error)) from error
    except av.FFmpegError as error:
        raise MediaError(Reason.DAMAGED, f"reading it failed: {error.strerror}") from error
    finally:
        if handle is not None:
            handle.close()


def _refuse_image(file: IO[bytes]) -> None:
    file.seek(0)
    if is_image(file.read(IMAGE_HEAD)):  # FFmpeg would say that an argument is invalid
        raise MediaError(Reason.NO_VIDEO, "it is an image and no video" + WITH_SOUND)


def _refuse_joined(file: IO[bytes]) -> None:
    second = next_file_in(file)
    if second is not None:
        raise MediaError(
            Reason.DAMAGED,
            f"it is several files joined end to end, and only one would be read; the second begins at byte {second}",
        )


def _checked(source: str) -> str:
    try:
        path = os.path.abspath(path_of_file_url(source) if is_file_url(source) else source)
    except ValueError as error:
        raise MediaError(Reason.UNREADABLE, str(error)) from None
    if not os.path.lexists(path):
        raise MediaError(Reason.MISSING, "no such file")
    if os.path.isdir(path):
        raise MediaError(Reason.UNREADABLE, "it is a folder")
    if os.path.exists(path) and not os.path.isfile(path):
        raise MediaError(Reason.UNREADABLE, "it is a pipe or a device")
    try:
        with open(path, "rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise MediaError(Reason.MISSING, "it links to a file that isn't there") from None
    except PermissionError:
        raise MediaError(Reason.FORBIDDEN, "not allowed to read it") from None
    except OSError as error:
        raise MediaError(Reason.UNREADABLE, f"reading it failed: {error.strerror}") from error
    if empty:
        raise MediaError(Reason.UNREADABLE, "it is empty")
    return path


def _open_remote(source: str) -> IO[bytes]:
    try:
        handle = storage.open_read(source)
    except MissingFileError:
        raise MediaError(Reason.MISSING, "no such file") from None
    except ForbiddenError as error:
        raise MediaError(Reason.FORBIDDEN, str(error)) from None
    except StorageError as error:
        raise MediaError(Reason.UNREACHABLE, str(error)) from None
    if not handle.read(1):
        raise MediaError(Reason.UNREADABLE, "it is empty")
    return handle
