"""Weights that a run begins with: another run's, an export's, or those of a file of tensors (train.start_from)."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cluster import storage
from cluster.process_group import ProcessGroup
from pipeline.errors import CheckpointError, SettingsError
from pipeline.models.pretrained import Pretrained
from pipeline.models.settings import TENSOR_FILES
from pipeline.models.tensor_file import read_tensors, some_names
from pipeline.tasks.task import System
from pipeline.train.checkpoints.find import find_checkpoint
from pipeline.train.checkpoints.layout import Checkpoint
from pipeline.train.checkpoints.model_weights import is_average, read_weights
from pipeline.train.settings import StartFromSettings, TrainSettings
from pipeline.train.state_patterns import STATES, check_all_fit, first_fit

_FILE = "start_from.json"
_SETTING = "train.start_from"
_NOT_ASKED, _NOT_THERE, _NOT_HERE, _OTHER_SHAPE = "not in take", "not there", "not in the model", "another shape"
_TEACHERS = "a teacher's, which begins as its student does"

There = Mapping[str, tuple[str, Tensor]]
"""By the name that it has here, after renaming: the name there, and the tensor."""


@dataclass(frozen=True)
class Source:
    """Where the weights lie.

    Attributes:
        url: as it was asked for.
        checkpoint: that this is now; None for a file of tensors.
        raw: whether the weights themselves are meant where there is an average too.
    """

    url: str
    checkpoint: Checkpoint | None = None
    raw: bool = False


@dataclass(frozen=True)
class State:
    """What became of one parameter or buffer.

    Attributes:
        name: in the model; of what was left, as it would be called there.
        shape: in the model; of what was left, there.
        renamed: its name there, where that is another.
        found: its shape there, where that is another.
        why: it was not taken.
    """

    name: str
    shape: list[int]
    renamed: str | None = None
    found: list[int] | None = None
    why: str | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.shape}" + (f" (there {self.found})" if self.found is not None else "")


@dataclass(frozen=True)
class Started:
    """What a run began with.

    Attributes:
        source: the checkpoint or file that was read.
        step: of the checkpoint.
        average: whether these are the moving average of a run's weights.
        taken: states of the model that came from there.
        new: those that did not.
        left: what is there and was not used.
        stuck: names of parameters that are new and stay as they were drawn, since they are frozen.
    """

    source: str
    step: int | None
    average: bool
    taken: Sequence[State]
    new: Sequence[State]
    left: Sequence[State]
    stuck: Sequence[str]

    def table(self) -> dict[str, Any]:
        """All of it, as JSON; of each state what there is to say."""
        found = asdict(self)
        for kind in ("taken", "new", "left"):
            found[kind] = [{key: value for key, value in row.items() if value is not None} for row in found[kind]]
        return found

    def said(self) -> str:
        """The table in a sentence: counts by part, and the first names of what is new or left."""
        step = "" if self.step is None else f", step {self.step}{', moving average' if self.average else ''}"
        parts = Counter(".".join(state.name.split(".")[:2]) for state in self.taken)
        words = [
            f"starts from {self.source}{step}: {len(self.taken)} of {len(self.taken) + len(self.new)} states taken "
            f"({', '.join(f'{part} {count}' for part, count in parts.items())})"
        ]
        words += [f"new: {some_names(map(str, self.new))}"] if self.new else []
        words += [f"left there: {some_names(state.renamed or state.name for state in self.left)}"] if self.left else []
        words += [f"frozen though new: {some_names(self.stuck)}"] if self.stuck else []
        return "; ".join(words)


def find_source(settings: StartFromSettings | None) -> Source | None:
    """Find what is started from, if anything; of a run that still trains it may be another checkpoint later.

    Raises:
        SettingsError: nothing there.
    """
    if settings is None:
        return None
    if settings.url.endswith(TENSOR_FILES):
        if not storage.exists(settings.url):
            raise SettingsError(f"{_SETTING}.url: {settings.url}: no such file")
        return Source(settings.url)
    try:
        checkpoint = find_checkpoint(settings.url)
    except CheckpointError as error:
        raise SettingsError(f"{_SETTING}.url: {error}; a file of tensors ends in {', '.join(TENSOR_FILES)}") from None
    return Source(settings.url, checkpoint, settings.weights == "raw")


@torch.no_grad()
def start_from(system: System, source: Source, train: TrainSettings, group: ProcessGroup | None = None) -> Started:
    """Fill a model with what fits. Every process calls it, once, when a run begins.

    Args:
        group: processes that all start so, and read the weights together.

    Raises:
        SettingsError: nothing fits, a pattern fits nothing, something differs where `strict` forbids it, or the file
            holds something else than tensors.
        CheckpointError: the weights are damaged.
    """
    settings, checkpoint = train.start_from, source.checkpoint
    assert settings is not None  # else there is no source
    there = _renamed(_read(source, group), settings.rename, source.url)
    taken, new = _fill(system, there, settings.take)
    used, refused = {state.name for state in taken}, {state.name: state.why for state in new}
    refused |= dict.fromkeys(_teachers_states(system), _TEACHERS)
    left = [
        State(name, list(tensor.shape), renamed=old if old != name else None, why=refused.get(name, _NOT_HERE))
        for name, (old, tensor) in there.items()
        if name not in used
    ]
    drawn = {state.name for state in new}
    started = Started(
        source=source.url if checkpoint is None else checkpoint.url,
        step=None if checkpoint is None else checkpoint.step,
        average=checkpoint is not None and is_average(checkpoint, source.raw),
        taken=taken,
        new=new,
        left=left,
        stuck=[name for name, _ in system.named_parameters() if name in drawn and first_fit(name, train.freeze)],
    )
    _check(started, settings)
    return started


def write_table(run: Path, started: Started) -> None:
    """Write `start_from.json` to a run folder, a line a state."""
    lines = [f"{json.dumps(key)}: {_in_lines(value)}" for key, value in started.table().items()]
    storage.write_text(run / _FILE, "{\n" + ",\n".join(lines) + "\n}\n")


def _in_lines(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return json.dumps(value)
    return "[\n" + ",\n".join(f"  {json.dumps(one)}" for one in value) + "\n]"


def _read(source: Source, group: ProcessGroup | None) -> Mapping[str, Tensor]:
    if source.checkpoint is None:
        return read_tensors(source.url, f"{_SETTING}.url")
    return read_weights(source.checkpoint, source.raw, group)


def _renamed(found: Mapping[str, Tensor], rename: Mapping[str, str], url: str) -> There:
    renamed: dict[str, tuple[str, Tensor]] = {}
    idle = dict.fromkeys(rename)
    for old, tensor in found.items():
        pattern, name = next(_renamings(old, rename), ("", old))
        idle.pop(pattern, None)
        if name in renamed:
            raise SettingsError(
                f"{_SETTING}.rename: expected a name of its own for each tensor of {url}, found {name} for "
                f"{renamed[name][0]} and {old}"
            )
        renamed[name] = (old, tensor)
    for pattern in idle:
        raise SettingsError(
            f"{_SETTING}.rename: expected patterns that fit a name in {url} which none before them fits, found "
            f"{pattern!r}; there are {some_names(found)}"
        )
    return renamed


def _renamings(name: str, rename: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Patterns that fit a name, and what each makes of it."""
    for pattern, new in rename.items():
        match = re.fullmatch("(.*)".join(map(re.escape, pattern.split("*"))), name)
        if match is not None:
            yield pattern, "".join(map("".join, zip(new.split("*"), (*match.groups(), ""), strict=True)))


