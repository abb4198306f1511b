"""Where a checkpoint's run lies, and what is in its folder."""

from typing import Any

from cluster import storage
from pipeline.errors import RunError
from pipeline.evaluate.measures.contract import tables_of
from pipeline.evaluate.result import EVALUATION, Evaluation
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


def evaluation_of(folder: str, file: str = EVALUATION) -> Evaluation:
    """The evaluation in a folder.

    Raises:
        RunError: there is none, or it lacks something, or its tables are damaged.
    """
    url = storage.join(folder, file)
    if not storage.exists(url):
        raise RunError(f"{url}: no such file; gavt evaluate writes it")
    evaluation: Any = storage.read_json(url)
    try:
        tables_of(evaluation)
    except ValueError as error:
        raise RunError(f"{url}: {error}; gavt evaluate writes it anew") from None
    if missing := Evaluation.__required_keys__ - evaluation.keys():
        raise RunError(f"{url}: has no {min(missing)}; gavt evaluate writes it anew")
    found: Evaluation = evaluation
    return found
