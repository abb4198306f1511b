"""Settings of the data that training streams."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.settings.base import Settings

NEVER_LENT = 2
"""Of a loader's batches in memory: others are read into them while the rest are in use."""
SamplesPerVideo = Literal["all", 1]


class ShardSource(Settings):
    """One of several shard sets that are mixed."""

    url: str
    """Shard set, local or s3://."""
    weight: float = Field(default=1.0, gt=0)
    """How much of it is shown; what it weighs is said by `data.mix`."""
    name: str | None = None
    """What the set is called where it may move: its order and how far it was read hang on the name. The URL unless
    given."""
    samples_per_video: SamplesPerVideo | None = None
    """`data.samples_per_video` unless given."""


class CacheSettings(Settings):
    """Where a node keeps pieces of remote shards."""

    folder: str | None = None
    """A folder on a disk of the node itself; unless given, `$GAVT_CACHE` or a folder for temporary files."""
    gigabytes: float = Field(default=50.0, ge=0)
    """Most that lies there, of all processes together; with 0 every sample is asked for by itself."""
    read_ahead: int = Field(default=4096, ge=0)
    """For how many samples of a rank the pieces are fetched ahead of their use."""


class DataSettings(Settings):
    """Shard sets and how they are read."""

    train: str | list[ShardSource] | None = None
    """Shard set to train on, local or s3://, or several with weights."""
    validation: str | None = None
    """Shard set for validation during training and for choosing a readout."""
    mix: Literal["epochs", "samples", "temperature"] = "epochs"
    """What the weights of several sets mean. `epochs`: how often each is gone through, in relation (equal weights show
    all samples equally often). `samples`: its share of the samples. `temperature`: share ∝ weight · size^(1 /
    temperature)."""
    temperature: float = Field(default=1.0, gt=0)
    """1 is the share by size, more is more even."""
    samples_per_video: SamplesPerVideo = "all"
    """What an epoch of training shows of a video: `all` of its samples, or `1` of them, drawn anew by seed, epoch and
    video (G-AVT thesis, section 4.3: a random frame a video). With `1` an epoch has as many samples as there are
    videos; where shards hold 17 samples of each, a remote set's cache downloads all of them for the one that is shown,
    unless with `data.cache.gigabytes=0` each is asked for by itself. Validation always shows all. A video is a row of
    the list that `gavt prepare` went through; tars that others wrote don't say which samples are of one."""
    block_samples: int = Field(default=24_000, gt=0)
    """Samples are shuffled among about this many, counted as they are stored; a lane of a remote set keeps that much in
    the cache."""
    lanes: int = Field(default=8, gt=0)
    """Places of an epoch that are read side by side. Not fewer than nodes, or several nodes fetch the same shards; sets
    of fewer than `lanes` · `block_samples` samples have fewer."""
    workers: int = Field(default=2, ge=0)
    """Processes of a rank that read and decode; 0 does it in the training process."""
    prefetch: int = Field(default=4, gt=0)
    """Micro-batches kept ready."""
    cache: CacheSettings = CacheSettings()
    max_bad_rate: float = Field(default=0.01, ge=0, le=1)
    """The run stops when more than this share of the samples since its start had to be replaced; not before 1 000."""
    max_bad_in_a_row: int = Field(default=16, gt=0)
    """How many samples in a row may be bad in one place before the run stops."""
    deadline_s: float = Field(default=120.0, gt=0)
    """A worker process that takes longer to decode a handful of samples is replaced, and what it was at is tried by
    itself."""
    worker_memory_mb: int = Field(default=4000, ge=500)
    """Most memory (MB) of a worker process, batches not counted. One that takes more is replaced, and a sample that
    makes it take so much counts as bad. Raise it for clips of hundreds of MB: a worker holds those that come next."""
    allow_change: bool = False
    """Go on although the shard set is another than when the run was saved: its order is a new one then."""

    @property
    def slots(self) -> int:
        """Batches for which a loader with processes has memory."""
        return self.prefetch + NEVER_LENT

    @model_validator(mode="after")
    def _mix_reads_the_temperature(self) -> "DataSettings":
        if self.mix != "temperature" and self.temperature != 1:
            raise ValueError(f"mix = temperature for a temperature of {self.temperature:g}, found {self.mix}")
        return self

    @model_validator(mode="after")
    def _sets_have_names(self) -> "DataSettings":
        if isinstance(self.train, list):
            names = [source.name or source.url for source in self.train]
            twice = {name for name in names if names.count(name) > 1}
            if not names:
                raise ValueError("at least one shard set to train on, found an empty list")
            if twice:
                raise ValueError(f"shard sets to train on with a name each, found two that are called {min(twice)!r}")
        return self
