"""Text is UTF-8 wherever it is read and written, whatever the machine's locale is."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tiny_training import Command

REPOSITORY = Path(__file__).parents[2]
_OPENS = {"open", "fdopen", "NamedTemporaryFile"}
_RUNS = {"run", "Popen", "check_output"}
_NOT_FILES = {"storage", "Image", "av", "tarfile", "os", "webbrowser"}


def without_encoding(tree: ast.AST) -> Iterator[int]:
    """Lines of calls that read or write text in whatever encoding the locale names."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        owner = getattr(getattr(call.func, "value", None), "id", None)
        name = getattr(call.func, "attr", None) or getattr(call.func, "id", None)
        if "encoding" in named or (owner in _NOT_FILES and name != "fdopen"):
            continue
        if name in ("read_text", "write_text"):
            if isinstance(call.func, ast.Attribute) and len(call.args) == (name == "write_text"):
                yield call.lineno
        elif name in _OPENS:
            first = 0 if isinstance(call.func, ast.Attribute) and name == "open" else 1
            mode = named.get("mode") or (call.args[first] if len(call.args) > first else None)
            text = "r" if mode is None else mode.value if isinstance(mode, ast.Constant) else "b"
            # what is opened by a mode that is none is no file
            if isinstance(text, str) and set(text) <= set("rwax+t") and (mode is not None or name == "open"):
                if mode is None and isinstance(call.func, ast.Attribute):
                    continue  # a class's own `open`
                yield call.lineno
        elif name in _RUNS and owner == "subprocess" and getattr(named.get("text"), "value", False):
            yield call.lineno


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("open(a)", 1),
        ("open(a, 'w')", 1),
        ("open(a, 'rb')", 0),
        ("open(a, encoding='utf-8')", 0),
        ("path.open('w')", 1),
        ("path.open('wb')", 0),
        ("os.fdopen(1, 'w')", 1),
        ("path.read_text()", 1),
        ("path.write_text(a, encoding='utf-8')", 0),
        ("path.read_text('ascii')", 0),
        ("storage.read_text(a)", 0),
        ("subprocess.run(a, text=True)", 1),
        ("subprocess.run(a)", 0),
    ],
)
def test_calls_without_an_encoding_are_found(code: str, found: int) -> None:
    assert len(list(without_encoding(ast.parse(code)))) == found


def test_no_text_is_read_or_written_in_the_encoding_of_the_locale() -> None:
    found = [
        f"{file.relative_to(REPOSITORY)}:{line}"
        for package in ("pipeline", "jobs", "cluster")
        for file in sorted((REPOSITORY / package).rglob("*.py"))
        for line in without_encoding(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_a_run_is_trained_exported_and_converted_where_the_locale_knows_no_umlauts(tmp_path: Path) -> None:
    command, run = Command(tmp_path), tmp_path / "run"
    notes = "für alle → 全部"
    settings = yaml.safe_load(command.config.read_text(encoding="utf-8"))
    settings["train"]["wandb"] = {"notes": notes}
    command.config.write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    plain = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "WANDB_MODE": "disabled"}
    for words in (
        ["train", command.config, "train.steps=1", "--run", run],
        ["checkpoint", "export", run, "--out", tmp_path / "export"],
        ["checkpoint", "convert", run, "--out", tmp_path / "converted"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "jobs.cli", *map(str, words)], env=plain, capture_output=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
    for folder in ("run", "export", "converted"):
        assert notes in (tmp_path / folder / "config.yaml").read_text(encoding="utf-8")
