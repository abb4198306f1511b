"""An objective of which no package knows anything: other names, units, chance and ceiling than those that are there."""

from typing import Literal

from pipeline.tasks.contract import Metric, TaskSettings, Totals
from pipeline.tasks.registry import TASKS


class MadeUpSettings(TaskSettings):
    """Settings, and what is measured, of something like a retrieval."""

    kind: Literal["made_up"] = "made_up"

    @property
    def sums(self) -> tuple[str, ...]:
        return ("nce", "anchors", "hits", "empty", "temperature")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric("nce", "loss"),
            Metric("recall_at_5", chance=0.05, ceiling="reachable", checked_by="recall_by_class"),
            Metric("temperature", "number"),
            Metric("empty_anchors", "count"),
            Metric("reachable", shown=False),
            Metric("recall_by_class", shown=False),
        )

    def figures(self, totals: Totals) -> dict[str, float | None]:
        anchors = totals["anchors"]
        means = {name: totals[total] / anchors if anchors else None for name, total in _MEANS.items()}
        return {**means, "empty_anchors": totals["empty"]}


_MEANS = {"nce": "nce", "recall_at_5": "hits", "temperature": "temperature"}

TASKS.add("made_up", "made_up_task:MadeUpSettings")
