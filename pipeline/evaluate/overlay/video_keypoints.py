"""Keypoints of the persons in any video, for models that take them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.errors import SettingsError
from pipeline.features.inputs import FRAMES, SOUND
from pipeline.features.settings import FeatureSettings
from pipeline.models.contract import Inputs
from pipeline.prepare.poses.detections import Points
from pipeline.prepare.poses.poses import read_poses
from pipeline.prepare.settings import KeypointSettings
from pipeline.samples.metadata import Box
from pipeline.stream.fields.contract import Array
from pipeline.stream.fields.keypoints import KeypointsField, KeypointsSettings
from pipeline.stream.fields.stored import StoredSettings
from pipeline.train.load import Trained
from pipeline.video.video_file import open_video


@dataclass(frozen=True)
class FoundKeypoints:
    """Keypoints that a tool found in a video.

    Attributes:
        place: as of a row of `gavt prepare`: a JSON file, `PLACE.json` or a folder, local or s3://.
        settings: how they are read.
    """

    place: str
    settings: KeypointSettings


class VideoKeypoints:
    """What a model's inputs of kind `keypoints` show at moments of a video: nobody, where no keypoints are known."""

    def __init__(self, source: str, features: FeatureSettings, found: FoundKeypoints | None) -> None:
        """
        Raises:
            MediaError: the keypoints can't be read, or are of something else than this video.
        """
        self._fields = [
            settings.spec(name, features, augment=False)
            for name, settings in features.inputs.items()
            if isinstance(settings, KeypointsSettings)
        ]
        self._persons_at: Callable[[float], Points] | None = None
        if self._fields and found is not None and (poses := read_poses(found.place, found.settings)) is not None:
            with open_video(source) as video:
                self._persons_at = poses.of_video(video, found.settings, float(video.picture_start_s))

    def inputs(self, middles_s: Sequence[float], squares: Sequence[Box], device: torch.device) -> Inputs:
        """By name of the input, [B, T, persons, 68, 3].

        Args:
            middles_s: of the sounds that the model hears, seconds from the video's zero.
            squares: what of the upright frame it sees then.
        """
        moments = list(zip(middles_s, squares, strict=True))
        return {
            field.name: torch.from_numpy(np.stack([self._at(field, *moment) for moment in moments])).to(device)
            for field in self._fields
        }

    def _at(self, field: KeypointsField, middle_s: float, square: Box) -> Array:
        into = np.zeros(field.shape(), np.float32)
        if self._persons_at is not None:
            persons = [self._persons_at(middle_s + offset_s) for offset_s in field.times.offsets_s]
            field.put(np.stack(persons), square, into)
        return into


def check_inputs(trained: Trained, keypoints: FoundKeypoints | None) -> None:
    """See that a model takes what a video has, with the keypoints that were found in it.

    Raises:
        SettingsError: it takes something else, or keypoints that nobody has found.
    """
    inputs, described = trained.system.inputs, trained.settings.features.inputs
    poses = {name: one for name in inputs if isinstance(one := described.get(name), KeypointsSettings)}
    if set(inputs) - set(poses) != {FRAMES, SOUND}:
        stored = [name for name in inputs if isinstance(described.get(name), StoredSettings)]
        found = f"the stored features {' and '.join(stored)}" if stored else ", ".join(inputs)
        raise SettingsError(
            f"{trained.url}: expected a model that takes {FRAMES} and {SOUND}, which is what a video has, and at most "
            f"keypoints, found one that takes {found}"
        )
    needed = next((name for name, one in poses.items() if one.missing == "leave_out"), None)
    if needed is not None and keypoints is None:
        raise SettingsError(
            f"{trained.url}: expected keypoints of the video (--keypoints), because the model takes {needed} and has "
            f"seen no sample without (features.inputs.{needed}.missing = leave_out), found none"
        )
    if keypoints is not None and not poses:
        raise SettingsError(
            f"{trained.url}: expected a model that takes keypoints for {keypoints.place}, found one that takes "
            f"{', '.join(inputs)}"
        )
