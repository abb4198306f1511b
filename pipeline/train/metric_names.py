"""Which numbers of a record are what a task measures, and which are the trainer's own.

A record has the task's metrics by their names, those of the validation set with `validation/` before them, beside
numbers that every run has. Of several tasks each metric is NAME/…; wandb and TensorBoard make a group of what stands
before the first stroke.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import gt, lt
from typing import Any

from pipeline.tasks.contract import Metric, TaskSettings

VALIDATION = "validation/"
EVENTS = "event/"
MAPS = "maps"
"""The one key of a record that is no number: a picture's path in the run folder."""
MAP_FIGURES = "maps/"
"""What stands, behind `validation/`, before figures of maps."""
MAP_SAMPLES = f"{MAP_FIGURES}samples"
"""On how many samples they were judged."""
MAP_METRICS = (
    Metric(f"{MAP_FIGURES}pointing"),
    Metric(f"{MAP_FIGURES}ciou_adap"),
    Metric(f"{MAP_FIGURES}iiou_adap"),
)
"""What validation measures of maps, where its samples have boxes."""
_PLACE = {"step", "time", "samples", "epoch", MAPS}
_STEP = {"learning_rate", "grad_norm", "loss_scale", "skipped_steps", "replaced_samples"}
_PACE = {"samples_per_s", "mfu", "data_wait", "checkpoint_s", "goodput", "slowest_rank", "slowest_excess"}
_MEMORY = {"memory_gib", "host_memory_gib"}
OWN = frozenset(_PLACE | _STEP | _PACE | _MEMORY | {MAP_SAMPLES, *(metric.name for metric in MAP_METRICS)})
"""What the trainer itself records in every run."""


def metrics_of(task: TaskSettings | None, records: Iterable[Mapping[str, Any]]) -> tuple[Metric, ...]:
    """What a task measures; of one that nobody here knows, what the names of its numbers say: one that ends in `loss`
    is a loss."""
    if task is not None:
        return task.metrics
    names = dict.fromkeys(
        name.removeprefix(VALIDATION) for record in records for name, value in record.items() if is_number(value)
    )
    names = {name: None for name in names if name not in OWN and not name.startswith(EVENTS)}
    return tuple(Metric(name, "loss" if name.endswith("loss") else "number") for name in names)


def is_shown(metric: Metric) -> bool:
    """Whether it has a place of its own in the live line and among the curves."""
    return metric.shown and metric.unit != "count"


def clash(metrics: Iterable[Metric]) -> str | None:
    """The first name of a metric that is another's too, or that a record has for something else."""
    seen: set[str] = set()
    for metric in metrics:
        if metric.name in OWN | seen or metric.name.startswith((VALIDATION, EVENTS, MAP_FIGURES)):
            return metric.name
        seen.add(metric.name)
    return None


class BestSoFar:
    """The best value so far of each loss, the lowest, and each share that is shown, the highest; in training and in
    validation.

    Attributes:
        values: by the name in records.
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.values: dict[str, float] = {}
        self._better: dict[str, Callable[[float, float], bool]] = {}
        for metric in metrics:
            if metric.unit == "loss" or (metric.unit == "share" and metric.shown):
                better = lt if metric.unit == "loss" else gt
                self._better |= {metric.name: better, VALIDATION + metric.name: better}

    def improve(self, record: Mapping[str, Any]) -> dict[str, float]:
        """Take a record in; what of it is better than all before."""
        improved = {
            name: record[name]
            for name, better in self._better.items()
            if record.get(name) is not None and (name not in self.values or better(record[name], self.values[name]))
        }
        self.values |= improved
        return improved


def in_words(name: str) -> str:
    """A metric's name as it stands in a sentence or above a curve."""
    return name.replace("_", " ").replace("/", ": ")


def is_number(value: object) -> bool:
    """Whether it is one, and not just true or false."""
    return isinstance(value, int | float) and not isinstance(value, bool)
