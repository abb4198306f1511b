"""`gavt plan`: what training will need, before anything is rented."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jobs.number_options import finite
from jobs.output import JsonFlag, SettingsFile, console, print_json

if TYPE_CHECKING:
    from pipeline.plan.plan import TrainingPlan, Way

_GIB = 2**30


def plan(
    config: SettingsFile,
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings to override: a.b=value …")] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", min=1, help="GPUs of the whole job.")] = None,
    nodes: Annotated[int | None, typer.Option("--nodes", min=1, help="Machines.")] = None,
    gpus_per_node: Annotated[int | None, typer.Option("--gpus-per-node", min=1, help="GPUs of a machine.")] = None,
    gpu_memory: Annotated[
        float | None, typer.Option("--gpu-memory", min=0.1, max=1e6, callback=finite, help="GiB of one GPU.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", help="Name of the GPU, for its memory and pace: h200, a100 …")
    ] = None,
    mfu: Annotated[
        float, typer.Option("--mfu", min=0.001, max=1, callback=finite, help="Share of its peak the model is to reach.")
    ] = 0.4,
    samples_per_s: Annotated[
        float | None,
        typer.Option(
            "--samples-per-s",
            min=0.001,
            max=1e12,
            callback=finite,
            help="Measured pace of the whole job, before --mfu.",
        ),
    ] = None,
    samples_per_shard: Annotated[
        int | None,
        typer.Option("--samples-per-shard", min=1, help="That an epoch shows, where data.train isn't there yet."),
    ] = None,
    core_samples_per_s: Annotated[
        float | None,
        typer.Option(
            "--core-samples-per-s",
            min=0.001,
            max=1e12,
            callback=finite,
            help="That a core reads and decodes; measured where data.train lies on this machine (gavt stream bench).",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say what training will need: memory of a GPU by ZeRO stage, offload and checkpointing, FLOPs, hours, shards."""
    from cluster.importing import imports_at_once

    with imports_at_once():
        from pipeline.experiment import ExperimentSettings
        from pipeline.plan.advice import advise
        from pipeline.plan.machines import machines
        from pipeline.plan.plan import make_plan
        from pipeline.plan.settle import settle
        from pipeline.settings.load import load_settings

    where = machines(gpus, nodes, gpus_per_node, gpu_memory, gpu, mfu, samples_per_s)
    settings = load_settings(config, ExperimentSettings, overrides or []).settings
    found = make_plan(settle(settings, where), where, samples_per_shard, core_samples_per_s=core_samples_per_s)
    advice = advise(found)
    screen = console(as_json)
    screen.print(_facts(found))
    screen.print(_tokens(found))
    screen.print(_ways(found))
    screen.print(advice)
    if as_json:
        print_json(_as_json(found, advice))


def _facts(found: "TrainingPlan") -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    where, flops, data = found.machines, found.flops, found.data
    parts = ", ".join(f"{name} {_count(count)}" for name, count in found.parameters.items())
    table.add_row("parameters", f"{_count(sum(found.parameters.values()))}: {parts}")
    shares = ", ".join(f"{name} {_count(count)}" for name, count in flops.parts.items())
    table.add_row(
        "FLOPs a sample",
        f"forward {_count(flops.forward)} ({shares}), backward {_count(flops.backward)}, "
        f"recomputed {_count(flops.recomputed)}",
    )
    table.add_row(
        "machines",
        f"{where.gpus} GPUs of {where.gpu_memory / _GIB:.3g} GiB in {where.nodes} machine{'s' * (where.nodes > 1)}, "
        f"of which {where.usable / _GIB:.1f} for tensors",
    )
    table.add_row("a GPU at once", f"{found.micro_batch} of a step's {found.batch_size} samples")
    if found.samples_per_s is None or found.hours is None:
        table.add_row("pace", "not known: give --gpu for its peak and --mfu, or --samples-per-s")
    else:
        source = "as given" if where.samples_per_s else f"at {where.mfu:.0%} of the peak of {where.name}"
        table.add_row(
            "pace", f"{found.samples_per_s:.0f} samples/s {source}; {found.steps} steps in {found.hours:.1f} h"
        )
    if data.shards_per_s:
        table.add_row("data", f"{data.shards_per_s:.2f} shards/s of {data.samples_per_shard:.0f} samples")
    table.add_row("feeding", _feeding(found))
    if data.epochs:
        table.add_row("epochs", f"{data.epochs:.1f} over {data.samples} samples")
    host = found.chosen.memory.host * min(where.gpus_per_node, where.gpus)
    table.add_row("checkpoint", f"{found.checkpoint_bytes / _GIB:.1f} GiB")
    table.add_row(
        "host memory",
        f"{host / _GIB:.1f} GiB of a machine for what is offloaded, {found.copies_bytes / _GIB:.1f} GiB while it saves",
    )
    return table


