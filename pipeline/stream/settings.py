"""Settings of the data that training streams."""

from pydantic import Field

from pipeline.settings.base import Settings


class DataSettings(Settings):
    """Shard sets and how they are read."""

    train: str | None = None
    """Shard set to train on, local or s3://."""
    validation: str | None = None
    """Shard set for validation during training and for choosing a readout."""
    block_shards: int = Field(default=8, gt=0)
    """Samples are shuffled within blocks of this many (shuffled) shards, so that reads stay near each other."""
    workers: int = Field(default=2, ge=0)
    """Threads that read and decode; 0 does it in the training thread."""
    prefetch: int = Field(default=4, gt=0)
    """Micro-batches kept ready."""
    max_bad_in_a_row: int = Field(default=16, gt=0)
    """How many samples in a row may fail to decode before the run stops."""
