"""What a run's pace asks of its data."""

from dataclasses import dataclass

from cluster import storage
from pipeline.shards.shard_set import ShardSet
from pipeline.stream.read_plan import shown_per_shard, shows_one_of_each_video
from pipeline.stream.settings import DataSettings, ShardSource
from pipeline.train.run_settings import RunSettings


@dataclass(frozen=True)
class DataNeed:
    """Samples and shards.

    Attributes:
        samples: of the training data that an epoch shows; None where it can't be read.
        samples_per_shard: of these, mean; None where it isn't known.
        shards_per_s: that all GPUs together use up; likewise.
        epochs: times that the run goes through the data; likewise.
    """

    samples: int | None
    samples_per_shard: float | None
    shards_per_s: float | None
    epochs: float | None


def data_need(settings: RunSettings, samples_per_s: float | None, samples_per_shard: int | None = None) -> DataNeed:
    """From data.train where it is there, else from the number that was given.

    Raises:
        ShardSetError: the shard set's totals are damaged, or don't say what an epoch shows.
    """
    train = settings.data.train
    sources = [] if train is None else [ShardSource(url=train)] if isinstance(train, str) else train
    samples = shards = 0
    for source in sources:
        found = _sizes(source, settings.data)
        if found is None:
            samples = shards = 0
            break
        samples, shards = samples + found[0], shards + found[1]
    each = samples_per_shard or (samples / shards if shards else None)
    shown = settings.train.steps * settings.train.batch_size
    return DataNeed(
        samples=samples or None,
        samples_per_shard=each,
        shards_per_s=samples_per_s / each if samples_per_s and each else None,
        epochs=shown / samples if samples else None,
    )


def _sizes(source: ShardSource, data: DataSettings) -> tuple[int, int] | None:
    """Samples an epoch and shards of a set; None where none is finished (tars of others are not counted through for a
    plan)."""
    if not storage.exists(storage.join(source.url, "dataset.json")):
        return None
    shown = shown_per_shard(ShardSet.open(source.url), shows_one_of_each_video(source, data))
    return sum(shown), len(shown)
