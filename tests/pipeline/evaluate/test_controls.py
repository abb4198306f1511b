"""The rows that ignore the sound, and the ceiling."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ShardSetError
from pipeline.evaluate.baselines.saliency import saliency
from pipeline.evaluate.baselines.simple_maps import centre_disc, mean_box, oracle_map
from pipeline.evaluate.measures.other_sounds import choose_other_sounds
from pipeline.evaluate.metrics.area import highest_pixel
from pipeline.evaluate.metrics.ground_truth import Mask, draw_boxes
from pipeline.evaluate.metrics.resize import resize_seen
from pipeline.evaluate.samples import EvaluationBatch, EvaluationSamples, cut_into_chunks
from pipeline.evaluate.settings import EvaluateSettings, SaliencyName
from pipeline.samples.metadata import SampleMetadata
from tiny_run import tiny_experiment, write_shards


def open_samples(url: str, **settings: object) -> EvaluationSamples:
    chosen = EvaluateSettings.model_validate(settings)
    return EvaluationSamples.open(url, tiny_experiment(), chosen, torch.device("cpu"))


def in_set_order(batch: EvaluationBatch) -> EvaluationBatch:
    return batch.select(np.argsort(batch.indices).tolist())


def read(url: str, **settings: object) -> EvaluationBatch:
    """All samples of a set as maps are judged on them."""
    samples = open_samples(url, **settings)
    return in_set_order(samples.read(range(len(samples))).judged)


def test_the_centre_disc_falls_with_the_distance_from_the_centre() -> None:
    disc = centre_disc(5)
    assert highest_pixel(disc) == (2, 2)
    assert disc[2, 0] == -2.0
    assert disc[0, 0] == pytest.approx(-np.sqrt(8))


def test_the_mean_box_is_the_mean_of_the_masks() -> None:
    left, all_over = (draw_boxes([box], 4).astype(np.int32) for box in ((0, 0, 0.5, 1), (0, 0, 1, 1)))
    assert mean_box([left, all_over], 2)[0].tolist() == [1.0, 1.0, 0.5, 0.5]
    assert mean_box([left + all_over], 2)[0].tolist() == [1.0, 1.0, 0.5, 0.5]
    with pytest.raises(ValueError, match="at least one mask"):
        mean_box([], 0)


@pytest.mark.parametrize("method", ["spectral_residual", "frequency_tuned", "centre_surround"])
def test_saliency_finds_the_one_thing_that_stands_out(method: SaliencyName) -> None:
    frame = torch.full((1, 3, 64, 64), 0.5) + 0.02 * torch.rand(
        1, 3, 64, 64, generator=torch.Generator().manual_seed(1)
    )
    frame[0, :, 40:50, 12:22] = torch.tensor([0.9, 0.2, 0.1]).view(3, 1, 1)
    row, column = highest_pixel(saliency(method, frame)[0].numpy())
    assert 36 <= row < 54
    assert 8 <= column < 26


def test_the_oracle_is_the_truth_seen_through_the_grid_of_tokens() -> None:
    truth = np.zeros((4, 4), dtype=bool)
    truth[:2, :3] = True
    assert oracle_map(truth, (2, 2)).tolist() == [[1.0, 0.5], [0.0, 0.0]]
    whole = oracle_map(np.ones((5, 5), dtype=bool), (3, 3))  # a grid that doesn't divide the truth
    np.testing.assert_allclose(whole, np.ones((3, 3)), rtol=1e-6)


def orange_place(batch: EvaluationBatch) -> tuple[float, float]:
    """Row and column of the middle of what is orange in the first frame, in 0–224."""
    orange = (batch.middle[0, 0] > 180).numpy()
    row, column = (np.argwhere(orange).mean(0) + 0.5) / len(orange) * 224
    return float(row), float(column)


def middle_of(truth: Mask) -> tuple[float, float]:
    row, column = np.argwhere(truth).mean(0) + 0.5
    return float(row), float(column)


@pytest.mark.parametrize("geometry", [None, "squash", "letterbox", "centre"])
@pytest.mark.parametrize("size", [(160, 90), (90, 160), (64, 64)])
def test_boxes_lie_on_what_they_are_around_in_every_geometry(
    geometry: str | None, size: tuple[int, int], tmp_path: Path
) -> None:
    url = write_shards(tmp_path / "shards", [{"boxes": [[0.4, 0.35, 0.7, 0.65]], "labels": ["drum"]}], size=size)
    batch = read(url, geometry=geometry)
    truth = batch.truths[0]
    assert truth is not None
    in_square = batch.truth_in_square(0)
    assert in_square is not None
    assert middle_of(in_square) == pytest.approx(orange_place(batch), abs=4)
    # a map that shows what is orange lies, once it is judged, where the box is
    orange = (batch.middle[0, 0] > 180).float().numpy()
    judged = resize_seen(orange, batch.squares[0], 224)
    assert judged.shape == truth.shape
    assert middle_of(judged > 0.5) == pytest.approx(middle_of(truth), abs=6)


def test_the_geometries_map_a_box_as_they_map_the_frame(tmp_path: Path) -> None:
    url = write_shards(tmp_path / "shards", [{"boxes": [[0.25, 0.2, 0.5, 0.6]], "labels": ["drum"]}], size=(160, 80))

    def corners(geometry: str) -> list[int]:
        truth = read(url, geometry=geometry).truths[0]
        assert truth is not None
        rows, columns = np.where(truth)
        return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]

    assert corners("squash") == [56, 44, 112, 134]
    assert corners("letterbox") == [56, 44, 112, 134]  # bars are no area
    assert corners("centre") == [0, 44, 112, 134]  # twice as wide around the middle
    in_square = read(url, geometry="letterbox").truth_in_square(0)
    assert in_square is not None
    assert np.flatnonzero(in_square.any(1))[[0, -1]].tolist() == [56 + 22, 56 + 66]  # half as high, between two bars


def test_maps_are_judged_on_whole_frames_and_others_seen_as_in_training_unless_told_otherwise(tmp_path: Path) -> None:
    rows = [{"boxes": [[0.0, 0.0, 1.0, 1.0]], "labels": ["drum"]}, {"labels": ["drum"]}]
    url = write_shards(tmp_path / "shards", rows)
    batches = {
        geometry: read(url, geometry=geometry).inputs["frames"] for geometry in (None, "squash", "centre", "letterbox")
    }
    assert torch.equal(batches[None], batches["squash"])
    shown = in_set_order(open_samples(url).read(range(2)).shown)  # what alignment is judged on
    assert torch.equal(shown.inputs["frames"], batches["centre"])
    assert not torch.equal(batches["squash"][1], batches["letterbox"][1])


def test_a_box_outside_the_centre_square_or_without_area_is_an_empty_truth_and_no_box_is_none(tmp_path: Path) -> None:
    rows = [{"boxes": boxes} for boxes in ([[0.0, 0.1, 0.1, 0.9]], [[0.2, 1.0, 0.7, 1.0]], [])]
    url = write_shards(tmp_path / "shards", [*rows, {"boxes": None}])
    truths = read(url, geometry="centre").truths
    assert [None if truth is None else bool(truth.any()) for truth in truths] == [False, False, None, None]
    squashed = read(url).truths[:2]
    assert [truth is not None and bool(truth.any()) for truth in squashed] == [True, False]


def known(video: str, labels: list[str], group: str | None = None) -> SampleMetadata:
    return SampleMetadata(
        video=video,
        source=f"{video}.mp4",
        frame_times_s=[0.0],
        audio_start_s=0.0,
        audio_rate_hz=8000,
        audio_samples=1,
        labels=labels,
        group=group,
    )


def test_shuffled_audio_shares_neither_class_nor_video_nor_image() -> None:
    samples = [
        known("a", ["violin"], "image-1"),
        known("b", ["drum"], "image-1"),
        known("c", ["drum"]),
        known("c", ["flute"]),
        known("d", ["violin", "flute"]),
        known("e", []),
    ]
    # the first two share an image with violin and drum; half the set away from the first lies another of video c
    assert choose_other_sounds(samples) == [3, 5, 5, 0, 1, 2]


@given(st.lists(st.tuples(st.integers(0, 5), st.sets(st.sampled_from("xyz"), max_size=2)), min_size=1, max_size=12))
def test_an_other_sound_is_found_wherever_there_is_one(drawn: list[tuple[int, set[str]]]) -> None:
    samples = [known(f"v{video}", sorted(labels)) for video, labels in drawn]

    def strange(one: SampleMetadata, other: SampleMetadata) -> bool:
        return one.video != other.video and not set(one.labels) & set(other.labels)

    for one, place in zip(samples, choose_other_sounds(samples), strict=True):
        assert (place is not None) == any(strange(one, other) for other in samples)
        assert place is None or strange(one, samples[place])


def test_a_limit_takes_the_first_samples_of_the_set(located_shards: str) -> None:
    samples = open_samples(located_shards, max_samples=5)
    chunks = list(samples.go_through(samples.chunks(2)))
    assert sorted(index for chunk in chunks for index in chunk.shown.indices) == [0, 1, 2, 3, 4]


@given(st.integers(1, 2000), st.integers(1, 40))
def test_chunks_hold_all_samples_in_order_in_whole_groups_and_are_much_alike(count: int, group: int) -> None:
    chunks = cut_into_chunks(count, group)
    assert [place for chunk in chunks for place in chunk] == list(range(count))
    assert all(chunk.start % group == 0 for chunk in chunks)
    sizes = [len(chunk) for chunk in chunks]
    assert max(sizes) <= 96 + group
    assert max(sizes) - min(sizes) < 2 * group  # no last one of a few samples, among which there are no others' sounds


def test_a_sample_that_can_not_be_decoded_ends_an_evaluation_and_nothing_stands_in(tmp_path: Path) -> None:
    folder = Path(write_shards(tmp_path / "shards", [{"labels": ["drum"]}] * 3))
    tar = folder / "shard-000000.tar"
    content = bytearray(tar.read_bytes())
    place = content.index(b"fLaC", content.index(b"fLaC") + 4)  # of the second sample
    content[place : place + 4] = b"XXXX"
    tar.write_bytes(content)
    samples = open_samples(str(folder))
    with pytest.raises(ShardSetError, match=r"^\S+/shards: .*sample-0001") as caught:
        list(samples.go_through(samples.chunks()))
    assert "in a row" not in str(caught.value)
