"""Where the peers' libraries lie: apart, so that they change nothing of this project's environment.

.peers/ab12cd34ef56     what requirements.txt of that hash names; made on first use, in about a minute
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_REPOSITORY = Path(__file__).parents[3]


def peers_folder() -> Path:
    """Folder to put on the path of a peer's process; installed if it isn't there.

    Raises:
        RuntimeError: pip can't install it.
    """
    name = hashlib.sha256(_REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = _REPOSITORY / ".peers" / name
    if folder.exists():
        return folder
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as new:
        target = Path(new) / "packages"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
        done = subprocess.run([*command, "--requirement", str(_REQUIREMENTS)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{_REQUIREMENTS}: pip can't install it: {done.stderr}")
        try:
            target.rename(folder)
        except OSError:  # another process was faster
            if not folder.exists():
                raise
    return folder
