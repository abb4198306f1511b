"""The `gavt` command: errors become sentences and exit codes. Its verbs are imported only when signals are heeded."""

import logging
import sys
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from cluster.errors import UserError
from cluster.home import usable_home
from cluster.os_errors import OF_THE_DISK, OF_THE_MACHINE, why
from cluster.process_end import end_process
from cluster.terminal import PrintableFormatter, printable
from jobs.unread import work_goes_on_unread


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; without `arguments` it is this process's own. Exit codes: 0 done, 1 a bug, 2 wrong input, 130
    interrupted."""
    with work_goes_on_unread(), _stopped_at_once(arguments):
        if arguments is not None:
            _run(list(arguments))
            return
        try:
            _run(sys.argv[1:])
        except SystemExit as left:
            end_process(left.code)
            raise


def _stopped_at_once(arguments: Sequence[str] | None) -> AbstractContextManager[None]:
    """Have signals to `gavt train` ask for a restart while the verbs are imported, which may take seconds where many
    processes begin at once."""
    if arguments is not None or sys.argv[1:2] != ["train"]:
        return nullcontext()
    from pipeline.train.run.stop_signals import StartUp

    return StartUp.of_this_process().noted()


def _run(words: list[str]) -> None:
    from jobs.verbs import app

    if logging.lastResort is not None:  # what shows the warnings of all parts
        logging.lastResort.setFormatter(PrintableFormatter())

    logging.raiseExceptions = False  # a log, of wandb say, on a full disk is no reason for tracebacks on the screen
    debug = "--debug" in words
    try:
        with usable_home():
            app([word for word in words if word != "--debug"], prog_name="gavt")
    except UserError as error:
        if debug:
            sys.stderr.write(printable(traceback.format_exc()))
        if not error.said_by_main:
            sys.stderr.write(printable(f"gavt: {error}\n"))
        raise SystemExit(2) from None
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
            sys.stderr.write("gavt: interrupted; the same command goes on where it stopped\n")
        raise


if __name__ == "__main__":
    main()
