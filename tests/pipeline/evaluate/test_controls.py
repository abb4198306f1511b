"""The rows that ignore the sound, and the ceiling."""

import numpy as np
import pytest
import torch
from tiny_run import located_rows, tiny_experiment, write_shards

from pipeline.evaluate.baselines.centre import centre_disc
from pipeline.evaluate.baselines.mean_box import mean_box
from pipeline.evaluate.baselines.oracle import oracle_map
from pipeline.evaluate.baselines.saliency import saliency
from pipeline.evaluate.metrics.area import highest_pixel
from pipeline.evaluate.metrics.ground_truth import draw_boxes
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import SaliencyName


def open_samples(url: str, limit: int | None = None) -> EvaluationSamples:
    return EvaluationSamples(url, tiny_experiment().features, 224, limit, torch.device("cpu"))


def test_the_centre_disc_falls_with_the_distance_from_the_centre() -> None:
    disc = centre_disc(5)
    assert highest_pixel(disc) == (2, 2)
    assert disc[2, 0] == -2.0
    assert disc[0, 0] == pytest.approx(-np.sqrt(8))


def test_the_mean_box_is_the_mean_of_the_masks() -> None:
    left, all_over = draw_boxes([(0, 0, 0.5, 1)], 4), draw_boxes([(0, 0, 1, 1)], 4)
    assert mean_box([left, all_over])[0].tolist() == [1.0, 1.0, 0.5, 0.5]
    with pytest.raises(ValueError, match="at least one mask"):
        mean_box([])


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


def test_boxes_are_judged_on_the_square_that_the_model_sees(located_shards: str) -> None:
    batch = open_samples(located_shards).read([0])
    truth = batch.truths[0]
    assert truth is not None
    # frames are 60×40: the square is the middle two thirds of the width, and the box begins at 0.25 of it all
    rows, columns = np.where(truth)
    assert (rows.min(), rows.max() + 1) == (int(0.2 * 224), int(0.6 * 224))
    assert columns.min() == int((0.25 - 1 / 6) * 1.5 * 224)
    orange = (batch.frames[0, 0, 0] > 0.7).numpy()
    row, column = np.argwhere(orange).mean(0) / 32 * 224
    assert truth[int(row), int(column)]


def test_shuffled_audio_gives_each_sample_another_image_s_sound(located_shards: str) -> None:
    samples = open_samples(located_shards)
    batch = samples.read(range(12))
    others = samples.other_sounds(0, batch)
    assert others is not None
    for place in range(12):
        owner = [i for i in range(12) if torch.allclose(others[place], batch.waveform[i], atol=1e-6)]
        assert len(owner) == 1
        assert batch.metadata[owner[0]].group != batch.metadata[place].group


def test_there_is_no_shuffled_audio_among_samples_of_one_image(tmp_path_factory: pytest.TempPathFactory) -> None:
    url = write_shards(tmp_path_factory.mktemp("one") / "shards", located_rows(2))
    samples = open_samples(url)
    assert samples.other_sounds(0, samples.read([0, 1])) is None


def test_a_limit_takes_the_first_samples(located_shards: str) -> None:
    samples = open_samples(located_shards, limit=5)
    assert [len(batch.keys) for batch in samples.batches(3)] == [3, 2]
