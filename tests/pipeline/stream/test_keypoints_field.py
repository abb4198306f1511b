"""Keypoints of a sample, in the square that the model sees."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from layout_samples import FRAMES_OF, POSE, SECONDS, coded, features, sample_of, with_keypoints
from pipeline.features.augment import AugmentDraws, with_matrices
from pipeline.features.draws import DRAWS, draw_augmentation
from pipeline.samples.skeleton import LEFT_HAND, MIRRORED, POINTS, RIGHT_HAND
from pipeline.shards.array_file import encode_array
from pipeline.shards.keypoints_file import KEYPOINTS_FILE, decode_keypoints, encode_keypoints
from pipeline.stream.decode import decode_sample
from pipeline.stream.fields.registry import fields_of
from tiny_shards import RATE_HZ


def test_keypoints_follow_the_frames_through_cut_and_augmentation() -> None:
    settings = features(frame_size=96, augment={"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0})
    inside = 0
    for seed in range(12):
        random = np.random.default_rng(seed)
        x, y = int(random.integers(60, 120)), int(random.integers(30, 70))
        pixels = np.zeros((100, 180, 3), np.uint8)
        pixels[y - 3 : y + 3, x - 3 : x + 3] = 255
        sample = sample_of("frame", images=[coded(pixels)])
        person = [(0.0, 0.0, 0.0)] + [(x / 180, y / 100, 0.5)] * (POINTS - 1)
        known = with_keypoints(sample, [[None, person]])
        fields = fields_of(settings, ("pose", "frames"), augment=True)
        arrays = decode_sample(known, fields, place=float(random.random())).arrays
        draws = AugmentDraws.of(with_matrices(torch.from_numpy(draw_augmentation(settings.augment, random)[None])))
        pose, frames = (one.on_device(torch.from_numpy(arrays[one.name])[None], draws) for one in fields)
        assert pose.shape == (1, 1, 2, POINTS, 3)
        assert not pose[0, 0, 0].any()
        assert not pose[0, 0, 1, 0].any()
        found, confidence = pose[0, 0, 1, 1:, :2], pose[0, 0, 1, 1:, 2]
        assert (confidence == 0.5).all()
        if not ((found > 0.1) & (found < 0.9)).all():
            continue
        inside += 1
        weights = frames[0, 0].mean(0)
        places = (torch.arange(96) + 0.5) / 96
        middle = [float((weights.sum(axis) * places).sum() / weights.sum()) for axis in (0, 1)]
        assert found[0].tolist() == pytest.approx(middle, abs=0.01)
    assert inside > 4


def test_left_and_right_change_places_when_the_frame_is_flipped() -> None:
    settings = features()
    (field,) = fields_of(settings, ("pose",), augment=True)
    values = torch.rand(2, 1, 2, POINTS, 3)
    values[0, 0, 1] = 0
    whole = {"width": 1.0, "height": 1.0, "x": 0.5, "y": 0.5}
    drawn = [[(whole | {"mirror": mirror}).get(name, 0.0) for name in DRAWS] for mirror in (-1.0, 1.0)]
    flipped, kept = field.on_device(values, AugmentDraws.of(with_matrices(torch.tensor(drawn))))
    assert torch.allclose(kept, values[1], atol=1e-6)
    assert torch.allclose(flipped[0, 0, :, 0], 1 - values[0, 0, 0, list(MIRRORED), 0], atol=1e-6)
    assert torch.allclose(flipped[0, 0, :, 1:], values[0, 0, 0, list(MIRRORED), 1:], atol=1e-6)
    assert not flipped[0, 1].any()
    assert sorted(MIRRORED) == list(range(POINTS))
    assert [MIRRORED[point] for point in (0, 1, 10, 17, 18, 19, 20, 25)] == [0, 2, 9, 17, 18, 19, 21, 24]
    assert [MIRRORED[LEFT_HAND + n] - RIGHT_HAND for n in range(21)] == list(range(21))


@pytest.mark.parametrize("layout", FRAMES_OF)
def test_keypoints_are_of_the_frames_beside_them_or_of_more(layout: str) -> None:
    sample = sample_of(layout)
    there = {"frame": 1, "segments": SECONDS, "clip": 10 * SECONDS}[layout]
    told = [[[(number / 100, 0.5, 1.0)] * POINTS] for number in range(there)]
    known = with_keypoints(sample, told)
    more = {"frame": 1, "segments": 6, "clip": 40}[layout]
    settings = features(
        frames=FRAMES_OF[layout],
        frame_rate_hz=1.0,
        audio_samples=FRAMES_OF[layout] * RATE_HZ,
        inputs={
            "pose": POSE | {"persons": 1},
            "steps": POSE | {"persons": 3, "frames": more, "frame_rate_hz": 10 if layout == "clip" else 1},
        },
    )
    decoded = decode_sample(known, fields_of(settings, ("frames", "sound", "pose", "steps"), augment=False))
    level = decoded.arrays["frames"][:, 0].mean((1, 2))
    seen = {"frame": [0], "segments": level / 40, "clip": level / 4}[layout]
    left, _, right, _ = decoded.squares["centre"]
    numbers = decoded.arrays["pose"][:, 0, 5, 0] * (right - left) + left
    assert (100 * numbers).tolist() == pytest.approx(list(seen), abs=0.4)
    steps = decoded.arrays["steps"]
    assert steps.shape == (more, 3, POINTS, 3)
    assert not steps[:, 1:].any()
    assert (np.diff(steps[:, 0, 5, 0]) * 100 * (right - left)).tolist() == pytest.approx([1.0] * (more - 1), abs=0.05)


def test_samples_without_keypoints_count_as_without_persons_where_that_is_wanted() -> None:
    unknown = sample_of("frame")
    settings = features(inputs={"pose": POSE | {"missing": "zeros"}})
    arrays = decode_sample(replace(unknown, files={}), fields_of(settings, ("pose",), augment=False)).arrays
    assert arrays["pose"].shape == (1, 2, POINTS, 3)
    assert not arrays["pose"].any()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, r"^k: no \.keypoints\.npy in it"),
        ({KEYPOINTS_FILE: b"what"}, r"^k: \.keypoints\.npy: expected an array as numpy\.save writes it"),
        (
            {KEYPOINTS_FILE: encode_array(np.zeros((1, 2, 68, 2)))},
            r"expected float16 \[frames, persons, 68, 3\], found",
        ),
        (
            {KEYPOINTS_FILE: encode_array(np.zeros((1, 2, 68, 3), np.int16))},
            r"persons, 68, 3\], found int16 \[1, 2, 68",
        ),
        ({KEYPOINTS_FILE: encode_array(np.full((1, 2, 68, 3), np.nan))}, r"expected numbers, found some that are none"),
        (
            {KEYPOINTS_FILE: encode_array(np.zeros((0, 2, 68, 3)))},
            r"expected those of its frame 0, found those of 0 fr",
        ),
    ],
)
def test_a_file_of_something_else_than_keypoints_is_bad_and_says_so(files: dict[str, bytes], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        decode_sample(replace(sample_of("frame"), files=files), fields_of(features(), ("pose",), augment=False))


def test_stored_points_are_within_a_4096th_and_those_far_away_or_not_found_do_no_harm() -> None:
    points = np.random.default_rng(0).random((2, 2, POINTS, 3))
    points[0, 0, 0], points[0, 0, 1] = (1e9, -1e9, 0.5), (0.3, 0.4, 0)
    stored = decode_keypoints(encode_keypoints(points))
    assert np.abs(stored[1] - points[1]).max() < 1 / 4096
    assert stored[0, 0, 0].tolist() == [65504, -65504, 0.5]
    assert not stored[0, 0, 1].any()
