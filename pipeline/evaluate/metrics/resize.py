"""Maps at the size at which they are judged."""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

Map = npt.NDArray[np.float32]


def resize_map(heat: npt.NDArray[np.floating], size: int | tuple[int, int], align_corners: bool = False) -> Map:
    """A map [h, w], or several [B, h, w], resized bilinearly to [..., size, size].

    Args:
        size: two numbers are height and width.
        align_corners: the centres of the corner cells come to lie on the corner pixels, which stretches the map a
            little over its frame; else each cell stays where it is.
    """
    batch = torch.from_numpy(np.array(heat, dtype=np.float32))
    flat = batch.reshape(-1, 1, *batch.shape[-2:])
    target = (size, size) if isinstance(size, int) else size
    resized: Map = functional.interpolate(flat, size=target, mode="bilinear", align_corners=align_corners).numpy()
    return resized.reshape(*batch.shape[:-2], *target)