def _feeding(found: "TrainingPlan") -> str:
    """How many cores a GPU needs."""
    feeding, slots = found.feeding, found.feeding.slots_bytes * min(found.machines.gpus_per_node, found.machines.gpus)
    memory = f"; {slots / _GIB:.1f} GiB of a machine's memory for batches"
    if feeding.core_samples_per_s is None:
        return f"not known how fast a core decodes: give --core-samples-per-s, or a data.train on this machine{memory}"
    source = "as measured on this machine" if feeding.is_measured else "as given"
    rate = f"a core reads and decodes {feeding.core_samples_per_s:.0f} samples/s {source}"
    if feeding.cores is None:
        return f"{rate}; how many a GPU needs follows from its pace{memory}"
    return f"{feeding.cores:.1f} cores for each GPU: {rate}{memory}"


def _tokens(found: "TrainingPlan") -> Table:
    """Where the tokens of each stream look: lengths are pixels of a frame, cells of a spectrogram."""
    columns = ("tokens of", "along", "tokens", "input", "stride", "first centre", "from the even cell", "sees")
    table = Table(*columns, box=None, pad_edge=False)
    for stream, grid in found.grids.items():
        for axis, tokens in grid.axes:
            sees = grid.sees.get(axis)
            if sees is None:
                table.add_row(stream, axis, str(tokens), *["–"] * 5)
                continue
            places = (f"{sees.length}", f"{sees.stride:g}", f"{sees.centre:g}", f"{sees.shift(tokens):+.2f} cells")
            table.add_row(stream, axis, str(tokens), *places, "all" if sees.size is None else f"{sees.size:g}")
    return table


def _ways(found: "TrainingPlan") -> Table:
    columns = ("ZeRO", "offload", "checkpointing", "parameters", "gradients", "optimizer", "buckets", "activations")
    table = Table(*columns, "GiB", "", "a sample more", "most samples", "host", box=None, pad_edge=False)
    for way in found.ways:
        memory = way.memory
        parts = (memory.parameters, memory.gradients, memory.optimizer, memory.work, memory.activations)
        own = "◀ settings" if way is found.chosen else ""
        table.add_row(
            str(way.stage),
            way.offload,
            _mode(way),
            *(_gib(part) for part in parts),
            _gib(memory.total),
            "fits" if way.fits else "too much",
            _gib(way.per_sample),
            str(way.largest or "–"),
            f"{_gib(memory.host) if memory.host else '–'} {own}",
        )
    return table


def _mode(way: "Way") -> str:
    return way.checkpointing if isinstance(way.checkpointing, str) else f"every {way.checkpointing}"


def _gib(size: float) -> str:
    return f"{size / _GIB:.2f}"


def _count(number: float) -> str:
    for unit, name in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:.3g}"


def _as_json(found: "TrainingPlan", advice: str) -> dict[str, Any]:
    plain = asdict(found)
    for way, result in zip([*found.ways, found.chosen], [*plain["ways"], plain["chosen"]], strict=True):
        result["memory"]["total"] = way.memory.total
    return {**plain, "advice": advice}
