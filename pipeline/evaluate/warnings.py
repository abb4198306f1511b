"""What a reader of the figures must know."""

from collections.abc import Sequence

from pipeline.evaluate.measures.alignment import MmaResult
from pipeline.evaluate.result import MODEL, SHUFFLED, EvaluationRow
from pipeline.evaluate.samples import EvaluationSamples


def warnings_of(
    samples: EvaluationSamples,
    choosing: EvaluationSamples | None,
    rows: Sequence[EvaluationRow],
    mma: MmaResult,
    empty_truths: int,
    without_other_sound: int,
) -> list[str]:
    """Sentences, one a warning.

    Args:
        choosing: the validation split; None without one.
        empty_truths: samples whose boxes have no area in the square that maps are judged on.
        without_other_sound: samples that kept the row `shuffled audio` from being judged.
    """
    found = []
    if choosing is not None and (shared := count_shared(samples, choosing)):
        found.append(
            f"{shared} of {len(samples)} samples are also in the validation split, on which readout, saliency and mean "
            "box were chosen: they are judged on what they were chosen on"
        )
    if empty_truths:
        found.append(
            f"the boxes of {empty_truths} samples have no area, or none in the square that the model sees: they count "
            "as failures in every row"
        )
    if without_other_sound:
        found.append(
            f"{SHUFFLED} was left out: for {without_other_sound} samples there is no sound of another video that "
            "shares no class with theirs"
        )
    readouts = {row["name"] for row in rows if row["kind"] == "readout"}
    found += [
        f"{row['not_finite']} maps of {row['name']} are not finite (NaN or infinite): they count as failures"
        for row in rows
        if row["not_finite"] and not (row["name"] == MODEL and row["readout"] in readouts)  # told already
    ]
    if mma["not_finite"]:
        found.append(f"{mma['not_finite']} answers of alignment are not finite (NaN or infinite): they count as wrong")
    return found


def count_shared(samples: EvaluationSamples, others: EvaluationSamples) -> int:
    """How many samples also lie in another set, or have a video or all of their contents in common with one there."""
    there = {one.contents for one in others.known()}
    videos = {(one.metadata.video, one.metadata.source) for one in others.known()}
    return sum(one.contents in there or (one.metadata.video, one.metadata.source) in videos for one in samples.known())
