"""`gavt train`: train a model, or go on where a run stopped."""

import gc
import math
import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer

from jobs.output import JsonFlag, Overrides, SettingsFile, complain, console, print_json


def train(
    config: SettingsFile,
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings to override: a.b=value …")] = None,
    more: Overrides = None,
    run: Annotated[str | None, typer.Option(help="Run folder; runs/NAME by default. An existing run goes on.")] = None,
    nproc: Annotated[int, typer.Option(min=1, help="Processes on this machine: one a GPU, say.")] = 1,
    restarts: Annotated[
        int, typer.Option(min=0, help="Start all processes again after a crash or hang, so often without progress.")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build everything, do a few steps on noise, and leave no run folder.")
    ] = False,
    dry_steps: Annotated[int, typer.Option(min=2, help="Steps of the dry run; more than 2 to measure speed.")] = 2,
    profile: Annotated[
        bool, typer.Option("--profile", help="Record a few steps: RUN/profile/trace.json.gz and table.txt.")
    ] = False,
    profile_steps: Annotated[
        str | None, typer.Option("--profile-steps", metavar="A:B", help="Record these steps, counted from 1.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train a model; the same command again goes on from the last checkpoint.

    Exit code 75 asks for that: it saved and left because of SIGTERM, SIGUSR2, SIGHUP or its time limit. So does 76 of a
    process that hung, where none of --nproc and --restarts is given, which make it 75.
    """
    from cluster.job_environment import JobEnvironment
    from pipeline.train.run.stop_signals import StartUp

    job = JobEnvironment.of_this_process()
    starting = StartUp(job)
    with starting.noted():
        from cluster.exit_codes import INTERRUPTED, RESTART
        from cluster.launch import launch_local
        from cluster.storage.location import is_remote, path_of
        from pipeline.experiment import ExperimentSettings
        from pipeline.settings.load import load_settings
        from pipeline.train.profile_steps import profile_steps as chosen_steps

        settings = load_settings(config, ExperimentSettings, [*(overrides or []), *(more or [])]).settings
        folder = run or f"runs/{settings.name}"
        folder = folder if is_remote(folder) else str(path_of(folder))
        steps = chosen_steps(profile_steps) if profile_steps is not None else () if profile else None
        launches = (nproc > 1 or restarts > 0) and not job.is_launched
        if not launches:
            _import_training()
        if launches:
            words = [sys.executable, "-m", "jobs.cli", *sys.argv[1:]]
            if dry_run:
                code = launch_local(words, nproc, on_crash=_say_crash)
            else:
                code = launch_local(words, nproc, restarts, partial(_newest, folder), partial(_note_crash, folder))
            if code:
                raise SystemExit(code)
            return
        if dry_run:
            _dry_run_here(starting, settings, dry_steps, as_json)
            return
        result = _train_here(starting, settings, folder, as_json, steps)
        if result.stopped_by is not None:
            if job.is_main:
                complain(
                    f"stopped by {result.stopped_by} after step {result.step}; the same command goes on from there"
                )
            raise SystemExit(INTERRUPTED if result.stopped_by == "SIGINT" else RESTART)
        if job.is_main:
            console(as_json).print(f"{folder}: all {result.step} steps are done", soft_wrap=True)
            if as_json:
                aided = settings.task.label_aided
                print_json({"run": folder, "step": result.step, "last": result.last, "label_aided": aided})


def get_ready() -> None:
    """Import what a training needs, in a process from which its ranks are forked."""
    _import_training()
    from cluster.process_group import asked_for_gpu, tell_accelerator

    tell_accelerator(asked_for_gpu())
    from pipeline.train.engine.importing import import_deepspeed

    import_deepspeed()


def _import_training() -> None:
    """Import what every training needs."""
    from cluster.importing import imports_at_once

    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads would take the cores from the loader
    with imports_at_once():
        for name in ("pipeline.experiment", "pipeline.train.loop", "pipeline.evaluate.training_maps"):
            import_module(name)
        gc.freeze()  # none of it is ever garbage, and to look through it takes a tenth of a second each time


def _newest(run: str) -> str | None:
    """Name of the newest checkpoint; empty before the first, None where the storage can't be reached."""
    from cluster import storage
    from cluster.errors import StorageError

    latest = storage.join(run, "checkpoints", "latest")
    try:
        return storage.read_text(latest) if storage.exists(latest) else ""
    except StorageError as error:
        complain(str(error))
        return None


def _say_crash(failure: Any, left: int | None) -> None:
    """All processes are gone because one crashed or hung."""
    then = (
        "giving up" if left is None else f"starting again, {left} restart{'s' if left > 1 else ''} left with this one"
    )
    complain(f"{failure}; {then}")


def _note_crash(run: str, failure: Any, left: int | None) -> None:
    """Say it here and in the run's events."""
    from cluster.errors import StorageError
    from pipeline.train.run.remote_logs import note_crash

    _say_crash(failure, left)
    try:
        note_crash(run, rank=failure.rank, reason=str(failure), restarts_left=left or 0)
    except StorageError as error:  # a storage that is away is no reason not to start again
        complain(str(error))


def _dry_run_here(starting: Any, settings: Any, steps: int, as_json: bool) -> None:
    from cluster.process_group import join_process_group
    from pipeline.train.dry_run import dry_run

    with ExitStack() as leaving, starting.heard():
        group = join_process_group()
        leaving.callback(group.leave)
        found = dry_run(_settled(settings, group, as_json), group, steps)
    if not group.is_main:
        return
    if found.started_from is not None:
        console(as_json).print(found.started_from, soft_wrap=True, markup=False, highlight=False)
    at_once = f"{found.micro_batch} samples a process at once, {found.accumulated} times a step"
    first, second = found.seconds[:2]
    pace = "" if found.samples_per_s is None else f"; {found.samples_per_s:.1f} samples/s"
    mfu = "" if found.mfu is None else f", model FLOPs utilisation {found.mfu:.1%}"
    console(as_json).print(
        f"{found.device} × {found.processes}: {found.parameters / 1e6:.1f} million parameters, {at_once}; "
        f"a step {second:.3f} s (the first {first:.3f} s){pace}{mfu}; at most {found.memory_gib:.2f} GiB a process; "
        f"loss {found.losses[0]:.4f} to {found.losses[-1]:.4f}{'' if found.finite else ': NOT FINITE'}"
    )
    if as_json:
        print_json(_finite(asdict(found)))
    if not found.finite:
        raise SystemExit(1)


def _settled(settings: Any, group: Any, as_json: bool) -> Any:
    """The settings with what their `auto` becomes on these machines, which is said."""
    if "auto" not in (settings.train.micro_batch, settings.train.activation_checkpointing):
        return settings
    from pipeline.plan.settle import machines_of, settle

    settings = group.on_main(lambda: settle(settings, machines_of(group)))
    if group.is_main:
        train = settings.train
        console(as_json).print(
            f"settled: train.micro_batch={train.micro_batch} "
            f"train.activation_checkpointing={train.activation_checkpointing}",
            soft_wrap=True,
        )
    return settings


def _finite(result: dict[str, Any]) -> dict[str, Any]:
    """As JSON, which knows no other numbers."""
    return result | {"losses": [loss if math.isfinite(loss) else None for loss in result["losses"]]}


def _train_here(
    starting: Any, settings: Any, folder: str, as_json: bool, steps: tuple[int, int] | tuple[()] | None
) -> Any:
    from cluster.process_group import join_process_group
    from cluster.stop_signals import STOP_SIGNALS
    from jobs.train_line import TrainLine
    from pipeline.evaluate.training_maps import TrainingMaps
    from pipeline.train.loop import train as train_loop
    from pipeline.train.metric_names import MAP_METRICS
    from pipeline.train.profile import ProfileRequest

    with ExitStack() as leaving, starting.heard():
        # the watchdog, which says more, comes before the time limit of collectives
        group = join_process_group(timeout_s=600 + 2 * settings.train.health.hang_s)
        leaving.callback(group.leave)
        starting.have_met()
        settings = _settled(settings, group, as_json)
        told, aided = (*settings.task.metrics, *MAP_METRICS), settings.task.label_aided
        with TrainLine(console(as_json), settings.train.steps, folder, told, group.is_main, aided) as line:
            first, last = steps or (None, None)
            asked = None if steps is None else ProfileRequest(first, last, line.console.print)
            maps = partial(TrainingMaps, settings, settings.evaluate)
            result = train_loop(settings, folder, group, line.update, asked, starting.signals, line.tell, maps)
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # all is saved: a late one shall not make a failure of it
        return result
