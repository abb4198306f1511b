"""The figures of a benchmark's rows, and where a threshold lies in them their sweep."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.evaluate.benchmarks.benchmarks import Figures
from pipeline.evaluate.benchmarks.judged_map import SHARES, JudgedMap, Official
from pipeline.evaluate.benchmarks.sample import BenchmarkSample
from pipeline.evaluate.measures.contract import Column
from pipeline.evaluate.metrics.ciou import SUCCESS, area_under_curve, success_rate
from pipeline.evaluate.metrics.detection import PrecisionRecall, slavc_average_precision, slavc_max_f1
from pipeline.evaluate.metrics.iiou import interactive_auc, interactive_iou
from pipeline.evaluate.metrics.pixel_precision import class_aware, permutation_invariant
from pipeline.evaluate.metrics.roc import area_under_roc
from pipeline.evaluate.metrics.scores import average

Values = dict[str, float | None]
MIXTURE_SUCCESS = 0.3
"""An image of several sources counts as localised from this mean cIoU on."""
_MOST_POINTS = 200
"""Of a sweep over confidences."""


@dataclass(frozen=True)
class JudgedSamples:
    """The samples that have maps, and what their maps score."""

    samples: Sequence[BenchmarkSample]
    maps: Sequence[JudgedMap]

    def sounding(self) -> "JudgedSamples":
        """Those of which something that is heard is seen."""
        kept = [(one, judged) for one, judged in zip(self.samples, self.maps, strict=True) if one.sounding]
        return JudgedSamples([one for one, _ in kept], [judged for _, judged in kept])

    def of_scenario(self, scenario: str) -> "JudgedSamples":
        """Those of a scenario, and those of which nothing that is heard is seen."""
        kept = [
            (one, judged)
            for one, judged in zip(self.samples, self.maps, strict=True)
            if scenario in one.scenarios or not one.sounding
        ]
        return JudgedSamples([one for one, _ in kept], [judged for _, judged in kept])

    def images(self) -> list[list[JudgedMap]]:
        """The maps of each image of which all sources have one, in the order of the sources."""
        of: dict[str, list[JudgedMap]] = {}
        for one, judged in zip(self.samples, self.maps, strict=True):
            of.setdefault(one.group or one.id, []).append(judged)
        return [maps for maps in of.values() if len(maps) == len(maps[0].precisions)]

    def cious(self, of: Callable[[Official], float] | None = None) -> list[float]:
        """Of the upper half of the area, by the right definition or one of the official ones."""
        if of is None:
            return [judged.score.ciou for judged in self.maps]
        return [of(judged.official) for judged in self.maps if judged.official is not None]


def columns_of(figures: Figures, has_groups: bool) -> tuple[Column, ...]:
    """The figures that belong to a benchmark."""
    half = (Column("ciou", "cIoU"), Column("auc", "AUC"))
    if figures == "detection":
        return (Column("ap", "AP"), Column("max_f1", "max-F1"), Column("loc_acc", "LocAcc"), Column("auc", "AUC"))
    if figures == "sources":
        several = (Column("piap", "PIAP"),) if has_groups else ()
        words = ("CAP", "CIoU@0.3", "CIoU_adap@0.3") if has_groups else ("AP", "cIoU", "cIoU_adap")
        ap, ciou, adaptive = (Column(name, word) for name, word in zip(("ap", "ciou", "ciou_adap"), words, strict=True))
        return (ap, *several, ciou, Column("auc", "AUC"), adaptive, Column("pointing", "pointing"))
    further: tuple[Column, ...] = ()
    if figures == "scenarios":
        further = (Column("auroc", "AUROC on/off screen"),)
    elif has_groups:
        interactive = {"iiou": "IIoU", "iauc": "IAUC", "iiou_adap": "IIoU_adap", "iauc_adap": "IAUC_adap"}
        further = tuple(Column(name, word) for name, word in interactive.items())
    return (Column("pointing", "pointing"), *half, Column("ciou_adap", "cIoU_adap"), *further)


def values_of(figures: Figures, judged: JudgedSamples) -> Values:
    """A row; none where nothing was judged."""
    if figures == "detection":
        return _detection(judged)
    if figures == "sources":
        return _sources(judged)
    heard = judged.sounding()
    row = average([one.score for one in heard.maps], [None] * len(heard.maps))
    values: Values = {name: row[name] for name in ("pointing", "ciou", "auc", "ciou_adap")}
    if figures == "scenarios":
        confidences, _, sounding = _detected(judged, judged.cious())
        return {**values, "auroc": area_under_roc(confidences[sounding], confidences[~sounding])}
    adaptive = [one.score.ciou_adap for one in judged.maps]
    return values | _interactive(judged.cious(), adaptive, judged.samples)


def official_rows(figures: Figures, judged: JudgedSamples) -> dict[str, Values]:
    """The same maps by the public evaluators' own code, where it is another definition or depends on ties."""
    above, from_median = judged.cious(lambda one: one.above), judged.cious(lambda one: one.from_median)
    if figures == "detection":
        heard = judged.sounding()
        cious = heard.cious(lambda one: one.from_median)
        confidences, localised, sounding = _detected(judged, from_median)
        strictly = float(np.mean(np.asarray(cious) > 0.5)) if cious else None
        return {
            "SLAVC’s evaluator": {
                "ap": slavc_average_precision(confidences, localised, sounding),
                "max_f1": slavc_max_f1(confidences, localised, sounding),
                "loc_acc": strictly,
                "auc": area_under_curve(cious) if cious else None,
            }
        }
    if figures in ("sources", "scenarios"):
        return {}  # those of sources read the boxes wrong, see `avgn_row`; AVATAR's cuts at a level of each model's own
    rows: dict[str, Values] = {
        "LVS’ evaluator (> median)": {"ciou": success_rate(above), "auc": area_under_curve(above)},
        "EZ-VSL’s evaluator (≥ median)": {"ciou": success_rate(from_median), "auc": area_under_curve(from_median)},
    }
    adaptive = judged.cious(lambda one: one.adaptive)
    is3: Values = {"ciou": success_rate(above), "auc": area_under_curve(above), "ciou_adap": success_rate(adaptive)}
    return {**rows, "IS3’s evaluator": is3 | _interactive(above, adaptive, judged.samples, alone=True)}


