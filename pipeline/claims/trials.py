"""Which runs a claim needs, each once: what is trained and judged alike is shared between sides and claims."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.claims.settings import ClaimSettings, Form
from pipeline.errors import SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.run_settings import RunSettings

_DIGEST = 12


@dataclass(frozen=True)
class Trial:
    """One training, and one way to judge it.

    Attributes:
        experiment: the settings file.
        train, evaluate: words behind it.
        run: folder of the run, named by all that its weights follow from.
        judged: folder of its evaluation.json.
    """

    side: str
    seed: int
    experiment: str
    train: tuple[str, ...]
    evaluate: tuple[str, ...]
    run: Path
    judged: Path


def trials_of(
    file: str, settings: ClaimSettings, form: Form, seeds: int, words: Sequence[str], out: Path
) -> list[Trial]:
    """The trials of a claim.

    Args:
        file: of the claim; paths in it are relative to it.
        seeds: trainings of each side, with the seeds 0 to seeds − 1.
        words: that change the experiments of all sides: where the data lies, say.
        out: folder of runs; those that are there already are gone on with.

    Raises:
        SettingsError: the claim has no experiment of that form, or its settings are wrong.
    """
    if form not in settings.experiments:
        raise SettingsError(
            f"{file}: experiments: expected one of the form {form}, found {', '.join(settings.experiments)}"
        )
    experiment = str(Path(file).parent / settings.experiments[form])
    trials = []
    for seed in range(seeds):
        for name in settings.order:
            side = settings.sides[name]
            train = (*words, *side.words(form), f"seed={seed}")
            resolved = load_settings(experiment, ExperimentSettings, [*train, *side.evaluate]).settings
            weights = {section: getattr(resolved, section) for section in RunSettings.model_fields if section != "name"}
            run = out / f"{form}-{_digest(weights)}"
            judged = run / f"evaluation-{_digest({'evaluate': resolved.evaluate})}"
            trials.append(Trial(name, seed, experiment, train, (*words, *side.evaluate), run, judged))
    return trials


def _digest(sections: dict[str, object]) -> str:
    """Short name of settings."""
    shown = {
        name: section.model_dump(mode="json") if hasattr(section, "model_dump") else section
        for name, section in sections.items()
    }
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:_DIGEST]
