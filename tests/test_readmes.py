"""README files name links, files, tests and settings that are there, and their commands are well formed.

Commands are read by the real command line, with their settings, and not run: `test_readme_examples.py`, `test_wheel.py`
and `test_quickstart.py` run those of a whole way.
"""

import re
import shlex
from glob import glob
from pathlib import Path
from typing import Any

import pytest
import typer

from jobs.verbs import app
from pipeline.claims.settings import ClaimSettings
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from settings_reference import MARK, anchor, is_setting, reference, undocumented

REPOSITORY = Path(__file__).parents[1]
FOLDERS = ("", "jobs", "configs", "pipeline", "cluster", "cluster/storage", "tests/benchmarks", "tests/gpu")
PAGES = {folder or ".": (REPOSITORY / folder / "README.md").read_text(encoding="utf-8") for folder in FOLDERS}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s]+)\)")
INLINE = re.compile(r"`([^`]+)`")
SECTIONS = "|".join(ExperimentSettings.model_fields)


def words(folder: str) -> str:
    """A page without its blocks of code."""
    return BLOCK.sub("", PAGES[folder])


def commands(folder: str) -> list[tuple[list[str], bool]]:
    """Words behind `gavt` of each command of a page, and whether it is meant whole: those within a sentence may lack
    what does not matter there."""
    lines = [line for kind, block in BLOCK.findall(PAGES[folder]) if kind == "bash" for line in _lines(block)]
    spoken = [" ".join(code.split()) for code in INLINE.findall(words(folder)) if re.match(r"gavt [a-z]", code)]
    found = [(shlex.split(line, comments=True), True) for line in lines if re.search(r"\bgavt ", line)]
    found += [(shlex.split(line), False) for line in spoken if "…" not in line and "[" not in line.split("'")[0]]
    return [(parts[parts.index("gavt") + 1 :], whole) for parts, whole in found if "gavt" in parts]


def _lines(block: str) -> list[str]:
    return block.replace("\\\n", " ").splitlines()


def read_command(parts: list[str], whole: bool) -> None:
    """Have the command line read a command, down to its settings.

    Raises:
        LookupError: there is no such verb.
        Exception: typer's, which says that there is no such option, or that a value can't be.
        SettingsError: there is no such file of settings, or no such setting.
    """
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and parts:
        command, parts = command.commands[parts[0]], parts[1:]
    if hasattr(command, "commands"):
        return  # a group of verbs that is only named
    try:
        context = command.make_context("gavt", parts)
    except typer.BadParameter as error:
        if whole or type(error).__name__ != "MissingParameter":
            raise
        return
    given = context.params
    if command.name == "submit":
        read_command([given["verb"], *context.args], whole)
    elif command.name == "claims":
        for file in (file for pattern in given["files"] for file in glob(pattern)):
            load_settings(file, ClaimSettings)
    else:
        file = given.get("config") or given.get("file")
        overrides = [*(given.get("overrides") or []), *(given.get("more") or [])]
        load_settings(None if file is None or file.isupper() else file, ExperimentSettings, overrides)


def test_the_first_page_is_short() -> None:
    assert PAGES["."].count("\n") <= 150


@pytest.mark.parametrize("folder", PAGES)
def test_links_lead_to_what_is_there(folder: str) -> None:
    for link in LINK.findall(words(folder)):
        path, _, place = link.partition("#")
        if ":" in path:
            continue  # of another site
        file = REPOSITORY / folder / (path or "README.md")
        assert file.exists(), link
        headings = (
            re.findall(r"^#+ (.+)$", BLOCK.sub("", file.read_text(encoding="utf-8")), re.MULTILINE) if place else []
        )
        assert not place or place in map(anchor, headings), link


@pytest.mark.parametrize("folder", PAGES)
def test_files_tests_and_benchmarks_that_are_named_are_there(folder: str) -> None:
    page = PAGES[folder]
    paths = set(re.findall(r"(?<![\w/.-])(?:tests|jobs|pipeline|cluster|configs)/[\w/.-]*\w(?!\w*[*{])", page))
    names = set(re.findall(r"(?<![\w/.-])test_\w+\.py", page))
    roots = (REPOSITORY, REPOSITORY / "tests")  # the runbook names tests without their folder
    assert {path for path in paths if not any((root / path).exists() for root in roots)} == set()
    assert names - {file.name for file in (REPOSITORY / "tests").rglob("test_*.py")} == set()
    benchmarks = re.findall(r"benchmarks/run\.py (\w+)", page)
    assert [name for name in benchmarks if not (REPOSITORY / f"tests/benchmarks/{name}.py").exists()] == []


@pytest.mark.parametrize("folder", [folder for folder in PAGES if folder != "cluster/storage"])  # names files alike
def test_settings_that_are_named_are_there(folder: str) -> None:
    told = {
        match[0]
        for code in INLINE.findall(words(folder))
        if (match := re.match(rf"({SECTIONS})(\.\w+)+(?![\w/(-])", code))
    }
    assert {name for name in told if not (is_setting(name) or name.endswith((".py", ".sbatch")))} == set()


@pytest.mark.parametrize("folder", [folder for folder in PAGES if folder != "pipeline"])  # whose are run
def test_commands_are_well_formed(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    wrong = []
    for parts, whole in commands(folder):
        try:
            read_command(parts, whole)
        except Exception as error:
            wrong.append(f"gavt {shlex.join(parts)}: {error!r}")
    assert wrong == []


def test_every_setting_says_what_it_means() -> None:
    assert undocumented() == []


def test_the_tables_of_settings_are_those_of_the_settings() -> None:
    written = PAGES["configs"].partition(MARK)[2]
    assert written == reference(), "behind: PYTHONPATH=. python tests/settings_reference.py"
