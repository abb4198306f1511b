"""The `gavt` command: errors become sentences and exit codes. Its verbs are imported only when signals are heeded."""

import logging
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

from cluster.errors import UserError
from cluster.home import usable_home
from cluster.os_errors import OF_THE_DISK, OF_THE_MACHINE, why
from cluster.process_end import end_process
from cluster.terminal import PrintableFormatter, printable
from cluster.wandb_mode import leave_inherited_service
from jobs.unread import work_goes_on_unread


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; without `arguments` it is this process's own. Exit codes: 0 done, 1 a bug, 130
    interrupted, else those of `cluster.exit_codes`."""
    with work_goes_on_unread(), ExitStack() as to_the_end:
        if arguments is not None:
            _run(list(arguments))
            return
        # where who started this ignored the ends of its children, no process of this one would be known to have failed
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            _run(sys.argv[1:], to_the_end)
        except SystemExit as left:
            end_process(left.code)
            raise


def _run(words: list[str], to_the_end: ExitStack | None = None) -> None:
    """Run the command.

    Args:
        to_the_end: of this process, whose own command it is.
    """
    if logging.lastResort is not None:  # what shows the warnings of all parts
        logging.lastResort.setFormatter(PrintableFormatter())

    logging.raiseExceptions = False  # a log, of wandb say, on a full disk is no reason for tracebacks on the screen
    debug = "--debug" in words
    leave_inherited_service()  # nor do submitted jobs get it
    try:
        if to_the_end is not None and words[:1] == ["train"]:
            to_the_end.enter_context(_stopped_at_once())
        from jobs.verbs import GOING_ON, app

        with usable_home():
            app([word for word in words if word != "--debug"], prog_name="gavt")
    except UserError as error:
        if debug:
            sys.stderr.write(printable(traceback.format_exc()))
        if not error.said_by_main:
            sys.stderr.write(printable(f"gavt: {error}\n"))
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        if error.errno not in OF_THE_DISK | OF_THE_MACHINE:
            raise
        if debug:
            sys.stderr.write(printable(traceback.format_exc()))
        place = f"{error.filename}: " if error.filename is not None else ""
        sys.stderr.write(printable(f"gavt: {place}{why(error)}\n"))
        raise SystemExit(2) from None
    except SystemExit as left:
        # typer makes an exit code of an interrupt, without a word
        if isinstance(getattr(left.__context__, "__cause__", None), KeyboardInterrupt):
            goes_on = not GOING_ON.isdisjoint(words[:1]) and "--dry-run" not in words
            then = "goes on where it stopped" if goes_on else "begins anew"
            sys.stderr.write(f"gavt: interrupted; the same command {then}\n")
        raise


def get_ready(words: Sequence[str]) -> None:
    """Import what the command needs, in a process from which others are forked (`cluster.fork_server`)."""
    from jobs import train, verbs  # noqa: F401

    if words[:1] == ["train"]:
        train.get_ready()


def _stopped_at_once() -> AbstractContextManager[None]:
    """Have signals to `gavt train` ask for a restart while the verbs are imported, which may take seconds where many
    processes begin at once."""
    from cluster.job_environment import JobEnvironment
    from pipeline.train.run.stop_signals import StartUp

    return StartUp(JobEnvironment.of_this_process()).noted()


if __name__ == "__main__":
    main()
