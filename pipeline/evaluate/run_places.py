"""Where a checkpoint's run lies, and what is in its folder."""

import json
from typing import Any

from cluster import storage
from pipeline.errors import RunError

CONFIG = "config.yaml"


def run_folder(checkpoint_url: str) -> str:
    """The run folder that a checkpoint belongs to: what is above `checkpoints/`, else the folder itself."""
    url = checkpoint_url.rstrip("/")
    above, _, last = url.rpartition("/")
    if last == "checkpoints":
        return above or "."
    if above.rpartition("/")[2] == "checkpoints":
        return above.rpartition("/")[0] or "."
    return url


def config_of(checkpoint_url: str) -> str | None:
    """The settings file of the checkpoint's run; None where it has none."""
    url = storage.join(run_folder(checkpoint_url), CONFIG)
    return url if storage.exists(url) else None


def read_json(url: str) -> dict[str, Any]:
    """A JSON object that a verb has written.

    Raises:
        RunError: something else is in the file.
    """
    try:
        content = json.loads(storage.read_text(url))
    except ValueError as error:
        raise RunError(f"{url}: expected JSON: {error}") from None
    if not isinstance(content, dict):
        raise RunError(f"{url}: expected a JSON object, found {type(content).__name__}")
    return content
