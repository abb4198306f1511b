"""What pyproject.toml has no words for: a wheel holds one package, `gavt`, and nothing with a common name.

    pipeline/api/  →  gavt/             cluster/  →  gavt/cluster/       configs/  →  gavt/configs/
    pipeline/      →  gavt/pipeline/    jobs/     →  gavt/jobs/

Modules are renamed in the text on its way there. Installed to be edited (`pip install -e .`), they keep the names that
they have in this folder.
"""

import re
from pathlib import Path
from typing import Any

from setuptools import find_namespace_packages, find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

HERE = Path(__file__).parent
SOURCES = ("pipeline", "cluster", "jobs")
FOLDERS = {"gavt": "pipeline/api"} | {f"gavt.{name}": name for name in (*SOURCES, "configs")}
"""Package of the wheel → where it lies here."""

_CODE = find_packages(str(HERE), include=[f"{name}*" for name in SOURCES])
_SETTINGS = find_namespace_packages(str(HERE), include=["configs*"])
_TOP = "|".join(SOURCES)
_IMPORTED = re.compile(rf"^(\s*from )((?:{_TOP})(?:\.\w+)*)(?= import )", re.MULTILINE)
_NAMED = re.compile(rf"([\"'`]|-m )((?:{_TOP})(?:\.\w+)+)")


def renamed(module: str) -> str:
    """What a module of this folder is called in a wheel."""
    inside = module.removeprefix("pipeline.api")
    return f"gavt{inside}" if inside != module and inside[:1] in ("", ".") else f"gavt.{module}"


def with_names_of_a_wheel(code: str) -> str:
    """Code whose imports, and whose strings that begin with the name of a module, name those of a wheel."""

    def put(found: re.Match[str]) -> str:
        return found[1] + (renamed(found[2]) if _is_module(found[2]) else found[2])

    return _NAMED.sub(put, _IMPORTED.sub(put, code))


def _is_module(dotted: str) -> bool:
    """Whether a name begins with that of a module here: `cluster.json`, a file, does not."""
    place = HERE.joinpath(*dotted.split(".")[:2])
    return place.is_dir() or place.with_suffix(".py").is_file()


class BuildPy(build_py):
    """Copies modules to the folder of which a wheel is made, under its names."""

    def build_module(self, module: str, module_file: str, package: Any) -> Any:
        built = super().build_module(module, module_file, package)
        file = Path(built[0])
        file.write_text(with_names_of_a_wheel(file.read_text(encoding="utf-8")), encoding="utf-8")
        return built


class EditableWheel(editable_wheel):
    """Points to this folder, under its names; the command, which a wheel has as gavt.jobs, too."""

    def run(self) -> None:
        self.distribution.packages = [*_CODE, "gavt", "gavt.jobs"]
        self.distribution.package_dir = {"gavt": FOLDERS["gavt"], "gavt.jobs": FOLDERS["gavt.jobs"]}
        super().run()


setup(
    packages=["gavt", *(f"gavt.{name}" for name in (*_CODE, *_SETTINGS) if not name.startswith("pipeline.api"))],
    package_dir=FOLDERS,
    cmdclass={"build_py": BuildPy, "editable_wheel": EditableWheel},
)
