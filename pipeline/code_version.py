"""Which code a run was made with."""

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

_TIMEOUT_S = 10.0


def code_version() -> dict[str, Any]:
    """The package's version, and in a work tree its commit and whether tracked files differ from it.

    Returns:
        `{"version", "commit", "changed"}`; the last two are None where the code is not in a work tree, or git is not
        there to tell.
    """
    here = Path(__file__).resolve()
    # a package that is installed into another project's work tree is not that project's code
    tracked = _git(here.parent, "ls-files", "--error-unmatch", here.name)
    commit = _git(here.parent, "rev-parse", "HEAD") if tracked else None
    changes = _git(here.parent, "status", "--porcelain", "--untracked-files=no") if commit else None
    return {"version": version("gavt"), "commit": commit, "changed": None if changes is None else bool(changes)}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, timeout=_TIMEOUT_S, encoding="utf-8", errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
