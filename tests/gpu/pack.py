"""Packs what a bare GPU machine lacks into `.gpu/`, from where registries are reached; half a minute, no GPU.

    python tests/gpu/pack.py

That machine has Python 3.12 with torch, torchaudio and torchvision, and what else `NEEDED` leaves out; nothing is
fetched there, and 64 MiB travel to it with the work tree. `.gpu/` is ignored by git and travels where it is named.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".gpu"
NEEDED = (
    *("deepspeed", "hjson", "einops", "msgpack", "py-cpuinfo"),
    *("pydantic", "pydantic_core", "annotated-types", "typing-inspection", "typing_extensions"),
    *("av", "fsspec"),  # reading samples
)
"""What training imports, and what that needs; ray, decord, s3fs, webdataset and wandb stay behind."""
MOST_MIB = 60.0
_PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
_GLIBC = (39, 35, 34, 31, 28, 27, 24, 17)


def pack() -> None:
    """Fill the folder with a wheel of each, of the versions that are installed here.

    Raises:
        SystemExit: the wheels and the work tree are too much to travel.
    """
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / ".gitignore").write_text("*\n")
    wanted = {name: version(name) for name in NEEDED}
    here = {_wheel_of(file): file for file in FOLDER.glob("*.whl")}
    for key, file in here.items():
        if key not in {_key(name, number) for name, number in wanted.items()}:
            file.unlink()  # of two versions neither would be installed
    missing = {name: number for name, number in wanted.items() if _key(name, number) not in here}
    if "deepspeed" in missing:
        _build_deepspeed(missing.pop("deepspeed"))
    if missing:
        platforms = [word for glibc in _GLIBC for word in ("--platform", f"manylinux_2_{glibc}_x86_64")]
        _pip(
            *("download", "--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp"),
            *("--platform", "manylinux2014_x86_64", *platforms, "--dest", str(FOLDER)),
            *(f"{name}=={number}" for name, number in missing.items()),
        )
    wheels, tree = _mib(FOLDER.glob("*.whl")), _mib(_work_tree())
    print(f"{len(wanted)} wheels of {wheels:.1f} MiB beside a work tree of {tree:.1f}: {FOLDER}")
    if wheels + tree > MOST_MIB:
        raise SystemExit(f"expected at most {MOST_MIB:.0f} MiB, found {wheels + tree:.1f}")


def _build_deepspeed(number: str) -> None:
    """There is its source alone; without operations built in, its wheel is pure Python."""
    _pip("wheel", "--no-deps", "--no-binary", "deepspeed", "--wheel-dir", str(FOLDER), f"deepspeed=={number}")
    if not list(FOLDER.glob("deepspeed-*-py3-none-any.whl")):
        raise SystemExit("expected a pure Python wheel of deepspeed, found one for this machine's Python only")


def _pip(*words: str) -> None:
    subprocess.run([*_PIP, *words], check=True, env=os.environ | {"DS_BUILD_OPS": "0"})


def _wheel_of(file: Path) -> tuple[str, str]:
    name, number = file.name.split("-")[:2]
    return _key(name, number)


def _key(name: str, number: str) -> tuple[str, str]:
    return re.sub("[-_.]+", "-", name).lower(), number


def _work_tree() -> list[Path]:
    """What travels besides: files that git knows, and new ones that it doesn't ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def _mib(files: Iterable[Path]) -> float:
    return sum(file.stat().st_size for file in files) / 2**20


if __name__ == "__main__":
    pack()
