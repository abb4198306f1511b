"""A step of each objective, through DeepSpeed, against a loop written by hand over the same model, loss and batches."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cluster.process_group import ProcessGroup, join_process_group
from objectives import AV_TRANSFORMER, CO_ATTENTION, GAVT, OBJECTIVES, SEE_HEAR, Objective
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.stream.arrays import noise_of
from pipeline.stream.batch import Batch, take_batch
from pipeline.stream.fields.registry import fields_of
from pipeline.stream.reader import Note
from pipeline.train.engine.build import build_engine, choose_kernels
from pipeline.train.health.watchdog import Watchdog
from pipeline.train.load import untrained
from pipeline.train.micro_batches import MicroBatches, prepared
from pipeline.train.settings import TrainSettings
from pipeline.train.step import Stepper, StopRequest
from pipeline.train.system import noise_metadata
from result import Result

MOST = 1.05
BATCH, ROUNDS, STEPS = 64, 5, 2
_EMBEDDER = {"kind": "convolution", "widths": [32, 64, 128], "norm": "group"}
MODEL = GAVT | {"visual_embedder": _EMBEDDER, "audio_embedder": _EMBEDDER, "width": 192, "heads": 4}
MODEL |= {"feed_forward": 768, "layers": 4}
"""Two million parameters: a step takes long beside what an engine does once in each."""
_EMBEDDERS = {"visual_embedder": _EMBEDDER, "audio_embedder": _EMBEDDER, "width": 192}
MODELS = {
    None: MODEL,
    "see_hear": SEE_HEAR | {"embedders": _EMBEDDERS, "mfb_width": 256, "mfb_factors": 4, "width": 256},
    "av_transformer": AV_TRANSFORMER | {"embedders": _EMBEDDERS, "hidden": 256, "event_width": 256},
    "co_attention": CO_ATTENTION
    | {"sound_widths": [32, 64, 64, 64], "frame_width": 16, "width": 128, "feed_forward": 512},
}
"""By kind of the model in the table of objectives; None takes any. Small ones take no time beside the engine."""


def run() -> list[Result]:
    """A line an objective that trains one of `MODELS`. The times are those of a single core that the process took,
    which others that run there change little."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    group = join_process_group()
    choose_kernels(TrainSettings(), on_gpu=False)
    try:
        sized = [(kind, one) for kind, one in OBJECTIVES.items() if _kind_of_model(one) in MODELS]
        return [_measure(kind, objective, group) for kind, objective in sized]
    finally:
        group.leave()
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)


def _kind_of_model(objective: Objective) -> str | None:
    return objective.sections.get("model", {}).get("kind")


def _measure(kind: str, objective: Objective, group: ProcessGroup) -> Result:
    model = json.dumps(MODELS[_kind_of_model(objective)])
    words = [*objective.words(), f"model={model}", f"train.batch_size={BATCH}", "train.zero_stage=0"]
    settings = load_settings(None, ExperimentSettings, words).settings
    batches = [_noise(settings, number) for number in range(2)]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gavt-"))
        watchdog = stack.enter_context(Watchdog(Path(folder), group, 3600))
        ours = _with_engine(settings, group, cycle(batches), watchdog, stack)
        theirs = _by_hand(settings, cycle(batches))
        times: dict[Callable[[int], None], list[float]] = {ours: [], theirs: []}
        step = 0
        for turn in range(ROUNDS + 1):
            for each, seconds in times.items():
                begun = time.process_time()
                for done in range(step, step + STEPS):
                    each(done)
                if turn:  # memory is found in the first
                    seconds.append((time.process_time() - begun) / STEPS)
            step += STEPS
    figure = min(times[ours]) / min(times[theirs])
    peer = f"a plain PyTorch loop over the same batches: {min(times[theirs]) * 1000:.0f} ms of a core a step"
    return Result(f"task_cost {kind}", figure, "", MOST, figure <= MOST, peer)


def _with_engine(
    settings: ExperimentSettings, group: ProcessGroup, batches: Iterator[Batch], watchdog: Watchdog, stack: ExitStack
) -> Callable[[int], None]:
    """A step as training does it, without data, records and checkpoints."""
    system = untrained(settings, "cpu", 0).train()
    engine = build_engine(system, settings.train, BATCH, group)
    engine.train()
    prepare = prepared(system.task, settings.seed, "example", group.device)
    ahead = stack.enter_context(MicroBatches(map(prepare, batches)))
    stepper = Stepper(settings, BATCH, group, ahead, watchdog)
    return lambda step: _check(stepper.run(engine, step, StopRequest(), None).applied)


def _check(applied: bool) -> None:
    assert applied


def _by_hand(settings: ExperimentSettings, batches: Iterator[Batch]) -> Callable[[int], None]:
    """What anybody would write: AdamW, clipping, teachers that follow."""
    system = untrained(settings, "cpu", 0).train()
    for teacher, _ in system.teachers():
        teacher.requires_grad_(False)
    trained = [parameter for parameter in system.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)

    @torch.no_grad()
    def follow(teacher: nn.Module, student: nn.Module, rate: float) -> None:
        torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), rate)

    def step(number: int) -> None:
        batch = next(batches)
        system.task.begin_step(number)
        targets = system.task.targets(settings.seed, batch.positions, batch.metadata, "example")
        loss, _ = system(batch.inputs("cpu"), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, settings.train.clip_norm)
        optimizer.step()
        system.task.after_step(system.model, number, follow)
        loss.item()

    return step


def _noise(settings: ExperimentSettings, number: int) -> Batch:
    """A batch in memory."""
    features, positions = settings.features, range(number * BATCH, (number + 1) * BATCH)
    fields = fields_of(features, settings.fields, augment=True)
    arrays = noise_of(fields, BATCH, features.augment, np.random.default_rng(number))
    notes = [Note(f"noise{at}", noise_metadata(features, at).model_dump_json()) for at in positions]
    return take_batch(positions, notes, fields, arrays, augment=True)
