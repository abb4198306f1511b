"""The keypoints of a row's video, and those of each of its samples' frames."""

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np

from cluster import storage
from cluster.errors import StorageError
from pipeline.errors import MediaError
from pipeline.prepare.layouts.sample import EncodedSample, PreparedVideo
from pipeline.prepare.poses.detections import Detection, Points
from pipeline.prepare.poses.formats import FoundPersons, read_json, read_openpose
from pipeline.prepare.poses.seats import seated
from pipeline.prepare.settings import KeypointSettings
from pipeline.reasons import Reason
from pipeline.samples.metadata import SampleMetadata
from pipeline.samples.skeleton import POINTS
from pipeline.shards.keypoints_file import KEYPOINTS_FILE, encode_keypoints
from pipeline.video.displayed_times import displayed_times
from pipeline.video.frames import read_moments
from pipeline.video.video_file import VideoFile, read_file

_ALPHAPOSE = "alphapose-results.json"
_OPENPOSE = "_keypoints.json"
_MOST_TOO_MANY = 2  # frames, by rounding at the end


@dataclass(frozen=True)
class Poses:
    """Keypoints of a video.

    Attributes:
        place: where they were read.
        frames: number of each frame → its persons, each in its place.
        sizes: width and height of the pictures that they are pixels of, where the file says them.
        first: number of the video's first frame.
    """

    place: str
    frames: Mapping[int, Sequence[Detection | None]]
    sizes: Mapping[int, tuple[float, float]]
    first: int

    def put_into(self, prepared: PreparedVideo, video: VideoFile, settings: KeypointSettings) -> PreparedVideo:
        """The samples with a file of the keypoints of their frames; a frame of which the tool's file has nothing has
        nobody in it.

        Raises:
            MediaError: most points lie outside the pictures.
        """
        known = [SampleMetadata.model_validate_json(sample.files["json"]) for sample in prepared.samples]
        persons_at = self.of_video(video, settings, known[0].frame_times_s[0])
        samples = []
        for sample, metadata in zip(prepared.samples, known, strict=True):
            told = metadata.model_copy(update={"keypoints": settings.persons}).model_dump_json().encode()
            points = encode_keypoints(np.stack([persons_at(time_s) for time_s in metadata.frame_times_s]))
            samples.append(EncodedSample(sample.key, sample.files | {"json": told, KEYPOINTS_FILE: points}))
        return replace(prepared, samples=samples)

    def of_video(self, video: VideoFile, settings: KeypointSettings, displayed_s: float) -> Callable[[float], Points]:
        """From a time (s from the video's zero) to the persons of the frame displayed then, [persons, 68, 3] as of
        `pipeline.shards.keypoints_file`.

        Args:
            displayed_s: when a frame is displayed that could be decoded.

        Raises:
            MediaError: most points lie outside the pictures, or there are more frames than the video has.
        """
        number_at = self._numbers(video, settings)
        size = settings.image_size or _size_of(video, displayed_s)
        self._check_inside(size, settings)

        def persons_at(time_s: float) -> Points:
            number = number_at(time_s)
            points = np.zeros((settings.persons, POINTS, 3))
            for place, one in enumerate(self.frames.get(number, ())):
                if one is not None:
                    points[place] = one.points / (*self._size(number, size, settings), 1)
            return points

        return persons_at

    def _numbers(self, video: VideoFile, settings: KeypointSettings) -> Callable[[float], int]:
        """From a frame's time (s from the video's zero) to its number."""
        if settings.rate_hz is not None:
            rate_hz, begin_s = settings.rate_hz, float(video.picture_start_s)
            there = (float(video.duration_s) - begin_s) * rate_hz
            self._check_numbers(there, f"as prepare.keypoints.rate_hz={rate_hz:g} gives")
            return lambda time_s: self.first + int((time_s - begin_s) * rate_hz + 0.5)
        times = [float(time) for time in displayed_times(video)]
        between = [(one + other) / 2 for one, other in pairwise(times)]
        self._check_numbers(len(times), "as prepare.keypoints.rate_hz is null")
        return lambda time_s: self.first + bisect.bisect(between, time_s)

    def _check_numbers(self, there: float, why: str) -> None:
        most = max(self.frames, default=0) - self.first + 1
        if most > there + _MOST_TOO_MANY:
            raise MediaError(
                Reason.UNREADABLE,
                f"its keypoints {self.place}: expected those of {there:.0f} frames, {why}, found frame {most}",
            )

    def _size(self, number: int, video: tuple[float, float], settings: KeypointSettings) -> tuple[float, float]:
        return video if settings.image_size is not None else self.sizes.get(number, video)

    def _check_inside(self, video: tuple[float, float], settings: KeypointSettings) -> None:
        outside = there = 0
        largest = (0.0, 0.0)
        for number, persons in self.frames.items():
            size = self._size(number, video, settings)
            for one in persons:
                if one is not None:
                    points = one.points[one.points[:, 2] > 0, :2]
                    beyond = ((points < 0) | (points > size)).any(1)
                    there, outside = there + len(points), outside + int(beyond.sum())
                    largest = max(largest, tuple(points.max(0).tolist()))
        if 2 * outside > there:
            raise MediaError(
                Reason.UNREADABLE,
                f"its keypoints {self.place}: expected points in pictures of {video[0]:g}×{video[1]:g}, found "
                f"{outside} of {there} outside, such as at ({largest[0]:g}, {largest[1]:g}); "
                "prepare.keypoints.image_size says of what size the pictures were",
            )


