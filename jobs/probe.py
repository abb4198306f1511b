"""`gavt probe`: what small networks learn from a frozen model's embeddings."""

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.evaluate import Judging, judge_runs
from jobs.output import JsonFlag, Overrides

if TYPE_CHECKING:
    from pipeline.evaluate.settings import EvaluateSettings

app = typer.Typer(help="Train small networks on a frozen model's embeddings, and judge by them.", no_args_is_help=True)


@app.callback()
def probe() -> None:
    """Train small networks on a frozen model's embeddings, and judge by them."""


@app.command("retrieval")
def retrieval(
    runs: Annotated[
        list[str],
        typer.Argument(help="Run folder, its checkpoints/ or one checkpoint, local or s3://; several, seeds say."),
    ],
    data: Annotated[str, typer.Option(help="Shard set that is judged: each sample looks for its own among all of it.")],
    train: Annotated[str | None, typer.Option(help="Shard set to learn from; by default the run's data.train.")] = None,
    validation: Annotated[
        str | None, typer.Option(help="Shard set that says when to stop; by default the run's data.validation.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder of evaluation.json; by default retrieval_probe in the run folder. See gavt evaluate."
        ),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="audio_to_visual, visual+audio_to_pose, …; repeatable; by default all.", show_default=False),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Networks a row; 3 unless given.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of training a network; 1000 unless given.")] = None,
    config: Annotated[str | None, typer.Option(help="Settings file; by default the run's config.yaml.")] = None,
    overrides: Overrides = None,
    nproc: Annotated[int, typer.Option(min=1, help="Processes on this machine that share the work of embedding.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Does a small network that learnt on frozen embeddings find one stream of a sample by another? Before the encoder
    and behind it, beside an untrained model, shuffled pairs and guessing, for any model with two streams of inputs; the
    five variants of TriBERT's Table 3 have its figures beside them."""
    given = {"train": train, "variants": variant, "seeds": seeds, "steps": steps}

    def by_heads(settings: "EvaluateSettings") -> "EvaluateSettings":
        from pipeline.evaluate.registry import RetrievalHeadSettings

        changed = {name: value for name, value in given.items() if value is not None}
        heads = settings.only(RetrievalHeadSettings).measures or ()
        measures = tuple(type(one).model_validate(one.model_dump() | changed) for one in heads)
        published = tuple(dict.fromkeys((*settings.published, "music21-retrieval")))
        return settings.model_copy(update={"measures": measures, "published": published})

    judging = Judging(by_heads, folder="retrieval_probe")
    judge_runs(runs, data, validation, out, config, overrides or [], nproc, as_json, judging)
