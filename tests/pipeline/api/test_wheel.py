"""The built wheel, installed in an environment of its own outside the repository; what it needs is this one's."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from pipeline.experiment import ExperimentSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluate"))
from small_video import write_video
from tiny_run import tiny_separator, write_run

REPOSITORY = Path(__file__).parents[3]
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is installed, for building leaves files beside it."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    for name in ("jobs", "pipeline", "cluster"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "images"))
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "built", "."]
    subprocess.run(command, cwd=source, check=True, timeout=300)
    (built,) = (source / "built").glob("gavt-*.whl")
    return built


def environment(folder: Path) -> tuple[Path, dict[str, str]]:
    """Its Python, and the variables of its processes. It sees this environment's packages, but none that are installed
    from a folder: of those there are hooks, which only an environment of one's own heeds."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "own"], check=True, timeout=120)
    python = folder / "own" / "bin" / "python"
    (packages,) = (folder / "own").glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return python, variables | {"OMP_NUM_THREADS": "1"}


def all_that_is_asked() -> ExperimentSettings:
    """A model that separates places and tells what belongs together."""
    settings = tiny_separator().model_dump(mode="json")
    tasks = {"sounds": {"task": settings["task"]}, "match": {"task": {"kind": "mma"}}}
    return ExperimentSettings.model_validate(settings | {"task": {"kind": "several", "tasks": tasks}})


def install(python: Path, *what: str, variables: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    command += ["--no-index", "--no-build-isolation", "--disable-pip-version-check", "--ignore-installed", *what]
    subprocess.run(command, check=True, timeout=300, env=variables)


def test_the_wheel_has_the_library_under_its_name_and_says_that_it_is_typed(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"gavt/__init__.py", "gavt/py.typed", "pipeline/py.typed", "cluster/py.typed"} <= names
    assert "pipeline/evaluate/report/report.html.j2" in names


def test_the_example_of_the_readme_runs_with_the_wheel_outside_of_the_repository(wheel: Path, tmp_path: Path) -> None:
    python, variables = environment(tmp_path)
    install(python, str(wheel), variables=variables)
    write_run(tmp_path / "runs" / "quickstart", all_that_is_asked())
    write_video(tmp_path / "concert.mp4")
    (example,) = EXAMPLE.findall((REPOSITORY / "README.md").read_text())
    said = "import pipeline; print(gavt.__file__, pipeline.__file__, gavt.load is pipeline.api.load)"
    (tmp_path / "example.py").write_text(f"{example}\n{said}\n")
    done = subprocess.run(
        [python, "example.py"], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    *files, same = done.stdout.split()[-3:]
    assert all(Path(file).is_relative_to(tmp_path / "own") for file in files)
    assert same == "True"


def test_installed_to_be_edited_it_is_the_library_of_that_folder(source: Path, tmp_path: Path) -> None:
    python, variables = environment(tmp_path)
    install(python, "-e", str(source), variables=variables)
    code = "from importlib.util import find_spec; print(*(find_spec(name).origin for name in ('gavt', 'pipeline.api')))"
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == [str(source / "pipeline/api/__init__.py")] * 2, done.stderr
