"""Settings files that are installed with this package, by their names."""

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "configs"  # in a checkout and in a wheel
EXPERIMENTS = "experiments"


def settings_file(name: str, folder: str = EXPERIMENTS) -> str:
    """Path of a settings file.

    Args:
        name: a path or a URL, which is given back; or, where no such file is there, the name of settings that are
            installed: `gavt_c` of those in `folder`, else `data/sync_movers` with its folder.
    """
    if os.path.isfile(name):
        return name
    known = shipped(folder)
    return str(known[name]) if name in known else name


def shipped(folder: str = EXPERIMENTS) -> dict[str, Path]:
    """All settings that are installed, by name; those in `folder` go without it."""
    files = sorted(FOLDER.rglob("*.yaml"))
    names = {file.relative_to(FOLDER).with_suffix("").as_posix(): file for file in files}
    return names | {name.removeprefix(f"{folder}/"): file for name, file in names.items()}