def read_poses(place: str, settings: KeypointSettings) -> Poses | None:
    """The keypoints at a place: a JSON file, `PLACE.json`, or a folder of OpenPose's files or with AlphaPose's
    `alphapose-results.json`; None where there is nothing and nothing is required.

    Raises:
        MediaError: `missing`, `unreachable`, or `unreadable` with the place in the file.
    """
    try:
        place, read = _located(place)
        found = read()
    except ValueError as error:
        raise MediaError(Reason.UNREADABLE, f"its keypoints {place}: {error}") from error
    except MediaError as error:
        if error.reason == Reason.MISSING and not settings.required:
            return None
        raise MediaError(error.reason, f"its keypoints {place}: {error}") from error
    first = found.first if settings.first is None else settings.first
    return Poses(place, seated(found.frames, settings.persons), found.sizes, first)


def _located(place: str) -> tuple[str, Callable[[], FoundPersons]]:
    """Where they are, and what reads them there."""
    try:
        if not place.endswith(".json") and storage.exists(f"{place}.json"):
            place += ".json"
        if place.endswith(".json"):
            return place, lambda: read_json(read_file(place))
        files = {file.url.rpartition("/")[2]: file.url for file in storage.list_files(place)}
    except StorageError as error:
        raise MediaError(Reason.UNREACHABLE, str(error)) from error
    if _ALPHAPOSE in files:
        return files[_ALPHAPOSE], lambda: read_json(read_file(files[_ALPHAPOSE]))
    frames = {name: url for name, url in files.items() if name.endswith(_OPENPOSE)}
    if frames:
        return place, lambda: read_openpose({name: read_file(url) for name, url in frames.items()})
    name = place.rpartition("/")[2]
    raise MediaError(Reason.MISSING, f"expected {name}.json or a folder with *{_OPENPOSE} there, found none")


def _size_of(video: VideoFile, time_s: float) -> tuple[float, float]:
    """Width and height of the upright picture that a decoder hands on, its pixels not stretched.

    Args:
        time_s: when a frame is displayed that could be decoded.
    """
    within_s = Fraction(time_s) + video.frame_s / 2  # times in the JSON are rounded
    frame = next((frame for _, frame in read_moments(video, [within_s])), None)
    if frame is None:
        raise MediaError(Reason.DAMAGED, f"its frame at {time_s:g} s can't be decoded once more")
    width, height = frame.image.width, frame.image.height
    return (height, width) if frame.display.sideways else (width, height)
