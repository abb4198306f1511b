"""Evaluations with any tables, without a model."""

import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.evaluate.coverage import Coverage
from pipeline.evaluate.measures.contract import Column, Row, Table, as_json
from pipeline.evaluate.result import TRAINING_GEOMETRY, Evaluation

LOCALISATION = Table(
    "localisation",
    "localisation",
    (Column("pointing", "pointing"),),
    (Row("model", "model", {"pointing": 0.5}),),
    4,
)


def write_evaluation(run: str | Path, tables: Sequence[Table], left_out: Sequence[str] = ()) -> None:
    """`evaluation.json` of a run."""
    evaluation = Evaluation(
        tables=as_json(tables),
        left_out=list(left_out),
        warnings=[sentence for table in tables for sentence in table.warnings],
        samples=4,
        coverage=Coverage(wanted=4, found=4, missing={}, samples=4, judged=4),
        label_aided=None,
        geometry="squash",
        alignment_geometry="centre",
        training_geometry=TRAINING_GEOMETRY,
        align_corners=False,
        checkpoint=f"{run}/checkpoints/step-0000000030",
        step=30,
        data="shards/test",
        validation="shards/validation",
    )
    Path(run, "evaluation.json").write_text(json.dumps(evaluation))
