"""The verbs of the `gavt` command: one file each beside this one; here they come together."""

from typing import Annotated

import typer

from jobs import (
    cancel,
    checkpoint,
    claims,
    compare,
    config,
    demo,
    doctor,
    evaluate,
    events,
    features,
    inspect,
    jobs,
    localize,
    logs,
    manifest,
    offset,
    plan,
    prepare,
    probe,
    quickstart,
    report,
    resume,
    score,
    separate,
    status,
    stream,
    submit,
    sync,
    synth,
    train,
)

app = typer.Typer(
    name="gavt",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from pipeline.code_version import code_version

        told = code_version()
        changed = ", changed" if told["changed"] else ""
        typer.echo(f"gavt {told['version']}" + (f" ({told['commit']}{changed})" if told["commit"] else ""))
        raise typer.Exit


@app.callback()
def gavt(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and the commit.")
    ] = False,
) -> None:
    """From unlabelled videos to a pretrained audio-visual transformer. --debug anywhere shows tracebacks."""


app.add_typer(config.app, name="config")
app.add_typer(checkpoint.app, name="checkpoint")
app.add_typer(manifest.app, name="manifest")
app.add_typer(stream.app, name="stream")
app.add_typer(probe.app, name="probe")
app.command("synth")(synth.synth)
app.command("prepare")(prepare.prepare)
app.command("features")(features.features)
app.command("inspect")(inspect.inspect)
app.command("claims")(claims.claims)
app.command("doctor")(doctor.doctor)
app.command("plan")(plan.plan)
app.command("train")(train.train)
app.command("compare")(compare.compare)
app.command("evaluate")(evaluate.evaluate)
app.command("demo")(demo.demo)
app.command("events")(events.events)
app.command("localize")(localize.localize)
app.command("offset")(offset.offset)
app.command("separate")(separate.separate)
app.command("score")(score.score)
app.command("report")(report.report)
app.command("sync")(sync.sync)
app.command("quickstart")(quickstart.quickstart)
app.command("submit", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(submit.submit)
app.command("jobs")(jobs.jobs)
app.command("status")(status.status)
app.command("logs")(logs.logs)
app.command("cancel")(cancel.cancel)
app.command("resume")(resume.resume)

GOING_ON = frozenset({"synth", "prepare", "features", "offset", "claims", "train", "sync", "quickstart"})
"""Verbs that, run again, do only what is missing; all others begin anew."""
