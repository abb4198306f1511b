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
    benchmark: Annotated[BenchmarkName, typer.Option(help="Whose figures.")],
    truth: Annotated[str, typer.Option("--list", help="Its list, or the folder of its annotations; local or s3://.")],
    maps: Annotated[
        str | None,
        typer.Argument(
            help=".npz with a map [h, w] an id, and confidence:ID; local or s3://. With --controls it may be left out.",
            show_default=False,
        ),
    ] = None,
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

    from cluster.errors import UserError
    from pipeline.evaluate.benchmarks.benchmarks import open_benchmark
    from pipeline.evaluate.benchmarks.map_file import MapFile
    from pipeline.evaluate.benchmarks.score import score_controls, score_maps
    from pipeline.evaluate.measures.contract import as_json as tables_as_json

    if maps is None and not controls:
        raise UserError("MAPS: expected an .npz of maps, or --controls alone for what needs none, found neither")
    wanted, screen = open_benchmark(benchmark.value, truth, pairs, only, truths), console(as_json)
    made = None if maps is None else MapFile(maps)
    with Progress(console=screen, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(row: str, done: int, total: int) -> None:
            if row not in tasks:
                tasks[row] = bars.add_task(row, total=total)
            bars.advance(tasks[row], done)

        if made is None:
            found, table = None, score_controls(wanted, show)
        else:
            confidences = made.confidences(sample.id for sample in wanted.samples if sample.id in made)
            found = score_maps(wanted, made, confidences, controls, align_corners, show)
            table = found.table
    print_tables([table], screen)
    if as_json:
        of_maps = {} if found is None else {"coverage": asdict(found.coverage), "sweeps": found.sweeps}
        print_json(
            {
                "benchmark": benchmark.value,
                "list": truth,
                "maps": maps,
                "align_corners": align_corners,
                "tables": tables_as_json([table]),
                **of_maps,
            }
        )
