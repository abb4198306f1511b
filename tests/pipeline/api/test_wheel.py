"""The built wheel, installed in an environment of its own outside the repository; what it needs is this one's."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import pipeline.api
from pipeline.experiment import ExperimentSettings
from small_video import write_video
from tiny_run import tiny_separator, write_run
from tiny_shards import FEATURES, MODEL, write_shard_set

REPOSITORY = Path(__file__).parents[3]
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMON_NAMES = ("pipeline", "cluster", "jobs", "configs")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is installed, for building leaves files beside it."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    for name in COMMON_NAMES:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "images"))
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "built", "."]
    subprocess.run(command, cwd=source, check=True, timeout=300)
    (built,) = (source / "built").glob("gavt-*.whl")
    return built


@dataclass(frozen=True)
class Environment:
    """A Python environment without this repository, and without git."""

    folder: Path
    variables: Mapping[str, str]

    @property
    def packages(self) -> Path:
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def run(self, program: str, *words: str, at: Path, **variables: str) -> str:
        """What a program of it prints, its complaints where it fails."""
        done = subprocess.run(
            [self.folder / "bin" / program, *words],
            cwd=at,
            env={**self.variables, **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(self, *what: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", str(self.folder / "bin/python"), "install", "--quiet"]
        command += ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
        subprocess.run([*command, "--ignore-installed", *what], check=True, timeout=300, env=self.variables)


def environment(folder: Path) -> Environment:
    """One that sees this environment's packages, but none that are installed from a folder: of those there are hooks,
    which only an environment of one's own heeds."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    made = Environment(folder, variables | {"PATH": str(folder / "bin"), "OMP_NUM_THREADS": "1"})
    (made.packages / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """With the wheel, and with others' modules of common names."""
    made = environment(tmp_path_factory.mktemp("installed") / "own")
    made.install(str(wheel))
    for name in COMMON_NAMES:
        (made.packages / f"{name}.py").write_text(f'raise ImportError("somebody else\'s {name}")\n')
    return made


def all_that_is_asked() -> ExperimentSettings:
    """A model that separates places and tells what belongs together."""
    settings = tiny_separator().model_dump(mode="json")
    tasks = {"sounds": {"task": settings["task"]}, "match": {"task": {"kind": "mma"}}}
    return ExperimentSettings.model_validate(settings | {"task": {"kind": "several", "tasks": tasks}})


def test_the_wheel_has_one_package_with_its_types_pages_and_settings(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"gavt"}
    assert {"gavt/py.typed", "gavt/pipeline/evaluate/report/report.html.j2", "gavt/configs/models/gavt_c.yaml"} <= names
    assert not any(name.startswith("gavt/pipeline/api/") for name in names), "twice"


def test_the_command_tells_its_version_completes_words_and_knows_settings_by_name(
    installed: Environment, tmp_path: Path
) -> None:
    assert installed.run("gavt", "--version", at=tmp_path) == f"gavt {pipeline.api.__version__}\n"
    asked = {"_GAVT_COMPLETE": "complete_bash", "COMP_WORDS": "gavt train gavt_", "COMP_CWORD": "2"}
    assert "gavt_c" in installed.run("gavt", at=tmp_path, **asked).splitlines()
    shown = json.loads(installed.run("gavt", "config", "show", "data/sync_movers", "--json", at=tmp_path))
    assert shown["settings"]["synth"]["kind"] == "sync_movers"


def test_it_trains_an_experiment_by_name(installed: Environment, tmp_path: Path) -> None:
    data = write_shard_set(tmp_path / "train", 16)
    words = [f"data.train={data}", "data.workers=1", "train.steps=2", "train.batch_size=8", "train.log_every=1"]
    words += [f"features={json.dumps(FEATURES)}", f"model={json.dumps(MODEL)}"]
    installed.run("gavt", "train", "gavt_c", *words, "--run", "run", at=tmp_path, WANDB_MODE="disabled")
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    assert " gavt.pipeline.train." in (tmp_path / "run" / "logs" / "rank-00000.log").read_text()


def test_the_example_of_the_readme_runs(installed: Environment, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "quickstart", all_that_is_asked())
    write_video(tmp_path / "concert.mp4")
    (example,) = EXAMPLE.findall((REPOSITORY / "README.md").read_text())
    (tmp_path / "example.py").write_text(f"{example}\nprint(gavt.__file__)\n")
    printed = installed.run("python", "example.py", at=tmp_path)
    assert Path(printed.split()[-1]).is_relative_to(installed.folder)


@pytest.mark.slow
def test_its_quickstart_goes_the_whole_path(installed: Environment, tmp_path: Path) -> None:
    sizes = {"synth.train": 24, "synth.validation": 8, "synth.test": 8, "train.steps": 6, "train.batch_size": 16}
    words = [word for name, size in sizes.items() for word in ("--set", f"{name}={size}")]
    printed = installed.run("gavt", "quickstart", "--json", *words, at=tmp_path, WANDB_MODE="offline")
    assert (tmp_path / json.loads(printed.splitlines()[-1])["report"]).stat().st_size > 50_000


def test_installed_to_be_edited_it_is_the_library_of_that_folder(source: Path, tmp_path: Path) -> None:
    made = environment(tmp_path / "own")
    made.install("-e", str(source))
    code = "from importlib.util import find_spec; print(*(find_spec(name).origin for name in ('gavt', 'pipeline.api')))"
    assert made.run("python", "-c", code, at=tmp_path).split() == [str(source / "pipeline/api/__init__.py")] * 2
    assert made.run("gavt", "--version", at=tmp_path).startswith("gavt ")
