"""What every verb shares: help, sentences instead of tracebacks, exit codes, JSON."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from jobs import cli
from jobs.number_options import finite
from jobs.output import console
from jobs.verbs import GOING_ON, app

REPOSITORY = Path(__file__).parents[2]
CONFIG = str(REPOSITORY / "configs" / "experiments" / "gavt_c.yaml")


def run_here(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_help_loads_no_heavy_library():
    code = (
        "import sys, jobs.verbs; print([name for name in ('torch', 'ray', 'av', 'deepspeed') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_separate_is_imported_without_torchs_compiler_and_torchvision():
    code = (
        "import sys, pipeline.evaluate.separating.separate; "
        "print([name for name in ('torch._dynamo', 'torchvision') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_config_show_prints_values_and_where_they_came_from(capsys):
    code, out, _ = run_here(capsys, "config", "show", CONFIG, "train.batch_size=32", "--json")
    result = json.loads(out.splitlines()[-1])
    assert code == 0
    assert result["settings"]["train"]["batch_size"] == 32
    assert result["origins"]["train.batch_size"] == "override 'train.batch_size=32'"
    assert result["origins"]["model.width"].endswith("configs/models/gavt_c.yaml")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE, errno.EIO])
def test_what_the_machine_refuses_is_a_sentence_wherever_it_happens(capsys, monkeypatch, tmp_path, code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code), str(tmp_path / "log"))

    monkeypatch.setattr("pipeline.settings.load.load_settings", refuse)
    assert run_here(capsys, "config", "show", CONFIG)[::2] == (2, f"gavt: {tmp_path}/log: {os.strerror(code)}\n")


def callbacks_of(app):
    """The functions of all verbs."""
    yield from (command.callback for command in app.registered_commands)
    for group in app.registered_groups:
        yield from callbacks_of(group.typer_instance)


def test_no_option_takes_nan_or_infinity_for_a_number(capsys):
    from jobs.verbs import app

    hints = [hint for verb in callbacks_of(app) for hint in get_type_hints(verb, include_extras=True).values()]
    kinds = [(get_args(hint)[0], hint.__metadata__[0]) for hint in hints if hasattr(hint, "__metadata__")]
    numbers = [option for kind, option in kinds if float in (kind, *get_args(kind))]
    assert len(numbers) >= 8
    assert all(option.callback is finite for option in numbers)
    for value in ("nan", "inf"):
        code, _, err = run_here(capsys, "compare", "/a", "/b", "--tolerance", value)
        assert code == 2
        assert "Invalid value for '--tolerance'" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["config", "show", "nowhere.yaml"], "nowhere.yaml: no such settings file"),
        (["config", "show", CONFIG, "train.stepz=1"], "train has no key 'stepz'; did you mean 'steps'?"),
        (["train", CONFIG], "data.train: expected a shard set to train on, found none"),
        (["train", CONFIG, "data.train=/nowhere"], "/nowhere: expected a folder of shards"),
        (["train", CONFIG, "train.batch_size=some"], "train.batch_size: expected a valid integer"),
        (["prepare", "/nowhere", "--out", "/tmp/gavt-never"], "/nowhere"),
        (["evaluate", "/nowhere", "--data", "/nowhere"], "/nowhere: expected a run folder"),
        (["localize", "/nowhere.mp4", "--checkpoint", "/nowhere", "--out", "/tmp/gavt-never"], "/nowhere"),
        (["report", "/nowhere"], "/nowhere"),
        (["synth", "--out", "/tmp/gavt-never", "--set", "synth.fps=0"], "synth.fps: expected greater than or equal"),
    ],
)
def test_wrong_input_ends_with_one_sentence_and_exit_code_2(capsys, monkeypatch, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = run_here(capsys, *words)
    sentences = [line for line in err.splitlines() if line.startswith("gavt: ")]
    assert code == 2
    assert len(sentences) == 1
    assert message in sentences[0]
    assert "Traceback" not in err


@pytest.mark.parametrize("place", ["~/run", "file://{home}/run"])
def test_a_run_folder_may_be_named_by_home_and_by_url(capsys, monkeypatch, tmp_path, place):
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    assert run_here(capsys, "train", CONFIG, "data.train=/nowhere", f"--run={place.format(home=home)}")[0] == 2
    assert (home / "run" / "config.yaml").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["home"]


def test_debug_shows_the_traceback(capsys):
    code, _, err = run_here(capsys, "config", "show", "nowhere.yaml", "--debug")
    assert code == 2
    assert "Traceback" in err


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("videos/[b] :ok: youtube:abc:")
    assert capsys.readouterr().out == "videos/[b] :ok: youtube:abc:\n"


def test_verbs_print_names_with_brackets_as_they_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    listed = tmp_path / "videos [b] :ok:.jsonl"
    listed.write_text('{"source": "/v/a.mp4", "labels": ["[bold] drum"]}\n')
    code, out, _ = run_here(capsys, "manifest", "info", str(listed))
    assert code == 0
    assert "videos [b] :ok:.jsonl" in out
    assert "[bold] drum" in out
    code, out, _ = run_here(capsys, "manifest", "check", str(listed))
    assert code == 0
    assert f"{listed}: 1 rows" in out
    assert "\\" not in out


@pytest.mark.parametrize(
    ("words", "then"),
    [
        (("synth", "--out", "world"), "goes on where it stopped"),
        (("train", CONFIG), "goes on where it stopped"),
        (("train", CONFIG, "--dry-run"), "begins anew"),
        (("separate", "video.mp4", "--checkpoint", "run", "--out", "sounds", "--all"), "begins anew"),
    ],
)
def test_an_interrupt_says_whether_the_same_command_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], then: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.settings.load.load_settings", interrupted)
    monkeypatch.setattr("pipeline.train.checkpoints.find_checkpoint", interrupted)
    with pytest.raises(SystemExit) as left:
        cli.main(list(words))
    assert left.value.code == 130
    assert f"interrupted; the same command {then}\n" in capsys.readouterr().err


def test_verbs_that_go_on_are_verbs() -> None:
    assert {command.name for command in app.registered_commands} >= GOING_ON


def test_how_ranks_have_ended_is_known_whatever_started_the_command_ignores(tmp_path: Path) -> None:
    words = [
        "train",
        "configs/experiments/quickstart.yaml",
        "data.train=/nowhere",
        "--run",
        str(tmp_path),
        "--nproc",
        "2",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *words],
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        stderr=subprocess.PIPE,
        text=True,
        timeout=200,
    )
    assert (done.returncode, done.stderr.splitlines()[-1][:14]) == (2, "gavt: /nowhere")
