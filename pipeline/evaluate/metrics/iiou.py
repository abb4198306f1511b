"""IIoU: interactive localisation, one image with several sounds (IS3, "Aligning Sight and Sound", Senocak et al.)."""

from collections.abc import Sequence

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
    members: dict[str, list[float]] = {}
    for ciou, group in zip(cious, groups, strict=True):
        if group is not None:
            members.setdefault(group, []).append(ciou)
    several = [values for values in members.values() if len(values) > 1]
    if not several:
        return None
    return sum(min(values) >= SUCCESS for values in several) / len(several)
