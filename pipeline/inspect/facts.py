"""What a sample says of itself, from the beginning of its bytes: the JSON lies first, a picture's size follows."""

import io
from dataclasses import dataclass

from pydantic import ValidationError

from pipeline.inspect.choose import ChosenSample
from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.tar_run import read_members
from pipeline.video.damage import errors_are_damage
from pipeline.video.open_media import open_container
from pipeline.video.open_picture import open_picture

HEAD_BYTES = 1 << 16
"""Enough for the JSON and the header of the first picture, or of the clip."""


@dataclass(frozen=True)
class Facts:
    """A sample without its pixels and its sound.

    Attributes:
        size: width and height of its pictures; None where the beginning does not tell.
    """

    key: str
    bytes: int
    metadata: SampleMetadata
    size: tuple[int, int] | None


def read_facts(chosen: ChosenSample, head: bytes) -> Facts | str:
    """Facts of a sample from its first bytes, or a sentence about what is wrong with it."""
    try:
        with errors_are_damage():
            files = dict(read_members(head, beginning=True))
        metadata = SampleMetadata.model_validate_json(files[f"{chosen.entry.key}.json"])
    except KeyError:
        return f"{chosen.tar}: sample {chosen.entry.key}: expected its .json first, found none"
    except ValidationError as error:
        return f"{chosen.tar}: sample {chosen.entry.key}: .json: {error.errors()[0]['msg']}"
    except ValueError as error:
        return f"{chosen.tar}: sample {chosen.entry.key}: {error}"
    picture = next((content for name, content in files.items() if name.endswith((".jpg", ".mp4"))), b"")
    return Facts(chosen.entry.key, chosen.entry.bytes, metadata, _size_of(picture, metadata.layout == "clip"))


def _size_of(picture: bytes, is_clip: bool) -> tuple[int, int] | None:
    try:
        if not is_clip:
            with open_picture(picture) as image:
                return image.size
        with errors_are_damage(), open_container(io.BytesIO(picture), format="mp4") as container:
            video = container.streams.video[0]
            return int(video.width), int(video.height)
    except ValueError:
        return None