def avgn_row(as_corners: JudgedSamples) -> Values:
    """A row of maps that were judged on boxes read as corners, as AVGN's code has it: each source for itself, more than
    0.3, and average precision with its arguments swapped."""
    cious = as_corners.cious(lambda one: one.from_median)
    swapped = [judged.official.swapped for judged in as_corners.maps if judged.official is not None]
    return {
        "piap": _mean(swapped),
        "ciou": _mean([ciou > MIXTURE_SUCCESS for ciou in cious]),
        "auc": area_under_curve(cious),
    }


def sweeps_of(figures: Figures, judged: JudgedSamples) -> dict[str, Any]:
    """How the figures move with their thresholds: `success` over the cIoU from which on a sample counts, `area` and
    `level` over where a map is cut (shares of the area, and of the way from minimum to maximum), `confidence` over that
    from which on something counts as found."""
    images = judged.images() if figures == "sources" else [[one] for one in judged.sounding().maps]
    steps = [step / 20 for step in range(21)]
    found: dict[str, Any] = {}
    if images:
        cious = [_mean([one.score.ciou for one in maps]) for maps in images]
        found["success"] = {"at": steps, "ciou": [success_rate(cious, 0.05 * step) for step in range(21)]}
        by_area = [np.mean([one.by_area for one in maps], axis=0) for maps in images]
        by_level = [np.mean([one.by_level for one in maps], axis=0) for maps in images]
        for name, of in (("area", by_area), ("level", by_level)):
            found[name] = {"at": list(SHARES), "ciou": (np.asarray(of) >= _success(images)).mean(axis=0).tolist()}
    if figures == "detection" and judged.maps:
        curve = PrecisionRecall.of(*_detected(judged, judged.cious()))
        some = np.unique(np.linspace(0, len(curve.thresholds) - 1, _MOST_POINTS).astype(int))
        at = [float(one) if np.isfinite(one) else None for one in curve.thresholds[some]]
        shown = {"precision": curve.precision, "recall": curve.recall, "f1": curve.f1}
        found["confidence"] = {"at": at, **{name: one[some].tolist() for name, one in shown.items()}}
    return found


def _detection(judged: JudgedSamples) -> Values:
    heard = judged.sounding()
    curve = PrecisionRecall.of(*_detected(judged, judged.cious())) if judged.maps else None
    return {
        "ap": curve.average_precision if curve else None,
        "max_f1": float(curve.f1.max()) if curve else None,
        "loc_acc": success_rate(heard.cious()) if heard.maps else None,
        "auc": area_under_curve(heard.cious()) if heard.maps else None,
    }


def _detected(judged: JudgedSamples, cious: Sequence[float]) -> tuple[Any, Any, Any]:
    """Confidences, whether what sounds was localised, whether something sounds."""
    sounding = np.array([sample.sounding for sample in judged.samples], dtype=np.bool_)
    return np.array([one.confidence for one in judged.maps]), np.asarray(cious) >= 0.5, sounding


def _sources(judged: JudgedSamples) -> Values:
    images = judged.images()
    if not images:
        return dict.fromkeys(("ap", "piap", "ciou", "auc", "ciou_adap", "pointing"))
    cious = [_mean([one.score.ciou for one in maps]) for maps in images]
    adaptive = [_mean([one.score.ciou_adap for one in maps]) for maps in images]
    return {
        "ap": _mean([class_aware([one.precisions for one in maps]) for maps in images]),
        "piap": _mean([permutation_invariant([one.precisions for one in maps]) for maps in images]),
        "ciou": success_rate(cious, _success(images)),
        "auc": area_under_curve(cious),
        "ciou_adap": success_rate(adaptive, _success(images)),
        "pointing": _mean([one.score.pointing for maps in images for one in maps]),
    }


def _success(images: Sequence[Sequence[JudgedMap]]) -> float:
    """From which mean cIoU on an image counts as localised."""
    return MIXTURE_SUCCESS if any(len(maps) > 1 for maps in images) else SUCCESS


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _interactive(
    cious: Sequence[float], adaptive: Sequence[float], samples: Sequence[BenchmarkSample], alone: bool = False
) -> Values:
    groups = [sample.group for sample in samples]
    if not any(groups):
        return {}
    return {
        "iiou": interactive_iou(cious, groups, alone),
        "iauc": interactive_auc(cious, groups, alone),
        "iiou_adap": interactive_iou(adaptive, groups, alone),
        "iauc_adap": interactive_auc(adaptive, groups, alone),
    }
