"""Data of which no mismatch can be made: whoever always says *match* would be right, and nothing would be learnt."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import RunError, SettingsError
from pipeline.tasks.contract import Totals
from pipeline.tasks.mma_settings import MmaSettings

_JUDGED_AFTER = 256
"""Samples of a start that are shown before it is judged; so many fair coins all fall on one side in no run ever."""
_LOOKED_AT = 2048
"""Samples of the validation set that are read at most to find one of each kind."""
_MANY = 0.5
"""Share of samples without a partner that is told."""


@dataclass
class MismatchWatch:
    """Counts what training is shown from its start on; every process counts the same."""

    task: MmaSettings
    samples: int = 0
    mismatches: float = 0.0
    left_out: float = 0.0

    def add(self, totals: Totals, samples: int, whole: bool) -> str | None:
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
        self.mismatches += totals["mismatches"]
        self.left_out += totals["left_out"]
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


def check_validation(task: MmaSettings, samples: int, whole: bool, numbers: Callable[[range], tuple[int, int]]) -> None:
    """Look through validation samples until there is a match and a mismatch among them: those of one group, mostly.

    Args:
        samples: that are validated, the first ones of the set; `whole` says whether they are all of it.
        numbers: of the samples at positions, how many pairs count, and how many of these are mismatches.

    Raises:
        SettingsError: one of the two is missing.
    """
    looked_at = min(samples, _LOOKED_AT)
    pairs = mismatches = 0
    for start in range(0, looked_at, task.group):
        more_pairs, more_mismatches = numbers(range(start, min(start + task.group, looked_at)))
        pairs, mismatches = pairs + more_pairs, mismatches + more_mismatches
        if 0 < mismatches < pairs:
            return
    which = f"its {'first ' if not whole or looked_at < samples else ''}{looked_at} sample{'s' * (looked_at > 1)}"
    if not pairs:
        raise SettingsError(_sentence("data.validation", which, task))
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
    if task.negatives == "ranks":
        return "each needs one of another video in its batch (task.negatives = ranks)"
    unlike = ", whose frame is not known to show all that sounds (task.negatives = unlike)"
    return (
        f"each needs one of another video in its group of {task.group} consecutive positions"
        f"{unlike if task.negatives == 'unlike' else ''}"
    )
