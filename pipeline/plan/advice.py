"""One sentence that says what fits, or what to change where nothing does."""

from pipeline.plan.machines import GIB
from pipeline.plan.plan import TrainingPlan, Way

_TIME = {"none": 0.0, "cpu": 1.0, "nvme": 3.0}
"""About how much longer a step takes, as a share: only the order matters."""
_GATHERING = 0.15


def advise(plan: TrainingPlan) -> str:
    """The settings if they fit; else the quickest way that does, maybe with a smaller micro-batch; else why not."""
    chosen, usable = plan.chosen, plan.machines.usable
    room = f"{usable / GIB:.1f} GiB that a GPU of {plan.machines.gpu_memory / GIB:.0f} GiB has for it"
    if chosen.fits:
        most = f"; up to {chosen.largest} samples at once would fit" if chosen.largest > plan.micro_batch else ""
        return f"The settings fit: {chosen.memory.total / GIB:.1f} of the {room}, at {plan.micro_batch} samples{most}."
    short = f"The settings need {chosen.memory.total / GIB:.1f} of the {room}"
    fitting = [way for way in plan.ways if way.fits]
    if fitting:
        best = min(fitting, key=_cost)
        return f"{short}; {_overrides(plan, best)} fits with {best.memory.total / GIB:.1f} GiB."
    smaller = [(way, size) for way in plan.ways if (size := _micro_batch(plan, way))]
    if smaller:
        way, size = min(smaller, key=lambda one: (_cost(one[0]), -one[1]))
        return f"{short}; {_overrides(plan, way)} train.micro_batch={size} fits."
    least = min(plan.ways, key=lambda way: way.memory.total)
    fixed = (least.memory.total - least.memory.activations) / GIB
    return (
        f"Nothing fits: even {_overrides(plan, least)} needs {fixed:.1f} GiB before the first sample and "
        f"{least.per_sample / GIB:.2f} GiB for each; take more or larger GPUs, a smaller model or task.group."
    )


def _overrides(plan: TrainingPlan, way: Way) -> str:
    """A way as overrides for the command line."""
    words = [f"train.zero_stage={way.stage}", f"train.activation_checkpointing={way.checkpointing}"]
    if way.offload != "none" or plan.chosen.offload != "none":
        words.append(f"train.offload={way.offload}")
    if way.offload == "nvme":
        words.append("train.offload_folder=FOLDER")
    if way.stage == 3 and plan.compiles:
        words.append("train.compile=false")
    return " ".join(words)


def _cost(way: Way) -> tuple[float, int]:
    recomputing = (
        0.0 if way.checkpointing == "none" else 0.33 if way.checkpointing == "full" else 0.33 / way.checkpointing
    )
    return _TIME[way.offload] + recomputing + _GATHERING * (way.stage == 3), way.stage


def _micro_batch(plan: TrainingPlan, way: Way) -> int:
    """The largest micro-batch that fits and divides a GPU's share of the batch; 0 for none."""
    share = plan.batch_size // plan.machines.gpus
    return max(
        (size for size in range(1, way.largest + 1) if share % size == 0 and size % plan.group == 0),
        default=0,
    )