def _fill(system: System, there: There, take: Sequence[str]) -> tuple[list[State], list[State]]:
    """Copy what fits into the model; what was taken, and what was not."""
    states: dict[str, Tensor] = system.state_dict(keep_vars=True)
    check_all_fit(f"{_SETTING}.take", take, states, STATES)
    teachers = _teachers_states(system)
    taken, new = [], []
    for name, tensor in states.items():
        if name in teachers:
            continue
        shape = list(tensor.shape)
        if first_fit(name, take) is None:
            new.append(State(name, shape, why=_NOT_ASKED))
            continue
        if name not in there:
            new.append(State(name, shape, why=_NOT_THERE))
            continue
        old, found = there[name]
        renamed, other = old if old != name else None, list(found.shape) if found.shape != tensor.shape else None
        fitting = _adapted(system, name, found)
        if fitting.shape == tensor.shape:
            tensor.copy_(fitting)
            taken.append(State(name, shape, renamed, other))
        else:
            new.append(State(name, shape, renamed, other, _OTHER_SHAPE))
    return taken, new


def _teachers_states(system: System) -> set[str]:
    """Names of teachers' parameters and buffers."""
    teachers = {teacher for teacher, _ in system.teachers()}
    return {
        f"{place}.{name}"
        for place, module in system.named_modules()
        if module in teachers
        for name in module.state_dict()
    }


def _adapted(system: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """What an embedder makes of a tensor, as of torchvision's weights: positions of another grid, a convolution over
    another number of channels."""
    place = name.rpartition(".")[0]
    while place:
        module = system.get_submodule(place)
        if isinstance(module, Pretrained):
            return module.adapt(name.removeprefix(f"{place}."), tensor)
        place = place.rpartition(".")[0]
    return tensor


def _check(started: Started, settings: StartFromSettings) -> None:
    if not started.taken:
        there = some_names(state.renamed or state.name for state in started.left)
        raise SettingsError(
            f"{_SETTING}: expected tensors of the model in {started.source}, such as "
            f"{some_names(map(str, started.new))}, found none that fits among {there or 'none'}"
        )
    if not settings.strict:
        return
    lacking = [str(state) for state in started.new if state.why != _NOT_ASKED]
    if lacking:
        raise SettingsError(
            f"{_SETTING}.strict: expected all tensors of the model in {started.source}, found none that fits "
            f"{some_names(lacking)}"
        )
    asked = [state for state in started.left if state.why != _TEACHERS]
    more = [state.name for state in asked if first_fit(state.name, settings.take) is not None]
    if more:
        raise SettingsError(
            f"{_SETTING}.strict: expected no other tensors than the model's in {started.source}, found "
            f"{some_names(more)}"
        )
