"""Maps at the size at which they are judged."""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

Map = npt.NDArray[np.float32]


def resize_map(heat: npt.NDArray[np.floating], size: int | tuple[int, int]) -> Map:
    """A map [h, w], or several [B, h, w], resized bilinearly (pixel centres aligned) to [..., size, size].

    Two numbers as `size` are height and width.
    """
    batch = torch.from_numpy(np.array(heat, dtype=np.float32))
    flat = batch.reshape(-1, 1, *batch.shape[-2:])
    target = (size, size) if isinstance(size, int) else size
    resized: Map = functional.interpolate(flat, size=target, mode="bilinear", align_corners=False).numpy()
    return resized.reshape(*batch.shape[:-2], *target)
