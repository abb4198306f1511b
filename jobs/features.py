"""`gavt features`: features of frozen networks, made once of every sample of a shard set and stored."""

import os
import re
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jobs.evaluate import Bars, joined, say_crash
from jobs.failure_options import MaxFailureRateOption, RetryOption
from jobs.output import JsonFlag, console, print_json

if TYPE_CHECKING:
    from pipeline.extract.settings import ExtractSettings
    from pipeline.shards.dataset import Dataset

Square = Literal["centre", "squash", "letterbox"]


def features(
    source: Annotated[str, typer.Argument(help="Shard set, or tars that others wrote, local or s3://.")],
    out: Annotated[str, typer.Option(help="Folder or prefix of the new shard set.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="vgg19, vggish, resnet18, resnet50, resnet101, timm/NAME, or a run, checkpoint or export; repeatable, "
            "MEMBER=MODEL names what is stored."
        ),
    ] = None,
    from_ave: Annotated[
        bool,
        typer.Option(
            "--from-ave", help="SOURCE is the folder of AVE's published features; OUT gets a set of each split."
        ),
    ] = False,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="File of the model's weights, or their name; MODEL=FILE where there are several."),
    ] = None,
    pca: Annotated[str | None, typer.Option(help="File of VGGish's PCA: features become 0–255 as in AudioSet.")] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Networks as they are initialised from --seed.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of random weights.")] = 0,
    keep_media: Annotated[
        bool, typer.Option("--keep-media", help="Pictures and sound stay beside the features.")
    ] = False,
    seconds: Annotated[
        int | None, typer.Option(min=1, help="Of clips, seconds around their middle; by default as the first has.")
    ] = None,
    geometry: Annotated[
        Square | None, typer.Option(help="How a picture becomes a square; squash by default, a trained model's centre.")
    ] = None,
    stage: Annotated[
        Literal["embedded", "encoded", "fused"], typer.Option(help="Which tokens of a trained model.")
    ] = "fused",
    means: Annotated[bool, typer.Option("--means", help="Of a trained model the means over its tokens.")] = False,
    by_part: Annotated[
        bool, typer.Option("--by-part", help="Of a trained model of one frame: each segment or second by itself.")
    ] = False,
    dtype: Annotated[Literal["float16", "float32"], typer.Option(help="That features are stored in.")] = "float16",
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="That networks compute in.")] = "fp32",
    retry: RetryOption = None,
    max_failure_rate: MaxFailureRateOption = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples that are computed together.")] = 8,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that read and decode, a process; the other cores by default.")
    ] = None,
    nproc: Annotated[
        int, typer.Option(min=1, help="Processes on this machine that share the shards: one a GPU, say.")
    ] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Store features of a shard set's samples, beside their media or instead. Interrupted and started again, it makes
    only the shards that are missing."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads would take the cores from the loader
    from cluster.job_environment import JobEnvironment
    from cluster.launch import launch_local

    if from_ave:
        _convert_ave(source, out, dtype, as_json)
        return
    job = JobEnvironment.of_this_process()
    if nproc > 1 and not job.is_launched:
        code = launch_local([sys.executable, "-m", "jobs.cli", *sys.argv[1:]], nproc, on_crash=say_crash)
        if code:
            raise SystemExit(code)
        return
    chosen = {
        "models": _models(model or [], weights or []),
        "pca": pca,
        "random_weights": random_weights,
        "seed": seed,
        "keep_media": keep_media,
        "seconds": seconds,
        "geometry": geometry,
        "stage": stage,
        "means": means,
        "by_part": by_part,
        "dtype": dtype,
        "precision": precision,
        "batch": batch,
    }
    _extract(source, out, chosen, workers, retry or [], max_failure_rate, as_json)


def _extract(
    source: str,
    out: str,
    chosen: dict[str, Any],
    workers: int | None,
    retry: list[str],
    max_failure_rate: float | None,
    as_json: bool,
) -> None:
    from cluster.cores import usable_cores
    from cluster.job_environment import JobEnvironment
    from cluster.process_group import ProcessGroup
    from pipeline.extract.extract import extract_features
    from pipeline.shards.ledger import reasons_to_retry
    from pipeline.stream.settings import DataSettings

    job = JobEnvironment.of_this_process()
    with ExitStack() as stack:
        group: ProcessGroup = stack.enter_context(joined())
        bars = stack.enter_context(Bars(as_json, shown=job.is_main))
        spare = usable_cores() // (job.local_world_size or 1) - 1
        reading = DataSettings(workers=max(1, spare) if workers is None else workers)
        dataset = extract_features(
            source,
            out,
            _settings(chosen),
            reading,
            group,
            lambda done, total: bars.show("samples", done, total),
            reasons_to_retry(retry),
            max_failure_rate,
        )
        bars.stop()
        if job.is_main:
            _report(dataset, out, as_json)


def _convert_ave(folder: str, out: str, dtype: Literal["float16", "float32"], as_json: bool) -> None:
    from pipeline.extract.ave import convert_ave

    with Bars(as_json, shown=True) as bars:
        made = convert_ave(folder, out, dtype, lambda done, total: bars.show("samples", done, total))
    for split, dataset in made.items():
        console(as_json).print(f"{out}/{split}: {dataset.samples} samples in {len(dataset.shards)} shards")
    if as_json:
        print_json({"out": out, **{split: dataset.samples for split, dataset in made.items()}})


def _settings(chosen: dict[str, Any]) -> "ExtractSettings":
    from pipeline.extract.settings import ExtractSettings

    return ExtractSettings.model_validate(chosen)


def _models(words: list[str], weights: list[str]) -> list[dict[str, str | None]]:
    """MEMBER=MODEL and MODEL=FILE as settings."""
    from pipeline.errors import SettingsError
    from pipeline.shards.array_file import MEMBER

    if not words:
        raise SettingsError("--model: expected a network, such as vgg19, found none")
    models: list[dict[str, str | None]] = []
    for word in words:
        name, equals, model = word.rpartition("=")
        if equals and not re.fullmatch(MEMBER, name):
            raise SettingsError(
                f"--model {word}: expected MEMBER=MODEL, the member of a-z, 0-9, . _ and -, found {name!r}"
            )
        models.append({"model": model, "name": name if equals else None})
    for word in weights:
        of, equals, file = word.partition("=")
        mine = [model for model in models if model["model"] == of] if equals else models
        if len(mine) != 1:
            known = ", ".join(str(model["model"]) for model in models)
            raise SettingsError(f"--weights: expected MODEL=FILE for one of {known}, found {word}")
        mine[0]["weights"] = file if equals else word
    return models


def _report(dataset: "Dataset", out: str, as_json: bool) -> None:
    from pipeline.errors import ShardSetError

    screen = console(as_json)
    made = dataset.features or {}
    for name, member in made.get("members", {}).items():
        screen.print(f"{name} {member['shape']} of {member['model']}, weights {member['weights_sha256'][:12]}…")
    for reason, count in dataset.reasons.items():
        screen.print(f"failed: {reason} {count}, such as {dataset.examples[reason]}", style="yellow", soft_wrap=True)
    size = sum(shard.bytes for shard in dataset.shards) / 1e6
    screen.print(f"{out}: {dataset.samples} samples in {len(dataset.shards)} shards, {size:.1f} MB; see ledger.jsonl")
    if as_json:
        print_json({"out": out, **dataset.model_dump(mode="json", exclude={"shards"}), "shards": len(dataset.shards)})
    if not dataset.samples:
        raise ShardSetError(f"{out}: none of {dataset.videos} videos gave features; see {out}/ledger.jsonl")
