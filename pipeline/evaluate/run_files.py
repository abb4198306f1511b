"""Where a checkpoint's run lies, and what is in its folder."""

from cluster import storage
from pipeline.train.run_settings import CONFIG


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
