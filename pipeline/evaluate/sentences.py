"""How an evaluation was made, in words: the same below the table of `gavt evaluate` and on the report's page."""

from collections.abc import Mapping
from typing import Any

from pipeline.features.settings import Geometry

_GEOMETRIES: dict[Geometry, str] = {
    "squash": "the whole frame, squashed to a square",
    "letterbox": "the whole frame, seen between black bars",
    "centre": "the centre square of the frame, boxes cut to it",
}


def how_judged(evaluation: Mapping[str, Any]) -> list[str]:
    """Sentences about what the figures of `evaluation.json` rest on."""
    said = []
    geometry, other = evaluation["geometry"], evaluation["alignment_geometry"]
    if evaluation["located"]:
        said.append(
            f"maps are judged on {_GEOMETRIES[geometry]} (evaluate.geometry={geometry}), resized with align_corners "
            f"{'on' if evaluation['align_corners'] else 'off'}"
        )
    seen = _GEOMETRIES[other].removesuffix(", boxes cut to it")
    said.append(f"alignment is judged on {seen}; training saw {evaluation['training_geometry']}")
    for row in evaluation["rows"]:
        if row["kind"] == "readout" and (found := row["completeness"]) is not None:
            said.append(
                f"{row['name']}: attributions miss the difference of {found['difference']:.2f} logits by "
                f"{found['residue']:.2f} (mean of {found['maps']:,} maps, {found['steps']:.0f} steps each); "
                f"{found['missed']:,} miss it by more than evaluate.integrated_gradients.residue allows"
            )
    return said
