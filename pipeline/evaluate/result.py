"""The content of `evaluation.json`."""

from collections.abc import Mapping
from typing import Any, TypedDict

from pipeline.evaluate.coverage import Coverage
from pipeline.features.settings import Geometry

EVALUATION = "evaluation.json"
ATTENTION_SWEEP = "attention_sweep.json"
"""The same of ways to read attention alone."""
LABEL_FREE = "label-free: the objective of training looked at no label"
"""What stands beside figures where no label helped."""
TRAINING_GEOMETRY = "square crops"
"""What training sees of its frames: squares of the shorter side, from anywhere along the longer one."""


class Evaluation(TypedDict):
    """`tables` are those of the measures, see `pipeline.evaluate.measures.contract`; `left_out` says why others have
    none. Frames with boxes are seen in `geometry`, all others in `alignment_geometry`, beside `training_geometry`.
    `label_aided` says how training used labels, where it did. `warnings` are all sentences that belong beside the
    figures.
    """

    tables: list[dict[str, Any]]
    left_out: list[str]
    warnings: list[str]
    samples: int
    coverage: Coverage
    label_aided: str | None
    geometry: Geometry
    alignment_geometry: Geometry
    training_geometry: str
    align_corners: bool
    checkpoint: str
    step: int
    data: str
    validation: str | None


def chosen_readout(evaluation: Mapping[str, Any]) -> Any:
    """The readout of the row `model`, as an `evaluation.json` names it; None where maps were not judged."""
    return _choice(evaluation).get("readout")


def placement_of(evaluation: Mapping[str, Any], readout: str) -> Any:
    """Where the values of a readout's maps were found to lie, `even` or `centres`; None where that was not judged."""
    return _choice(evaluation).get("placement", {}).get(readout)


def _choice(evaluation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Details of the first table that was made by a chosen readout; all of them are by the same."""
    tables = evaluation.get("tables")
    for table in tables if isinstance(tables, list) else []:
        details = table.get("details") if isinstance(table, Mapping) else None
        if isinstance(details, Mapping) and "readout" in details:
            return details
    return {}
