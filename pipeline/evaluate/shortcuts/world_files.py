"""A rendered world as it is checked: its videos decoded again, with their truth."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from cluster import storage
from pipeline.errors import SynthError
from pipeline.samples.skeleton import POINTS
from pipeline.video.clip import Pixels, decode_clip
from pipeline.video.open_media import open_container

Waveform = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WorldVideo:
    """A video of a world.

    Attributes:
        row: of its manifest.
        truth: its JSON.
        frames: [T, H, W, 3] RGB.
        sound: [S] in −1..1, from the video's zero.
        rate_hz: of the sound.
        keypoints: [T, persons, 68, 2] as shares of the frame's side, where the world has persons.
    """

    row: dict[str, Any]
    truth: dict[str, Any]
    frames: Pixels
    sound: Waveform
    rate_hz: int
    keypoints: npt.NDArray[np.float64] | None = None

    @property
    def middle(self) -> Pixels:
        """The middle frame [H, W, 3]."""
        return np.asarray(self.frames[len(self.frames) // 2])


@dataclass(frozen=True)
class WorldFiles:
    """A rendered world.

    Attributes:
        url: folder or prefix.
        most: videos of a manifest that are looked at, the first ones.
        on_video: called after each video.
    """

    url: str
    most: int
    on_video: Callable[[], None]

    def videos(self, manifest: str) -> Iterator[WorldVideo]:
        """The first videos of a manifest, decoded; none where there is no such manifest.

        Raises:
            SynthError: a video or its truth is damaged.
        """
        for row in self.rows(manifest):
            yield self._decode(row)
            self.on_video()

    def rows(self, manifest: str) -> list[dict[str, Any]]:
        """The first rows of a manifest."""
        path = storage.join(self.url, f"{manifest}.jsonl")
        lines = storage.read_text(path).splitlines()[: self.most] if storage.exists(path) else []
        return [json.loads(line) for line in lines]

    def _decode(self, row: dict[str, Any]) -> WorldVideo:
        source = storage.join(self.url, row["source"])
        truth = json.loads(storage.read_text(storage.join(self.url, row["extra"]["ground_truth"])))
        content = storage.read_bytes(source)
        try:
            frames = np.stack(list(decode_clip(content)))
            with open_container(io.BytesIO(content)) as container:
                rate_hz = container.streams.audio[0].rate
                pieces = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        except (ValueError, av.FFmpegError) as error:
            raise SynthError(f"{source}: expected a video of gavt synth: {error}") from error
        sound = np.concatenate(pieces).astype(np.float64)
        if "keypoints" not in row:
            return WorldVideo(row, truth, frames, sound, rate_hz)
        entries = json.loads(storage.read_text(storage.join(self.url, row["keypoints"])))
        points = np.array([entry["keypoints"] for entry in entries]).reshape(len(frames), -1, POINTS, 3)
        return WorldVideo(row, truth, frames, sound, rate_hz, points[..., :2] / frames.shape[1])
