"""Verbs whose output nobody reads."""

import io
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from cluster.errors import StorageError
from jobs.output import console, print_json
from jobs.train_line import TrainLine
from jobs.unread import work_goes_on_unread
from pipeline.tasks.mma_settings import MmaSettings

ROOT = Path(__file__).parents[2]
SHOW = [sys.executable, "-m", "jobs.cli", "config", "show", "configs/experiments/gavt_c.yaml"]


@contextmanager
def nobody_reads():
    """stdout is a pipe without a reader."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with work_goes_on_unread():
            yield


def test_work_goes_on_where_nobody_reads_its_progress(tmp_path):
    with nobody_reads(), TrainLine(console(), 2, str(tmp_path), MmaSettings().metrics, shown=True) as line:
        for step in (1, 2):
            line.update({"step": step, "validation/accuracy": 0.5})
        assert sys.stdout.lost
    assert line.printed == 2


def test_a_result_that_nobody_takes_is_an_error():
    with nobody_reads(), pytest.raises(StorageError, match="stdout: the result can't be written"):
        print_json({"step": 1})


def test_a_verb_ends_well_though_its_reader_is_gone():
    show = subprocess.Popen(SHOW, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert show.stdout is not None
    show.stdout.close()
    assert show.communicate(timeout=60)[1] == ""
    assert show.returncode == 0


def test_a_process_that_was_started_without_streams_works():
    show = subprocess.run(["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", *SHOW], cwd=ROOT)
    assert show.returncode == 0


def test_letters_that_the_terminal_lacks_end_nothing():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with work_goes_on_unread():
            Console(width=80).print("loss 0.7 · accuracy 0.5")
    assert stream.buffer.getvalue() == b"loss 0.7 ? accuracy 0.5\n"
