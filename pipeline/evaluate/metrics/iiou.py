"""IIoU: interactive localisation, one image with several sounds (IS3, "Aligning Sight and Sound", Senocak et al.)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.ciou import SUCCESS, area_under_curve


def interactive_iou(cious: Sequence[float], groups: Sequence[str | None], alone: bool = False) -> float | None:
    """Share of images of which every sound is localised: the minimum over the sounds of [cIoU ≥ 0.5], averaged.

    The official code (kaistmm/SSLalignment) prints it twice, from the cIoU of the upper half of the area and from the
    adaptive one; so do the rows here (`iiou`, `iiou_adap`). Half the area can't reach 0.5 on objects below a quarter of
    the image, where only the adaptive figure says something.

    Args:
        cious: one a sample.
        groups: the image that a sample shares with others; None or a group of one sample is left out.
        alone: images of one sound count too, as in the official code.

    Returns:
        None where no image has several sounds.
    """
    of_images = localised_images(cious, groups, alone)
    return None if np.isnan(of_images).all() else float(np.nanmean(of_images))


def interactive_auc(cious: Sequence[float], groups: Sequence[str | None], alone: bool = False) -> float | None:
    """IAUC: the area under that share over the thresholds 0, 0.05 … 1, see `area_under_curve`."""
    worst = _worst_of_images(cious, groups, alone)
    known = worst[~np.isnan(worst)]
    return area_under_curve(known.tolist()) if len(known) else None


def localised_images(
    cious: Sequence[float], groups: Sequence[str | None], alone: bool = False
) -> npt.NDArray[np.float64]:
    """[N] of the first sample of each image with several sounds, whether all of them are localised; NaN of all other
    samples. Their mean is IIoU."""
    worst = _worst_of_images(cious, groups, alone)
    return np.where(np.isnan(worst), np.nan, worst >= SUCCESS)


def _worst_of_images(cious: Sequence[float], groups: Sequence[str | None], alone: bool) -> npt.NDArray[np.float64]:
    """[N] of the first sample of each image, the lowest cIoU of its sounds; NaN of all other samples."""
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        if group is not None:
            members.setdefault(group, []).append(place)
    found = np.full(len(cious), np.nan)
    for places in members.values():
        if alone or len(places) > 1:
            found[places[0]] = min(cious[place] for place in places)
    return found
