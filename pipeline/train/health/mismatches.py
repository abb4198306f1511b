"""Data of which no mismatch can be made: whoever always says *match* would be right, and nothing would be learnt."""

from dataclasses import dataclass

from pipeline.errors import RunError, SettingsError
from pipeline.stream.loader import Loader
from pipeline.tasks.mma import draw_pairs
from pipeline.tasks.settings import MmaSettings
from pipeline.train.health.step_flags import StepSums
from pipeline.train.run_settings import RunSettings
from pipeline.train.validate import validated_samples

_JUDGED_AFTER = 256
"""Samples of a start that are shown before it is judged; so many fair coins all fall on one side in no run ever."""
_LOOKED_AT = 2048
"""Samples of the validation set that are read at most to find one of each kind."""
_MANY = 0.5
"""Share of samples without a partner that is told."""


@dataclass
class Mismatches:
    """Counts what training is shown from its start on; every process counts the same."""

    task: MmaSettings
    samples: int = 0
    mismatches: float = 0.0
    left_out: float = 0.0

    def add(self, sums: StepSums, samples: int, whole: bool) -> str | None:
        """Count a step.

        Args:
            whole: that was the whole run, since it is so short.

        Returns:
            A sentence, once, where many samples have no partner.

        Raises:
            RunError: there was no mismatch at all.
        """
        judged = self.samples >= _JUDGED_AFTER
        self.samples += samples
        self.mismatches += sums.mismatches
        self.left_out += sums.left_out
        enough = self.samples >= _JUDGED_AFTER
        if judged or not (enough or whole):
            return None
        # of few samples, coins may fall on one side
        if not self.mismatches and (enough or self.left_out == self.samples):
            raise RunError(_sentence("data.train", f"the first {self.samples} samples", self.task))
        if self.left_out <= _MANY * self.samples:
            return None
        return (
            f"{self.left_out:.0f} of the first {self.samples} samples are in no pair that counts: {_rule(self.task)}, "
            "which they have not"
        )


def check_validation(loader: Loader | None, settings: RunSettings) -> None:
    """Read validation samples, if there are any, until there is a match and a mismatch among them: those of one group,
    mostly.

    Raises:
        SettingsError: one of the two is missing.
    """
    if loader is None:
        return
    samples, group = min(validated_samples(loader, settings), _LOOKED_AT), settings.task.group
    pairs = mismatches = 0
    for start in range(0, samples, group):
        batch = loader.read(range(start, min(start + group, samples)))
        found = draw_pairs(settings.task, settings.seed, batch.positions, batch.metadata, "validation").numbers()
        pairs, mismatches = pairs + found.pairs, mismatches + found.mismatches
        if 0 < mismatches < pairs:
            return
    which = f"its {'first ' if samples < len(loader.plan) else ''}{samples} sample{'s' * (samples > 1)}"
    if not pairs:
        raise SettingsError(_sentence("data.validation", which, settings.task))
    raise SettingsError(
        f"data.validation: expected matches and mismatches among {which}, found {pairs} "
        f"{'mismatches' if mismatches else 'matches'} alone; take more samples"
    )


def _sentence(setting: str, which: str, task: MmaSettings) -> str:
    return (
        f"{setting}: expected samples that can be shown in a mismatch too, found none among {which}: {_rule(task)}; "
        "of matches alone whoever always says match is right"
    )


def _rule(task: MmaSettings) -> str:
    unlike = ", whose frame is not known to show all that sounds (task.negatives = unlike)"
    return (
        f"each needs one of another video in its group of {task.group} consecutive positions"
        f"{unlike if task.negatives == 'unlike' else ''}"
    )
