"""Settings of training."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.settings.base import Settings

_Share = Annotated[float, Field(ge=0, lt=1)]
_Factor = Annotated[float, Field(gt=0)]


class WandbSettings(Settings):
    """Where metrics go beside `metrics.jsonl`. What is none here comes from wandb's own variables and settings files; a
    run that goes on stays where it is unless something else stands here."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """`auto` is online when an account is configured (WANDB_API_KEY or ~/.netrc), else offline; WANDB_MODE wins."""
    project: str | None = None
    """By default WANDB_PROJECT, else `gavt`."""
    entity: str | None = None
    """By default WANDB_ENTITY, else the account's own."""
    name: str | None = None
    """By default WANDB_NAME, else the experiment's `name`."""
    group: str | None = None
    """By default WANDB_RUN_GROUP, as `tags` is WANDB_TAGS, `notes` WANDB_NOTES and `job_type` WANDB_JOB_TYPE."""
    tags: tuple[str, ...] | None = None
    """By default WANDB_TAGS."""
    notes: str | None = None
    """By default WANDB_NOTES."""
    job_type: str | None = None
    """By default WANDB_JOB_TYPE."""


class HealthSettings(Settings):
    """What is done when a run goes wrong."""

    bad_steps: int = Field(default=5, gt=0)
    """A step whose loss or gradient is not a finite number is skipped on all processes. After this many in a row the
    run goes back to its newest checkpoint and leaves out the data from there to here."""
    rollbacks: int = Field(default=3, ge=0)
    """The run ends when it would go back more often than this within `rollback_steps` steps."""
    rollback_steps: int = Field(default=10_000, gt=0)
    """Steps within which `rollbacks` are counted."""
    spike_factor: float | None = Field(default=None, gt=1)
    """A loss above this many times the mean of the last `spike_window` steps counts as a bad step; off by default."""
    spike_window: int = Field(default=100, gt=1)
    """Good steps whose mean loss a spike is told by; none is told before so many."""
    hang_s: float = Field(default=1800.0, gt=0, le=1e8)
    """A process that does not finish a step for so long ends the run for a restart; the stacks of all processes go to
    the logs first. Longer than the longest step, validation and checkpoint."""
    straggler_factor: float = Field(default=1.5, gt=1)
    """A process that takes more than this many times the median over five records, for reading and forward passes, is
    told in an event."""


class StartFromSettings(Settings):
    """Weights that a run begins with; `start_from: URL` alone is short for `start_from: {url: URL}`.

    Only what fits in name and shape is taken; the rest of the model begins as it does without. The run folder's
    `start_from.json` says of each state what became of it."""

    url: str
    """A run folder, a folder of checkpoints, one checkpoint, an export, or a file of tensors by name (.safetensors, or
    .pth without pickled code); path or s3://."""
    weights: Literal["average", "raw"] = "average"
    """Of a run or checkpoint that has a moving average of its weights: that, or the weights themselves."""
    take: tuple[str, ...] = Field(default=("*",), min_length=1)
    """Patterns over the model's own names (`model.visual_embedder.*`): what of it is taken from there, all by
    default."""
    rename: dict[str, str] = Field(default={})
    """Pattern over the names there → what they are called here; each `*` stands for the same in both, as in
    `{"backbone.*": "model.visual_embedder.*"}`. The first that fits counts; other names stay."""
    strict: bool = False
    """End the run where something of `take` is not there, is of another shape, or is there and not in the model."""

    @model_validator(mode="before")
    @classmethod
    def _url_alone(cls, values: Any) -> Any:
        return {"url": values} if isinstance(values, str) else values

    @field_validator("rename")
    @classmethod
    def _as_many_stars(cls, rename: dict[str, str]) -> dict[str, str]:
        for pattern, name in rename.items():
            if pattern.count("*") != name.count("*"):
                raise ValueError(f"as many * in {name!r} as in {pattern!r}")
        return rename


