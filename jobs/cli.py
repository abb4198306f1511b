"""The `gavt` command: one file a verb beside this one; here they come together and errors become sentences."""

import sys
import traceback
from collections.abc import Sequence

import typer

from cluster.errors import UserError
from cluster.process_end import end_process
from jobs import (
    checkpoint,
    compare,
    config,
    evaluate,
    inspect,
    localize,
    manifest,
    plan,
    prepare,
    quickstart,
    report,
    stream,
    sync,
    synth,
    train,
)
from jobs.unread import work_goes_on_unread

app = typer.Typer(
    name="gavt",
    help="From unlabelled videos to a pretrained audio-visual transformer. --debug anywhere shows tracebacks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(config.app, name="config")
app.add_typer(checkpoint.app, name="checkpoint")
app.add_typer(manifest.app, name="manifest")
app.add_typer(stream.app, name="stream")
app.command("synth")(synth.synth)
app.command("prepare")(prepare.prepare)
app.command("inspect")(inspect.inspect)
app.command("plan")(plan.plan)
app.command("train")(train.train)
app.command("compare")(compare.compare)
app.command("evaluate")(evaluate.evaluate)
app.command("localize")(localize.localize)
app.command("report")(report.report)
app.command("sync")(sync.sync)
app.command("quickstart")(quickstart.quickstart)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; without `arguments` it is this process's own. Exit codes: 0 done, 1 a bug, 2 wrong input, 130
    interrupted."""
    with work_goes_on_unread():
        if arguments is not None:
            _run(list(arguments))
            return
        try:
            _run(sys.argv[1:])
        except SystemExit as left:
            end_process(left.code)
            raise


def _run(words: list[str]) -> None:
    debug = "--debug" in words
    try:
        app([word for word in words if word != "--debug"], prog_name="gavt")
    except UserError as error:
        if debug:
            traceback.print_exc()
        if not error.said_by_main:
            sys.stderr.write(f"gavt: {error}\n")
        raise SystemExit(2) from None
    except SystemExit as left:
        # typer makes an exit code of an interrupt, without a word
        if isinstance(getattr(left.__context__, "__cause__", None), KeyboardInterrupt):
            sys.stderr.write("gavt: interrupted; the same command goes on where it stopped\n")
        raise


if __name__ == "__main__":
    main()
