"""`gavt offset`: by how much sound and picture of videos are apart."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from jobs.list_options import ListsArgument, ListWords, with_list_options
from jobs.number_options import finite
from jobs.output import JsonFlag, Overrides, console, print_json

if TYPE_CHECKING:
    from cluster.ray_pool import RayPool
    from pipeline.evaluate.offset.by_model import ModelDetector
    from pipeline.evaluate.offset.offset_file import OffsetFile
    from pipeline.prepare.manifests.offsets import OffsetEntry
    from pipeline.prepare.manifests.row import VideoRow

_STATES = {"told": "told", "unsure": "can't be told", "failed": "failed", "known": "known before"}


@with_list_options(without=("sound", "keypoints", "split_list", "split_share", "split_seed", "offsets", "max_offset"))
def offset(
    sources: ListsArgument,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="Local file of a JSON row a video, .jsonl, for --offsets of gavt prepare and gavt manifest convert. "
            "Started again, it goes on behind the rows that are there, and tries again what may work another time.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Ask a model that was trained to tell offsets: run folder, its checkpoints/ or one checkpoint. By "
            "default what begins to move is compared with what begins to sound.",
            show_default=False,
        ),
    ] = None,
    within: Annotated[
        float,
        typer.Option(
            "--range",
            min=0.1,
            max=30,
            callback=finite,
            help="Look for offsets within ± so many s; a model has its own range.",
        ),
    ] = 2.0,
    sure: Annotated[
        float, typer.Option(min=0.5, max=1, callback=finite, help="Confidence from which an offset is told.")
    ] = 0.9,
    lists: ListWords = ListWords(),
    config: Annotated[
        str | None, typer.Option("--config", "-c", help="Settings file; its sections prepare and fetch are read.")
    ] = None,
    overrides: Overrides = None,
    workers: Annotated[int, typer.Option(min=1, help="Workers; more than one run on Ray.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Say by how much sound and picture of videos are apart: above 0 the sound comes late. Where nothing in them shows
    it, it can't be told. The middle prepare.max_clip_s of each video is looked at.

    Exit codes: 0, videos were judged, told or not; 2, wrong input, or none of them could be read; 77, another one
    writes the same file.
    """
    from pipeline.errors import MediaError, SettingsError, naming
    from pipeline.evaluate.offset.offset_file import OffsetFile
    from pipeline.evaluate.offset.offsets import ONSETS, OffsetTask, judge_list
    from pipeline.experiment import ExperimentSettings
    from pipeline.prepare.manifests.read import VideoList
    from pipeline.settings.load import load_settings

    if checkpoint is not None and workers > 1:
        raise SettingsError(
            f"--workers: expected 1 with --checkpoint, since one process asks the model, found {workers}"
        )
    settings = load_settings(config, ExperimentSettings, overrides or []).settings
    videos, screen = VideoList(sources, lists.options()), console(as_json)
    counts, reasons = Counter[str](), Counter[str]()
    entries: list[OffsetEntry] = []
    last = ""
    with ExitStack() as stack:
        model = None if checkpoint is None else _model(checkpoint, settings.evaluate.device)
        by = ONSETS if model is None else model.trained.url
        file = None if out is None else stack.enter_context(OffsetFile(out, by))
        pool = None if workers == 1 else stack.enter_context(_ray(workers))
        task = OffsetTask(settings.prepare, settings.fetch, within, sure)
        for entry in judge_list(_to_do(videos, file, counts), task, pool, model):
            counts[entry.status] += 1
            if entry.reason is not None:
                reasons[entry.reason] += 1
                last = naming(entry.source, entry.message or "")
            _print(screen, entry)
            if file is None:
                entries.append(entry)
            else:
                file.add(entry)
    judged = counts["told"] + counts["unsure"]
    if as_json:
        rows = {} if out is not None else {"rows": [entry.model_dump(exclude_none=True) for entry in entries]}
        print_json({"out": out, **{name: counts[name] for name in _STATES}, "reasons": dict(reasons), **rows})
    if counts.total() > 1:
        screen.print(", ".join(f"{counts[name]} {words}" for name, words in _STATES.items() if counts[name]))
    if counts["failed"] and not judged + counts["known"]:
        commonest, _ = reasons.most_common(1)[0]
        raise MediaError(commonest, last if counts["failed"] == 1 else f"none of {counts['failed']} videos can be read")


def _to_do(videos: "Iterable[VideoRow]", file: "OffsetFile | None", counts: Counter[str]) -> "Iterator[VideoRow]":
    for row in videos:
        if file is not None and file.knows(row):
            counts["known"] += 1
        else:
            yield row


def _ray(workers: int) -> "RayPool":
    from cluster.ray_pool import RayPool

    return RayPool(None, workers)


def _model(checkpoint: str, device: str) -> "ModelDetector":
    from pipeline.evaluate.device import pick_device
    from pipeline.evaluate.offset.by_model import ModelDetector
    from pipeline.train.load import load_trained

    return ModelDetector.of(load_trained(checkpoint, pick_device(device)))


def _print(screen: Console, entry: "OffsetEntry") -> None:
    if entry.status == "failed":
        screen.print(f"{entry.video}: {entry.reason}: {entry.message}", style="yellow", soft_wrap=True)
        return
    sure = f"confidence {entry.confidence:.2f}, by {entry.by}"
    if entry.offset_s is None:
        screen.print(f"{entry.video}: can't tell ({sure})", soft_wrap=True)
        return
    direction = "late" if entry.offset_s > 0 else "early"
    found = f"{abs(entry.offset_s):.3f} s {direction}" if entry.offset_s else "in sync"
    again = "" if entry.every_s is None else f", or any number of {entry.every_s:g} s more or less"
    screen.print(f"{entry.video}: sound {found}{again} ({sure})", soft_wrap=True)
