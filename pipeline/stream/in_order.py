"""The samples of a shard set one behind the other, to make another set of them."""

from collections.abc import Mapping, Sequence

from pipeline.shards.array_file import SUFFIX
from pipeline.shards.members import Sample
from pipeline.shards.shard_set import ShardSet
from pipeline.stream.fields.contract import FieldSpec
from pipeline.stream.mixture import Mixture
from pipeline.stream.order import Numbers
from pipeline.stream.read_plan import Pick, ReadPlan
from pipeline.stream.settings import DataSettings


class InOrder(ReadPlan):
    """A position is the place of a sample in the set. Each comes with its files, and nothing stands in for a bad one.

    Args:
        media: whether pictures and sound are among the files that come.
    """

    leaves_gaps = True

    def __init__(self, shards: ShardSet, data: DataSettings, fields: Sequence[FieldSpec], media: bool) -> None:
        once = data.model_copy(update={"max_bad_in_a_row": 1})
        super().__init__([shards], Mixture.start({"": 1.0}, 0), once, fields, None, 0)
        self._media = media

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return (InOrder, (self.sets[0], self.data, self.fields, self._media))

    def picks(self, positions: range | Numbers) -> list[Pick]:
        """See `ReadPlan`."""
        return [Pick(0, int(position), 0, int(position)) for position in positions]

    def files_of(self, sample: Sample) -> Mapping[str, bytes]:
        """See `ReadPlan`."""
        return {
            name: content
            for name, content in sample.files.items()
            if name != "json" and (self._media or name.endswith(SUFFIX))
        }
