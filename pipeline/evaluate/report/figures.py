"""The evaluation's figures, put into words, tiles and groups of rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.evaluate.result import MODEL, ORACLE, SOUND_BLIND

FIGURES = {
    "pointing": "pointing",
    "ciou": "cIoU",
    "auc": "AUC",
    "ciou_adap": "cIoU adap.",
    "iiou": "IIoU",
    "iiou_adap": "IIoU adap.",
}
_KINDS = {
    "model": ("Model", "the readout that points best on the validation split"),
    "readout": ("Readouts", "ways to read a map out of the same weights"),
    "control": ("Controls", "what needs no training, or hears nothing or the wrong thing"),
    "ceiling": ("Ceiling", "the truth itself at the resolution of the model's maps"),
}
Evaluation = Mapping[str, Any]


@dataclass(frozen=True)
class Tile:
    """A key figure.

    Attributes:
        value: as text.
        beside: what it is read against.
        bar: 0–1, where the figure is a share.
        mark: 0–1, what it is read against, on the bar.
    """

    label: str
    value: str
    beside: str
    bar: float | None = None
    mark: float | None = None


def make_tiles(
    evaluation: Evaluation | None, records: Sequence[Mapping[str, Any]], label_aided: bool = False
) -> list[Tile]:
    """The key figures that the run has so far.

    Args:
        label_aided: training looked at labels, which is said at each figure.
    """
    tiles = []
    if evaluation is not None:
        tiles += [tile for tile in (_mma_tile(evaluation), *_pointing_tiles(evaluation)) if tile is not None]
    validations = [record for record in records if record.get("validation/accuracy") is not None]
    if validations:
        last = validations[-1]
        tiles.append(
            Tile(
                "validation accuracy",
                percent(last["validation/accuracy"]),
                f"loss {last['validation/loss']:.3f} at step {last['step']:,}",
                last["validation/accuracy"],
                0.5,
            )
        )
    if label_aided:
        tiles = [replace(tile, label=f"{tile.label}, label-aided") for tile in tiles]
    if records and len(tiles) < 4:
        tiles.append(Tile("steps", f"{records[-1]['step']:,}", "of training"))
    return tiles


def mma_sentence(evaluation: Evaluation | None) -> str | None:
    """How well the model tells matched from mismatched pairs, in words."""
    if evaluation is None or evaluation["mma"]["accuracy"] is None:
        return None
    mma = evaluation["mma"]
    text = f"Multi-modal alignment: {percent(mma['accuracy'])} of {mma['pairs']:,} pairs right (guessing: 50 %)."
    prior = (
        f"Silence is called a match in {percent(mma['silence'])} of cases, noise as loud as the sound in "
        f"{percent(mma['noise'])}."
    )
    if mma["ceiling"] is None:
        return f"{text} The ceiling is unknown, because the data doesn't say what is visible. {prior}"
    share = mma["accuracy"] / mma["ceiling"]
    return (
        f"{text} Someone who recognises every visible and every sounding instrument could reach "
        f"{percent(mma['ceiling'])}: the other mismatched frames happen to show all that sounds. "
        f"The model reaches {percent(share)} of that. {prior}"
    )


def grouped_rows(evaluation: Evaluation | None) -> list[tuple[str, str, str, list[Mapping[str, Any]]]]:
    """(kind, title, explanation, rows), the model first; empty without rows or where no row has a figure."""
    if evaluation is None or not evaluation["located"]:
        return []
    rows = evaluation["rows"]
    groups = [(kind, *words, [row for row in rows if row["kind"] == kind]) for kind, words in _KINDS.items()]
    return [group for group in groups if group[3]]


def best_figures(evaluation: Evaluation | None) -> dict[str, float]:
    """The highest value of each column below the ceiling."""
    rows = [row for row in evaluation["rows"] if row["kind"] != "ceiling"] if evaluation is not None else []
    columns = {name: [row[name] for row in rows if row[name] is not None] for name in FIGURES}
    return {name: max(values) for name, values in columns.items() if values and max(values) > 0}


def percent(value: float | None) -> str:
    """A share of 1 as per cent with one digit, without needless zeros."""
    return "–" if value is None else f"{100 * value:.1f}".removesuffix(".0") + " %"


def _mma_tile(evaluation: Evaluation) -> Tile | None:
    mma = evaluation["mma"]
    if mma["accuracy"] is None:
        return None
    beside = "ceiling unknown" if mma["ceiling"] is None else f"ceiling {percent(mma['ceiling'])}"
    return Tile("alignment accuracy", percent(mma["accuracy"]), beside, mma["accuracy"], mma["ceiling"])


def _pointing_tiles(evaluation: Evaluation) -> list[Tile]:
    rows = {row["name"]: row for row in evaluation["rows"]}
    model = rows.get(MODEL, {}).get("pointing")
    blind = {
        name: rows[name]["pointing"] for name in SOUND_BLIND if name in rows and rows[name]["pointing"] is not None
    }
    if model is None or not blind:
        return []
    best = max(blind, key=lambda name: blind[name])
    oracle = rows.get(ORACLE, {}).get("pointing")
    tiles = [
        Tile("pointing accuracy", percent(model), f"{best} {percent(blind[best])}", model, blind[best]),
    ]
    if blind[best] > 0:
        ceiling = "" if oracle is None else f", ceiling {oracle / blind[best]:.2f} ×"
        tiles.append(Tile("model ÷ best sound-blind row", f"{model / blind[best]:.2f} ×", f"{best}{ceiling}"))
    return tiles
