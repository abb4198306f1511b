"""`gavt stream`: what reading shards costs, measured here or planned for elsewhere."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from jobs.number_options import finite
from jobs.output import JsonFlag, Overrides, console, print_json

if TYPE_CHECKING:
    from pipeline.stream.bench import BenchReport
    from pipeline.stream.simulate.simulation import Forecast, PlannedJob

app = typer.Typer(help="Measure and plan how shards are read.", no_args_is_help=True)

ConfigOption = Annotated[
    str | None, typer.Option("--config", help="Settings file; its sections `data`, `features`, `train` count.")
]


@app.command("simulate")
def simulate(
    shard_set: Annotated[
        str | None, typer.Argument(help="Shard set whose sizes count, local or s3://; else the options.")
    ] = None,
    shards: Annotated[int, typer.Option("--shards", min=1, help="Without a shard set: how many shards.")] = 10_000,
    samples_per_shard: Annotated[int, typer.Option("--samples-per-shard", min=1, help="Their samples.")] = 1000,
    videos_per_shard: Annotated[
        int | None, typer.Option("--videos-per-shard", min=1, help="Of so many videos, for data.samples_per_video=1.")
    ] = None,
    sample_kb: Annotated[
        float, typer.Option("--sample-kb", min=0.001, callback=finite, help="Size of a sample in kB.")
    ] = 120.0,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Machines, each with its own cache.")] = 1,
    ranks: Annotated[int, typer.Option("--ranks", min=1, help="Processes (GPUs) a node.")] = 1,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Samples a step of all ranks; default train.batch_size.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Epochs to go through.")] = 2,
    samples_per_s: Annotated[
        float,
        typer.Option(
            "--samples-per-s", min=0.001, callback=finite, help="Pace of the whole job, for the load on the storage."
        ),
    ] = 1000.0,
    config: ConfigOption = None,
    overrides: Overrides = None,
    as_json: JsonFlag = False,
) -> None:
    """Say how well a planned job shuffles, what its nodes download and what their caches save, without reading data."""
    from pipeline.errors import SettingsError
    from pipeline.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings
    from pipeline.stream.simulate.advice import advise
    from pipeline.stream.simulate.shard_sizes import ShardSizes
    from pipeline.stream.simulate.simulation import PlannedJob
    from pipeline.stream.simulate.simulation import simulate as go_through

    settings = load_settings(config, ExperimentSettings, overrides or []).settings
    by_video = settings.data.samples_per_video == 1
    if shard_set is not None:
        sizes = ShardSizes.of(shard_set, by_video)
    elif by_video and not 1 <= (videos_per_shard or 0) <= samples_per_shard:
        raise SettingsError(
            f"--videos-per-shard: expected 1 to {samples_per_shard} (--samples-per-shard) beside "
            f"data.samples_per_video = 1, found {videos_per_shard or 'none'}"
        )
    else:
        shown = videos_per_shard if by_video else None
        sizes = ShardSizes.imagined(shards, samples_per_shard, max(1, round(sample_kb * 1000)), shown)
    size = settings.train.batch_size if batch_size is None else batch_size
    job = PlannedJob(nodes, ranks, size, settings.data, epochs, settings.seed, samples_per_s)
    forecast = go_through(sizes, job)
    advice = advise(job, forecast)
    screen = console(as_json)
    screen.print(_facts(job, forecast))
    screen.print(_epochs(forecast))
    for sentence in [*forecast.scaled, advice]:
        screen.print(sentence)
    if as_json:
        print_json({**asdict(forecast), "advice": advice})


@app.command("bench")
def bench(
    shard_set: Annotated[str, typer.Argument(help="Shard set to read, local or s3://.")],
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.5, callback=finite, help="Time for each number of workers.")
    ] = 5.0,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Samples of a batch.")] = 64,
    augment: Annotated[bool, typer.Option("--augment/--plain", help="As in training, or as in validation.")] = True,
    config: ConfigOption = None,
    overrides: Overrides = None,
    as_json: JsonFlag = False,
) -> None:
    """Read a shard set as training would, and say how fast and where the time goes."""
    from pipeline.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings
    from pipeline.stream.bench import bench as measure
    from pipeline.stream.bench import fitting_features

    resolved = load_settings(config, ExperimentSettings, overrides or [])
    settings = resolved.settings
    unset = [key.removeprefix("features.") for key, _, origin in resolved.rows() if origin == "default"]
    features = fitting_features(shard_set, settings.features, unset)
    screen = console(as_json)
    where = (shard_set, features, settings.data, settings.seed)
    report = measure(*where, augment, batch_size, seconds, settings.fields)
    screen.print(_rates(report))
    screen.print(_stages(report))
    screen.print(report.advice)
    if as_json:
        print_json(asdict(report))


def _facts(job: "PlannedJob", forecast: "Forecast") -> Table:
    quality = forecast.quality
    table = Table("planned", "", box=None, pad_edge=False, show_header=False)
    shown = "" if forecast.shown == forecast.samples else f", of which an epoch shows {forecast.shown}"
    table.add_row("shard set", f"{forecast.samples} samples, {_bytes(forecast.set_bytes)}{shown}")
    ranks = job.nodes * job.ranks_per_node
    table.add_row(
        "job", f"{job.nodes} nodes × {job.ranks_per_node} ranks, {job.batch_size // ranks} samples a rank a step"
    )
    table.add_row("order", f"{forecast.lanes} lanes, blocks of {job.data.block_samples} samples")
    table.add_row(
        "shuffle",
        f"neighbours of one shard {quality.same_shard:.2%}, correlation of shards {quality.correlation:.3f}: "
        f"like a buffer of {quality.buffer_samples} samples",
    )
    table.add_row("a shard is read by", f"{forecast.nodes_per_shard:.1f} nodes")
    at_hand = _bytes(forecast.window_bytes)
    table.add_row("a node reads", f"{_bytes(forecast.node_set_bytes)} an epoch, and needs {at_hand} of it at hand")
    cache = f"{job.data.cache.gigabytes:g} GB, of which {_bytes(forecast.ring_bytes)} for what is shown soon"
    table.add_row("a node's cache", cache if forecast.ring_bytes else "none, or too small to help")
    return table


def _epochs(forecast: "Forecast") -> Table:
    table = Table("epoch", "cache hits", "a node downloads", "all nodes", "times each", "requests/s", "load", box=None)
    for epoch in forecast.epochs:
        table.add_row(
            str(epoch.epoch + 1),
            f"{epoch.cache_hits:.1%}",
            f"{_bytes(epoch.node_bytes)} in {epoch.node_downloads:.0f}",
            _bytes(epoch.total_bytes),
            f"{epoch.times:.2f}",
            f"{epoch.requests_per_s:.1f}",
            f"{_bytes(epoch.bytes_per_s)}/s",
        )
    return table


def _rates(report: "BenchReport") -> Table:
    table = Table("workers", "samples/s", "MB/s", "cores busy", "first batch", box=None, pad_edge=False)
    for run in report.runs:
        table.add_row(
            str(run.workers),
            f"{run.samples_per_s:.1f}",
            f"{run.bytes_per_s / 1e6:.1f}",
            f"{run.cores:.2f}",
            f"{run.first_batch_s:.2f} s",
        )
    return table


def _stages(report: "BenchReport") -> Table:
    table = Table("stage", "ms a sample", "share", box=None, pad_edge=False)
    total = sum(report.stages_ms.values())
    for name, milliseconds in report.stages_ms.items():
        table.add_row(name, f"{milliseconds:.3f}", f"{milliseconds / total:.0%}")
    return table


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
