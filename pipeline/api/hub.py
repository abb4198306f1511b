"""Models on the Hugging Face Hub: what is there of each, and how it comes there."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster import storage
from cluster.errors import StorageError
from cluster.scratch import scratch_folder
from cluster.storage.location import path_of
from pipeline.api.model_card import model_card
from pipeline.code_version import code_version
from pipeline.errors import CheckpointError, SettingsError
from pipeline.evaluate.result import EVALUATION
from pipeline.evaluate.run_files import evaluation_of, run_folder
from pipeline.train.checkpoints import find_checkpoint
from pipeline.train.checkpoints.export import CARD, export

CONFIG = "config.json"
_ANSWERS_WITHIN_S = 1.0
_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?")


def place_of(name: str) -> str:
    """Path or URL of what a person names: `owner/name` is a model on the Hub where no such folder is here, nor one that
    it could lie in."""
    if not _ID.fullmatch(name) or path_of(name.partition("/")[0]).exists():
        return name
    url = f"hf://{name}"
    try:
        _knock(name)
        find_checkpoint(url)
    except (StorageError, CheckpointError) as error:
        raise CheckpointError(
            f"{name}: expected a folder, or a model on the Hugging Face Hub, found neither: {error}"
        ) from error
    return url


def _knock(name: str) -> None:
    """Ask the Hub once: a mistyped folder needn't wait for a Hub that isn't there, as work that is under way does.

    Raises:
        StorageError: no answer.
    """
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        from cluster.hub.filesystem import HTTP_ERROR
    except ModuleNotFoundError:
        return  # who reads from there says what to install
    repository, _, revision = name.partition("@")
    try:
        HfApi(endpoint=os.environ.get("HF_ENDPOINT")).repo_info(
            repository, revision=revision or None, timeout=_ANSWERS_WITHIN_S
        )
    except (HfHubHTTPError, HFValidationError):
        return  # an answer, which who reads from there will put in words
    except (HTTP_ERROR, OSError) as error:
        raise StorageError(f"the Hub does not answer ({' '.join(str(error).split())})") from error


def save_pretrained(checkpoint: str, folder: str, name: str | None = None, license: str | None = None) -> None:
    """Write a model to hand on into a new folder, as `gavt checkpoint export` does, with

        config.json          the settings, for who counts and searches models
        evaluation.json      of the run, where it was judged; its chosen readout is the model's
        README.md            the model card

    Args:
        checkpoint: a run, a checkpoint or an export; a path or a URL.
        folder: a path or a URL.
        name: on the Hub, `owner/name`, for the card; the folder unless given.
        license: of the weights, as the Hub calls it: `apache-2.0`.

    Raises:
        CheckpointError: nothing there, damaged, or a folder that is in use.
        RunError: an evaluation that is damaged.
    """
    found = find_checkpoint(checkpoint)
    settings: dict[str, Any] = found.manifest["settings"]
    judged = run_folder(found.url)
    evaluation = evaluation_of(judged) if storage.exists(storage.join(judged, EVALUATION)) else None
    about = {"model_type": settings["model"]["kind"], "library_name": "gavt", "step": found.step}
    about |= {"gavt_version": code_version()["version"], "settings": settings}
    texts = {
        CONFIG: json.dumps(about, indent=2) + "\n",
        CARD: model_card(name or folder, found.step, settings, evaluation, license),
    }
    if evaluation is not None:
        texts[EVALUATION] = json.dumps(evaluation, indent=2) + "\n"
    export(found.url, folder, texts=texts)


def push_to_hub(
    checkpoint: str, repository: str, private: bool, license: str | None, message: str | None, token: str | None
) -> str:
    """Put what `save_pretrained` writes into a repository of the Hub, as one commit; gives the commit's address.

    Raises:
        SettingsError: huggingface_hub is not installed, or no name of a repository.
        StorageError: the Hub refuses, or does not answer.
    """
    if not _ID.fullmatch(repository) or "@" in repository:
        raise SettingsError(f"repository: expected owner/name, found {repository!r}")
    with _said_plainly(repository), scratch_folder("gavt-hub-") as scratch:
        from huggingface_hub import HfApi

        folder = scratch / "model"
        save_pretrained(checkpoint, str(folder), repository, license)
        hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
        hub.create_repo(repository, private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=message or f"Model of {checkpoint}"
        )
        return str(commit.commit_url)


@contextmanager
def _said_plainly(repository: str) -> Iterator[None]:
    try:
        from huggingface_hub.errors import HFValidationError

        from cluster.hub.filesystem import HTTP_ERROR

        yield
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{repository}: expected huggingface_hub, found no {error.name}: pip install 'gavt[hub]'"
        ) from None
    except HFValidationError as error:
        raise SettingsError(f"repository: {' '.join(str(error).split())}") from None
    except (OSError, HTTP_ERROR) as error:  # the Hub's refusals are both; no answer at all is only the latter
        raise StorageError(f"hf://{repository}: {' '.join(str(error).split())}") from error
