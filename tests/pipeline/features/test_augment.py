import numpy as np
import torch
import torchvision.transforms.functional as TF

from pipeline.features.augment import AugmentDraws, augment_frames, augment_points, with_matrices
from pipeline.features.draws import DRAWS, draw_augmentation
from pipeline.features.settings import AugmentSettings

OFF = dict.fromkeys(("rotation_degrees", "aspect", "brightness", "contrast", "saturation", "hue", "volume"), 0.0)
NOTHING = AugmentSettings(**OFF, resize_minimum=1.0)


def draws_of(settings: AugmentSettings, count: int = 4, **instead: float) -> AugmentDraws:
    drawn = np.stack([draw_augmentation(settings, np.random.default_rng(i)) for i in range(count)])
    for name, value in instead.items():
        drawn[:, DRAWS.index(name)] = value
    return AugmentDraws.of(with_matrices(torch.from_numpy(drawn)))


def test_everything_off_changes_nothing():
    frames = torch.rand(4, 1, 3, 32, 32)
    assert torch.allclose(augment_frames(frames, draws_of(NOTHING), 32), frames, atol=1e-5)


def test_a_flip_changes_left_and_right_and_takes_points_along():
    settings = AugmentSettings(**OFF, resize_minimum=1.0, flip=1.0)
    frames = torch.rand(4, 1, 3, 32, 32)
    assert torch.allclose(augment_frames(frames, draws_of(settings), 32), frames.flip(-1), atol=1e-5)
    points = torch.tensor([[[0.25, 0.5]]]).expand(4, -1, -1)
    assert torch.allclose(augment_points(points, draws_of(settings)), torch.tensor([0.75, 0.5]), atol=1e-5)


def test_the_same_generator_draws_the_same():
    frames = torch.rand(4, 2, 3, 40, 40)
    first, second = (augment_frames(frames, draws_of(AugmentSettings()), 28) for _ in range(2))
    assert torch.equal(first, second)


def test_values_stay_in_range_and_all_frames_of_a_sample_change_alike():
    frames = torch.rand(6, 1, 3, 46, 46).expand(-1, 2, -1, -1, -1)
    out = augment_frames(frames, draws_of(AugmentSettings(), 6), 32)
    assert out.shape == (6, 2, 3, 32, 32)
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(out[:, 0], out[:, 1])


def test_rotation_never_shows_what_lies_outside_the_image():
    settings = AugmentSettings(**OFF | {"rotation_degrees": 20.0}, rotation_probability=1.0, resize_minimum=0.7)
    frames = torch.ones(32, 1, 3, 64, 64)
    frames[..., 0, :] = frames[..., -1, :] = frames[..., :, 0] = frames[..., :, -1] = 0  # a black frame around it
    shown = augment_frames(frames, draws_of(settings, 32), 45)
    assert shown.mean() > 0.9  # the border is touched at most, never mirrored across


def test_brightness_and_contrast_equal_torchvisions():
    image = torch.rand(1, 1, 3, 16, 16) * 0.6 + 0.2
    bright, strong = draws_of(NOTHING, 1, brightness=1.2), draws_of(NOTHING, 1, contrast=1.3)
    assert torch.allclose(augment_frames(image, bright, 16)[0], TF.adjust_brightness(image[0], 1.2), atol=1e-4)
    assert torch.allclose(augment_frames(image, strong, 16)[0], TF.adjust_contrast(image[0], 1.3), atol=1e-3)


def test_no_saturation_is_grey_and_a_full_turn_of_hue_is_the_same():
    image = torch.rand(1, 1, 3, 8, 8)
    grey = augment_frames(image, draws_of(NOTHING, 1, saturation=0), 8)
    turned = augment_frames(image, draws_of(NOTHING, 1, hue_turns=1), 8)
    assert torch.allclose(grey[:, :, 0], grey[:, :, 1], atol=1e-2)
    assert torch.allclose(turned, image, atol=1e-3)
