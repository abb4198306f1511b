"""Teachers: parts of a system that no gradient changes, and that follow parts of it which are trained.

A step of 0.001 towards the student is lost in 16 bits. So where the model computes in 16 bits, a teacher has float32
masters as its student has, shared out in the same way, and its parameters are rounded from them after each step.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cluster.process_group import ProcessGroup
from pipeline.errors import SettingsError
from pipeline.tasks.task import System
from pipeline.train.engine.fragments import MASTER, Fragment, Held, held, own_numbers, shape_of
from pipeline.train.settings import TrainSettings

Pair = tuple[nn.Module, nn.Module]
"""A teacher and its student."""


def check_teachers(system: System, settings: TrainSettings) -> None:
    """Refuse a task with teachers where they can't follow.

    Raises:
        SettingsError: the weights of their students lie in files.
    """
    if settings.offload == "nvme" and system.teachers():
        raise SettingsError(
            "train.offload: expected none or cpu, as a teacher of the task can't follow weights that lie in files, "
            "found nvme"
        )


@torch.no_grad()
def begin_teachers(pairs: Sequence[Pair]) -> None:
    """Have teachers begin as their students are, buffers and all, without gradients.

    Raises:
        ValueError: a task has made a teacher that is not like its student.
    """
    for teacher, student in pairs:
        ours, theirs = dict(teacher.named_parameters()), dict(student.named_parameters())
        if [(name, one.shape) for name, one in ours.items()] != [(name, one.shape) for name, one in theirs.items()]:
            raise ValueError(f"a teacher must have its student's parameters, {list(theirs)}, not {list(ours)}")
        if any(one is theirs[name] for name, one in ours.items()):
            raise ValueError("a teacher must have parameters of its own, not its student's")
        for name, parameter in ours.items():
            parameter.requires_grad_(False).copy_(theirs[name])
        for buffer, followed in zip(teacher.buffers(), student.buffers(), strict=True):
            buffer.copy_(followed)


class Teachers:
    """The teachers of an engine.

    Attributes:
        apart: their parameters that have float32 masters beside them.
    """

    def __init__(self, engine: Any, pairs: Sequence[Pair], precision: str, group: ProcessGroup) -> None:
        """
        Args:
            engine: DeepSpeed's.
        """
        kind = _InFloat32 if precision == "fp32" else _In16Bits
        self._teachers = {teacher: kind(engine, teacher, student, group) for teacher, student in pairs}
        apart = [one for one in self._teachers.values() if isinstance(one, _In16Bits)]
        self.apart = {parameter for one in apart for parameter in one.students}

    @torch.no_grad()
    def follow(self, teacher: nn.Module, student: nn.Module, rate: float) -> None:
        """Move one towards its student (see `Engine.follow`)."""
        if teacher not in self._teachers or self._teachers[teacher].student is not student:
            raise ValueError("only a teacher that the task names as one can follow, and only its own student")
        if not 0 <= rate <= 1:
            raise ValueError(f"a teacher follows at a rate from 0 to 1, not {rate}")
        self._teachers[teacher].follow(rate)
        for buffer, followed in zip(teacher.buffers(), student.buffers(), strict=True):
            if buffer.is_floating_point():
                # what is alike stays: between two infinities lies no number
                buffer.copy_(torch.where(buffer == followed, buffer, buffer.lerp(followed, rate)))
            else:
                buffer.copy_(followed)

    def fragments(self, module: nn.Module) -> Iterator[Fragment]:
        """What this process holds of the parameters that have masters."""
        names = {parameter: name for name, parameter in module.named_parameters()}
        for one in self._teachers.values():
            yield from one.fragments(names)

    def refresh(self) -> None:
        """Make the parameters that the model computes with those of the masters."""
        for one in self._teachers.values():
            one.refresh()


class _Teacher:
    """A teacher, and how its parameters follow."""

    def __init__(self, teacher: nn.Module, student: nn.Module, stage: int) -> None:
        self.teacher, self.student, self._stage = teacher, student, stage

    def follow(self, rate: float) -> None:
        raise NotImplementedError

    def fragments(self, names: dict[nn.Parameter, str]) -> Iterator[Fragment]:
        yield from ()

    def refresh(self) -> None:
        """Under ZeRO 3, have those that stay whole on every process be what was shared out."""
        whole: list[Any] = [one for one in self.teacher.parameters() if getattr(one, "ds_persist", False)]
        if self._stage == 3 and whole:
            whole[0].partition(whole)
            whole[0].all_gather(whole)


class _InFloat32(_Teacher):
    """Its parameters, and those of its student, are their own masters wherever they lie."""

    def __init__(self, engine: Any, teacher: nn.Module, student: nn.Module, group: ProcessGroup) -> None:
        super().__init__(teacher, student, engine.zero_optimization_stage())

    def follow(self, rate: float) -> None:
        ours, theirs = ([own_numbers(p)[1] for p in one.parameters()] for one in (self.teacher, self.student))
        torch._foreach_lerp_(ours, theirs, rate)
        self.refresh()


class _In16Bits(_Teacher):
    """Its masters lie where those of its student do; what of its student is not trained stays as it is.

    Attributes:
        students: by the teacher's parameters what is trained of the student's.
        masters: what this process holds of them, in a row.
    """

    def __init__(self, engine: Any, teacher: nn.Module, student: nn.Module, group: ProcessGroup) -> None:
        super().__init__(teacher, student, engine.zero_optimization_stage())
        pairs = zip(teacher.parameters(), student.parameters(), strict=True)
        self.students = {ours: theirs for ours, theirs in pairs if theirs.requires_grad}
        teachers = {theirs: ours for ours, theirs in self.students.items()}
        followed = [one for one in held(engine, changed=False) if one.parameter in teachers and one.size]
        self._followed: list[tuple[nn.Parameter, Held]] = [(teachers[one.parameter], one) for one in followed]
        pieces = [one.of(one.master) for one in followed]
        self.masters = torch.cat(pieces) if pieces else torch.empty(0)
        self._pieces = list(torch.split(self.masters, [piece.numel() for piece in pieces])) if pieces else []
        order = {parameter: at for at, parameter in enumerate(self.students)}
        layout = [(order[parameter], one.start, one.size) for parameter, one in self._followed]
        # of each process, what of which parameter it holds
        self._layouts = group.gather_objects(layout) if self._stage in (1, 2) else []

    def follow(self, rate: float) -> None:
        if self._pieces:
            torch._foreach_lerp_(self._pieces, [one.of(one.master) for _, one in self._followed], rate)
        self.refresh()

    def fragments(self, names: dict[nn.Parameter, str]) -> Iterator[Fragment]:
        for (parameter, one), piece in zip(self._followed, self._pieces, strict=True):
            yield Fragment(names[parameter], shape_of(parameter), one.start, {MASTER: piece}, self._stage > 0)

    def refresh(self) -> None:
        if self._stage in (1, 2):
            self._share()
        else:
            _copy([own_numbers(parameter)[1] for parameter, _ in self._followed], self._pieces)
            super().refresh()

    def _share(self) -> None:
        """Round what this process holds, and have all get that of all."""
        parameters = list(self.students)
        numbers = [sum(size for _, _, size in layout) for layout in self._layouts]
        if not any(numbers):
            return
        own = parameters[0].new_empty(max(numbers))
        own[: self.masters.numel()].copy_(self.masters)
        rows = own.new_empty(len(numbers) * len(own))
        dist.all_gather_into_tensor(rows.view(torch.uint8), own.view(torch.uint8))
        for row, layout in zip(torch.split(rows, len(own)), self._layouts, strict=True):
            places = [parameters[at].data.view(-1)[start : start + size] for at, start, size in layout]
            sizes = [size for _, _, size in layout]
            _copy(places, list(torch.split(row[: sum(sizes)], sizes)))


def _copy(places: list[Tensor], numbers: list[Tensor]) -> None:
    if places:
        torch._foreach_copy_(places, numbers)
