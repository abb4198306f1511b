"""Features that lie in the shard: arrays that another network, or another's program, made of the sample."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pipeline.features.settings import FeatureSettings
from pipeline.shards.array_file import MEMBER, SUFFIX, decode_array
from pipeline.stream.fields.contract import Array, FieldSettings, FieldSpec
from pipeline.stream.opened_sample import OpenedSample

Size = Annotated[int, Field(ge=1)]


class StoredSettings(FieldSettings):
    """An array that lies beside the sample's JSON, as `gavt features` or another's program wrote it. A sample without
    it, or with one of another shape or with what is no number, counts as bad."""

    kind: Literal["stored"] = "stored"
    member: str = Field(pattern=rf"^({MEMBER}\.)?{SUFFIX}$")
    """What its file is called behind the key and a dot: `visual.npy`, say."""
    shape: tuple[Size, ...] = Field(min_length=1)
    """Of one sample's array, as it is stored: [10, 7, 7, 512] are ten seconds of VGG-19's last maps. Of a sample of
    segments the first is the segment, as in `segment_labels`."""

    def spec(self, name: str, features: FeatureSettings, augment: bool) -> FieldSpec:
        """The field."""
        return StoredField(name, self.member, self.shape)


@dataclass(frozen=True)
class StoredField(FieldSpec):
    """float32 of the shape that is stored. It is of the whole sample, wherever a cut of the sample's clip lies.

    Attributes:
        member: what its file is called behind the key.
        stored: the shape.
    """

    name: str
    member: str
    stored: tuple[int, ...]

    dtype = np.float32

    def shape(self) -> tuple[int, ...]:
        return self.stored

    def decode(self, sample: OpenedSample, into: Array) -> None:
        content = sample.sample.files.get(self.member)
        if content is None:
            raise ValueError(f"no .{self.member} in it")
        try:
            array = decode_array(content)
        except ValueError as error:
            raise ValueError(f".{self.member}: {error}") from error
        if array.shape != self.stored:
            raise ValueError(
                f".{self.member}: expected {list(self.stored)} as the features ask for, found {list(array.shape)}"
            )
        with np.errstate(over="ignore"):  # what doesn't fit becomes infinite, which is found
            into[:] = array
        wrong = into.size - int(np.isfinite(into).sum())
        if wrong:
            raise ValueError(f".{self.member}: expected numbers, found {wrong} of {into.size} that are none")

    def noise(self, generator: np.random.Generator) -> Array:
        return generator.standard_normal(self.shape(), np.float32)
