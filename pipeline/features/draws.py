"""What is drawn for augmentation, without torch: worker processes draw, the device applies."""

import numpy as np
import numpy.typing as npt

from pipeline.features.settings import AugmentSettings

DRAWS = (
    "angle_rad",
    "width",
    "height",
    "x",
    "y",
    "brightness",
    "contrast",
    "saturation",
    "hue_turns",
    "volume",
    "mirror",
)
"""What a draw's numbers mean, in order; see `pipeline.features.augment.AugmentDraws`."""


def draw_augmentation(settings: AugmentSettings, generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw the augmentation of one sample: numbers [11] in the order of `DRAWS`; always takes as many random ones."""
    u = generator.uniform(size=11)
    rotated = u[0] < settings.rotation_probability
    angle = np.deg2rad(settings.rotation_degrees * (2 * u[1] - 1)) if rotated else 0.0
    # resized to r times its size, then cropped to a fixed size that is resize_minimum times the image
    resize = settings.resize_minimum + (1 - settings.resize_minimum) * u[2]
    side = settings.resize_minimum / resize
    stretch = np.sqrt(1 + settings.aspect * u[3]) ** (1 if u[4] < 0.5 else -1)
    values = (
        angle,
        min(side * stretch, 1.0),
        min(side / stretch, 1.0),
        u[5],
        u[6],
        1 + settings.brightness * (2 * u[7] - 1),
        1 + settings.contrast * (2 * u[8] - 1),
        1 + settings.saturation * (2 * u[9] - 1),
        settings.hue * (2 * u[10] - 1),
        1 + settings.volume * (2 * generator.uniform() - 1),
        -1 if generator.uniform() < settings.flip else 1,
    )
    return np.array(values, dtype=np.float32)
