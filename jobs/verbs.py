"""The verbs of the `gavt` command: one file each beside this one; here they come together."""

import typer

from jobs import (
    checkpoint,
    claims,
    compare,
    config,
    doctor,
    evaluate,
    inspect,
    localize,
    manifest,
    plan,
    prepare,
    quickstart,
    report,
    separate,
    stream,
    sync,
    synth,
    train,
)

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
app.command("claims")(claims.claims)
app.command("doctor")(doctor.doctor)
app.command("plan")(plan.plan)
app.command("train")(train.train)
app.command("compare")(compare.compare)
app.command("evaluate")(evaluate.evaluate)
app.command("localize")(localize.localize)
app.command("separate")(separate.separate)
app.command("report")(report.report)
app.command("sync")(sync.sync)
app.command("quickstart")(quickstart.quickstart)

GOING_ON = frozenset({"synth", "prepare", "claims", "train", "sync", "quickstart"})
"""Verbs that, run again, do only what is missing; all others begin anew."""
