"""From a sample's bytes to the arrays of its fields. Free of torch, so that the processes that do it start quickly and
stay small."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.features.settings import Geometry
from pipeline.samples.metadata import Box, SampleMetadata
from pipeline.shards.members import Sample
from pipeline.stream.fields.contract import Array, FieldSpec
from pipeline.stream.opened_sample import CENTRE, OpenedSample
from pipeline.video.damage import errors_are_damage


@dataclass(frozen=True)
class DecodedSample:
    """A sample as arrays.

    Attributes:
        arrays: of each field, by its name.
        squares: of each geometry that a field has, the box of the square in the upright picture, `[x1, y1, x2, y2]` in
            0–1; beyond it where bars are.
        frame_times_s: when each picture of the first field with pictures is shown, seconds from the video's zero.
        audio_start_s: time of the first sample of the first sound, seconds from the video's zero; None without sound.
    """

    key: str
    metadata: SampleMetadata
    arrays: Mapping[str, Array]
    squares: Mapping[Geometry, Box]
    frame_times_s: list[float]
    audio_start_s: float | None


def decode_sample(
    sample: Sample,
    fields: Sequence[FieldSpec],
    place: float = CENTRE,
    moment: float = CENTRE,
    seed: int = 0,
    position: int = 0,
    into: Mapping[str, Array] | None = None,
) -> DecodedSample:
    """Decode a sample into the arrays of its fields.

    Args:
        place, moment, seed, position: as of `OpenedSample`.
        into: where the arrays are put, by the fields' names; new ones unless given.

    Raises:
        ValueError: what a field needs is not there, can't be decoded, or is less than asked for; begins with the
            sample's key.
    """
    arrays = {one.name: np.empty(one.shape(), one.dtype) for one in fields} if into is None else into
    try:
        with errors_are_damage():
            opened = OpenedSample(sample, fields, place, moment, seed, position)
            # pictures first: where their squares lie is known to all others then
            for field in sorted(fields, key=lambda one: one.pictures is None):
                field.decode(opened, arrays[field.name])
            return DecodedSample(
                sample.key, sample.metadata, arrays, opened.squares, opened.frame_times_s, opened.audio_start_s
            )
    except ValueError as error:
        raise ValueError(f"{sample.key}: {error}") from error