class TrainSettings(Settings):
    """Optimisation (defaults: experiment 4 of Table 1), engine, checkpoints, logging."""

    steps: int = Field(default=100_000, gt=0)
    """Optimiser steps. A run may be made longer as it goes on, where that changes no learning rate of a step that is
    done: with `constant`, and with `wsd` before the fall."""
    batch_size: int = Field(default=64, gt=0)
    """Samples a step, over all processes."""
    micro_batch: Literal["auto"] | Annotated[int, Field(gt=0)] | None = None
    """Samples a process handles at once; by default its whole share of the batch. Smaller ones are accumulated. `auto`
    becomes, as training starts, the most that `gavt plan` says will fit with a tenth of the memory to spare."""
    optimizer: Literal["adam", "adamw", "sgd", "muon"] = "adamw"
    """`adam` and `sgd` add the weight decay to the gradient, `adamw` keeps it apart. `muon` steps matrices and kernels
    of 16 channels or more, in and out, by their momentum made orthogonal, as far as `adamw` would, and all else as
    `adamw` does."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """Its highest value: after the warm-up and before the schedule lowers it."""
    learning_rates: dict[str, _Factor] = Field(default={})
    """Pattern over names of parameters → factor of `learning_rate` for those that fit, as in `{"model.*": 0.01}`;
    schedule and warm-up are the same for all. The first pattern that fits counts; without one the factor is 1."""
    freeze: tuple[str, ...] = ()
    """Patterns over names of parameters (`model.visual_embedder.*`) that stay as they begin: without gradient, states
    of the optimiser and weight decay. A batch norm of which all parameters, or the running averages, fit computes with
    its averages and leaves them alone."""
    start_from: StartFromSettings | None = None
    """Weights that the run begins with; none: it begins from scratch."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Pull of the weights towards 0; norms, biases, positions and tokens have none."""
    betas: tuple[_Share, _Share] = (0.9, 0.999)
    """Of `adam`, `adamw` and what `muon` steps like it."""
    momentum: float | None = Field(default=None, gt=0, lt=1)
    """Of `sgd`, by default 0.9, and of what `muon` makes orthogonal, by default 0.95."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises linearly."""
    schedule: Literal["constant", "cosine", "wsd", "halving"] = "constant"
    """After the warm-up: `constant`; a `cosine` to `final_rate`; `wsd`, which stays and falls to it in a straight
    line over the last `decay_steps`, so that a longer run can go on from a checkpoint before the fall; or `halving`,
    which falls by half every `decay_steps`."""
    decay_steps: int = Field(default=0, ge=0)
    """Of `wsd` and `halving`."""
    final_rate: float = Field(default=0.0, ge=0, le=1)
    """Where `cosine` and `wsd` end, as a part of `learning_rate`."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Keep an exponential moving average of the weights (0.999, say), which validation and export use. Switched on as a
    run goes on, it starts from the weights that are there."""
    clip_norm: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; 0 turns clipping off."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of weights and activations in a step; masters and sums of gradients are in fp32 always. `bf16` halves memory on
    GPUs that have it; `fp16` is for those that don't, with a loss scale."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """DeepSpeed ZeRO: 1 shares out optimiser states, 2 gradients too, 3 parameters too."""
    offload: Literal["none", "cpu", "nvme"] = "none"
    """Where ZeRO keeps optimiser states: beside the model, in host memory (`cpu`, stages 1–3; at stage 3 parameters go
    there too), or in files below `offload_folder` (`nvme`, stage 3; parameters in host memory)."""
    offload_folder: str | None = None
    """Folder of a fast local disk for `offload: nvme`, which needs one."""
    activation_checkpointing: Literal["none", "full", "auto"] | Annotated[int, Field(gt=0)] = "none"
    """Blocks of the encoder and the embedders that are recomputed in the backward pass instead of keeping their
    activations: `none`, `full` (all), or every n-th. `auto` becomes, as training starts, the least with which
    `gavt plan` says that all will fit with a tenth of the memory to spare."""
    deterministic: bool = True
    """Compute the same to the bit whenever the same is computed: a run that was stopped then equals one that was not.
    On a GPU that takes slower kernels (those of attention's backward pass, and of some convolutions), and what has no
    such kernel ends the run; on a CPU it costs nothing."""
    compile: Literal["auto"] | bool = "auto"
    """Compile each block with torch.compile: slower to start, faster afterwards. `auto` does so on a GPU at ZeRO stages
    0–2."""
    log_every: int = Field(default=10, gt=0)
    """Steps between two records of `metrics.jsonl` and wandb."""
    validate_every: int = Field(default=1000, gt=0)
    """Steps between two validations."""
    validation_samples: int = Field(default=2048, gt=0)
    """At most this many samples of the validation set are used during training."""
    checkpoint_every: int = Field(default=1000, gt=0)
    """Steps between two checkpoints: what a crash costs at most."""
    keep_last: int = Field(default=2, gt=0)
    """Older checkpoints are removed …"""
    keep_every: int | None = Field(default=None, gt=0)
    """… but those at multiples of this many steps."""
    background_saving: bool = True
    """Write and upload checkpoints beside training; it only stands still while they are copied to host memory."""
    time_limit_s: float | None = Field(default=None, gt=0)
    """Save and leave for a restart after so many seconds."""
    health: HealthSettings = HealthSettings()
    wandb: WandbSettings = WandbSettings()
    tensorboard: bool = False
    """Write TensorBoard's files to the run folder too."""
    maps_judged_every: int | None = Field(default=1, gt=0)
    """Validations from one judgement of maps to the next, where validation samples have boxes: they may point worse
    while the loss still falls. Of a map that takes one forward pass; none: never. It takes the memory of the model once
    more, in float32, on the main process."""
    maps_judged_samples: int = Field(default=256, gt=0)
    """At most so many validation samples are looked at for boxes, and maps judged on those that have some."""
    maps_every: int | None = Field(default=None, gt=0)
    """Steps between two grids of validation frames with their maps, in wandb and in the run folder."""

    @property
    def hangs_on_the_system(self) -> bool:
        """Whether something here can't be checked without the model and the objective: names of parameters, say."""
        return bool(self.freeze or self.learning_rates or self.start_from or self.maps_every) or self.offload == "nvme"

    def compiles(self, on_gpu: bool) -> bool:
        """Whether blocks are compiled."""
        return on_gpu and self.zero_stage < 3 if self.compile == "auto" else self.compile

    def batch_at_once(self, processes: int) -> int:
        """Samples that each of so many processes handles at once; all of its share where nobody has settled `auto`."""
        return self.micro_batch if isinstance(self.micro_batch, int) else self.batch_size // processes

    @property
    def recomputed(self) -> Literal["none", "full"] | int:
        """Which blocks are recomputed; none where nobody has settled `auto`."""
        return "none" if self.activation_checkpointing == "auto" else self.activation_checkpointing

    @model_validator(mode="after")
    def _schedule_fits(self) -> "TrainSettings":
        if (decays := self.schedule in ("wsd", "halving")) and not self.decay_steps:
            raise ValueError(f"decay_steps above 0 for schedule = {self.schedule}, found 0")
        if not decays and self.decay_steps:
            raise ValueError(f"no decay_steps for schedule = {self.schedule}, found {self.decay_steps}")
        if self.schedule == "wsd" and self.warmup_steps + self.decay_steps > self.steps:
            raise ValueError(
                f"warmup_steps + decay_steps of at most steps = {self.steps}, "
                f"found {self.warmup_steps} + {self.decay_steps}"
            )
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> "TrainSettings":
        if isinstance(self.micro_batch, int) and self.batch_size % self.micro_batch:
            raise ValueError(f"a micro_batch that divides batch_size = {self.batch_size}, found {self.micro_batch}")
        # whose parameters come and go in hooks that can't be compiled
        if self.compile is True and self.zero_stage == 3:
            raise ValueError("zero_stage 0, 1 or 2 for compile = true, found 3")
        if self.offload == "cpu" and self.zero_stage == 0:
            raise ValueError("zero_stage 1, 2 or 3 for offload = cpu, found 0")
        if self.offload == "nvme":
            if self.zero_stage != 3:
                raise ValueError(f"zero_stage 3 for offload = nvme, found {self.zero_stage}")
            if self.offload_folder is None:
                raise ValueError("an offload_folder on a fast local disk for offload = nvme, found none")
            if self.optimizer == "muon":
                raise ValueError("optimizer adamw, adam or sgd for offload = nvme, found muon")
            if self.ema_decay is not None:
                raise ValueError(
                    f"no ema_decay for offload = nvme, as no average is kept of weights that lie in files, "
                    f"found {self.ema_decay:g}"
                )
        return self
