"""IIoU: interactive localisation, one image with several sounds (IS3, "Aligning Sight and Sound", Senocak et al.)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.ciou import SUCCESS


def interactive_iou(cious: Sequence[float], groups: Sequence[str | None]) -> float | None:
    """Share of images of which every sound is localised: the minimum over the sounds of [cIoU ≥ 0.5], averaged.

    The official code (kaistmm/SSLalignment) prints it twice, from the cIoU of the upper half of the area and from the
    adaptive one; so do the rows here (`iiou`, `iiou_adap`). Half the area can't reach 0.5 on objects below a quarter of
    the image, where only the adaptive figure says something.

    Args:
        cious: one a sample.
        groups: the image that a sample shares with others; None or a group of one sample is left out.

    Returns:
        None where no image has several sounds.
    """
    of_images = localised_images(cious, groups)
    return None if np.isnan(of_images).all() else float(np.nanmean(of_images))


def localised_images(cious: Sequence[float], groups: Sequence[str | None]) -> npt.NDArray[np.float64]:
    """[N] of the first sample of each image with several sounds, whether all of them are localised; NaN of all other
    samples. Their mean is IIoU."""
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        if group is not None:
            members.setdefault(group, []).append(place)
    found = np.full(len(cious), np.nan)
    for places in members.values():
        if len(places) > 1:
            found[places[0]] = min(cious[place] for place in places) >= SUCCESS
    return found
