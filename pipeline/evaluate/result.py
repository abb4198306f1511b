"""The content of `evaluation.json`."""

from typing import Literal, TypedDict

from pipeline.evaluate.measures.alignment import MmaResult
from pipeline.evaluate.metrics.scores import Row
from pipeline.features.settings import Geometry

EVALUATION = "evaluation.json"
MODEL, CENTRE, MEAN_BOX, SALIENCY = "model", "centre disc", "mean box", "image saliency"
UNTRAINED, SHUFFLED, ORACLE = "untrained network", "shuffled audio", "oracle ceiling"
TRAINING_GEOMETRY = "square crops"
"""What training sees of its frames: squares of the shorter side, from anywhere along the longer one."""
SOUND_BLIND = (CENTRE, MEAN_BOX, SALIENCY)
"""Rows that never hear anything."""
Kind = Literal["readout", "model", "control", "ceiling"]


class Completeness(TypedDict):
    """How well the integrated gradients of a row add up: means over its maps, in logits.

    `steps` is how finely the path was cut, `difference` what the attributions should add up to, `residue` by how much
    they miss it; `missed` counts the maps that miss it by more than `evaluate.integrated_gradients.residue` allows.
    """

    steps: float
    difference: float
    residue: float
    missed: int
    maps: int


class EvaluationRow(Row):
    """A row with what it is; `readout` says which readout (or saliency) stands behind it, `completeness` is null for
    all but integrated gradients."""

    kind: Kind
    readout: str | None
    completeness: Completeness | None


class Evaluation(TypedDict):
    """`located` counts the samples with boxes, on which rows are judged; where it is 0 the rows have no figures and
    `note` says why. `validation_pointing` is what the choice of `model_readout` rests on. Maps are judged in
    `geometry`, pairs in `alignment_geometry`, beside `training_geometry`. `label_aided` says how training used
    labels, where it did. `warnings` are sentences that belong beside the figures.
    """

    mma: MmaResult
    rows: list[EvaluationRow]
    model_readout: str
    samples: int
    located: int
    note: str | None
    warnings: list[str]
    label_aided: str | None
    geometry: Geometry
    alignment_geometry: Geometry
    training_geometry: str
    align_corners: bool
    checkpoint: str
    step: int
    data: str
    validation: str | None
    validation_pointing: dict[str, float]
