"""The settings that a checkpoint was saved with."""

from pydantic import ValidationError

from cluster import storage
from pipeline.errors import CheckpointError
from pipeline.settings.load import sections_of
from pipeline.train.checkpoints.layout import MANIFEST, Checkpoint, damaged
from pipeline.train.run_settings import RunSettings


def saved_settings(checkpoint: Checkpoint) -> RunSettings:
    """What the run rests on.

    Raises:
        CheckpointError: the manifest is damaged, or its settings are not those of this version.
    """
    if not checkpoint.intact:
        raise CheckpointError(damaged(storage.join(checkpoint.url, MANIFEST)))
    try:
        return RunSettings.model_validate(sections_of(RunSettings, checkpoint.manifest["settings"]))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise CheckpointError(f"{checkpoint.url}: made with other settings: {place}: {problem['msg']}") from None
