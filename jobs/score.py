"""`gavt score`: judge maps that any model made, on a public benchmark of sound localisation."""

from enum import Enum
from typing import Annotated

import typer

from jobs.output import JsonFlag, console, print_json
from jobs.tables import print_tables


class BenchmarkName(str, Enum):
    """What is judged on."""

    vggss = "vggss"
    flickr = "flickr"
    is3 = "is3"
    extended_vggss = "extended-vggss"
    extended_flickr = "extended-flickr"
    music_solo = "music-solo"
    music_duet = "music-duet"
    vggsound_single = "vggsound-single"
    vggsound_duet = "vggsound-duet"
    vggsound_instruments = "vggsound-instruments"
    avatar = "avatar"


def score(
    maps: Annotated[str, typer.Argument(help=".npz with a map [h, w] an id, and confidence:ID; local or s3://.")],
    benchmark: Annotated[BenchmarkName, typer.Option(help="Whose figures.")],
    truth: Annotated[str, typer.Option("--list", help="Its list, or the folder of its annotations; local or s3://.")],
    pairs: Annotated[
        str | None, typer.Option(help="Of an extended set, its list of video,audio,label.", show_default=False)
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="A list whose first cells are the ids to judge, such as vggss_heard_test.csv.", show_default=False
        ),
    ] = None,
    truths: Annotated[
        str | None,
        typer.Option(help="Of a list of names: vggss.json, a folder of masks ID.png, or an .npz.", show_default=False),
    ] = None,
    controls: Annotated[bool, typer.Option("--controls", help="Also centre disc, mean box and ceiling.")] = False,
    align_corners: Annotated[
        bool, typer.Option("--align-corners", help="Resize maps so that corner cells lie on corner pixels.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Judge maps that any model made by the figures of a benchmark, beside what its own evaluators would say."""
    from dataclasses import asdict

    from rich.progress import Progress, TaskID

    from pipeline.evaluate.benchmarks.benchmarks import open_benchmark
    from pipeline.evaluate.benchmarks.map_file import MapFile
    from pipeline.evaluate.benchmarks.score import score_maps
    from pipeline.evaluate.measures.contract import as_json as tables_as_json

    wanted = open_benchmark(benchmark.value, truth, pairs, only, truths)
    made = MapFile(maps)
    confidences = made.confidences(sample.id for sample in wanted.samples if sample.id in made)
    screen = console(as_json)
    with Progress(console=screen, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(row: str, done: int, total: int) -> None:
            if row not in tasks:
                tasks[row] = bars.add_task(row, total=total)
            bars.advance(tasks[row], done)

        found = score_maps(wanted, made, confidences, controls, align_corners, show)
    print_tables([found.table], screen)
    if as_json:
        print_json(
            {
                "benchmark": benchmark.value,
                "list": truth,
                "maps": maps,
                "align_corners": align_corners,
                "coverage": asdict(found.coverage),
                "tables": tables_as_json([found.table]),
                "sweeps": found.sweeps,
            }
        )
