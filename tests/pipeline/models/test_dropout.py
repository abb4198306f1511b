import pytest
import torch

from pipeline.models.dropout import Dropout, drop_on_cpu
from pipeline.models.encoder import Encoder
from pipeline.models.settings import EncoderSettings


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zeroes_its_share_at_every_place_and_keeps_the_expectation(rate: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    dropped = drop_on_cpu(torch.ones(400_000, dtype=dtype), rate).float()
    for place in range(4):  # of four numbers that share 64 random bits
        zeros = (dropped[place::4] == 0).float().mean().item()
        assert zeros == pytest.approx(rate, abs=5 * (rate * (1 - rate) / 100_000) ** 0.5)
    assert dropped[dropped > 0].unique().numel() == 1
    assert dropped.max().item() == pytest.approx(1 / (1 - rate), rel=0.004 if dtype == torch.bfloat16 else 1e-4)


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    zeros = (drop_on_cpu(torch.ones(400_000), 0.3) == 0).float().view(-1, 4)
    correlation = torch.corrcoef(zeros.T) - torch.eye(4)
    assert correlation.abs().max() < 5 / 100_000**0.5


@pytest.mark.parametrize("shape", [(), (1,), (3, 5, 7)])
def test_gradient_passes_where_the_number_passed(shape: tuple[int, ...]) -> None:
    tensor = torch.rand(shape, requires_grad=True)
    dropped = drop_on_cpu(tensor, 0.4)
    dropped.backward(torch.ones(shape))
    assert tensor.grad is not None
    torch.testing.assert_close(tensor.grad * tensor, dropped, rtol=1e-6, atol=0)


def test_the_seed_decides_and_evaluation_drops_nothing() -> None:
    tensor = torch.rand(1000)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(drop_on_cpu(tensor, 0.5))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(Dropout(0.0)(tensor), tensor)
    assert torch.equal(Dropout(0.5).eval()(tensor), tensor)


def test_maps_do_not_change_what_training_computes() -> None:
    settings = EncoderSettings(width=32, feed_forward=64, layers=2, heads=4, dropout=0.3)
    torch.manual_seed(0)
    encoder, tokens = Encoder(settings), torch.rand(2, 9, 32)
    torch.manual_seed(1)
    without, _ = encoder(tokens)
    torch.manual_seed(1)
    with_maps, maps = encoder(tokens, attention=True)
    assert list(maps) == [0, 1]
    assert torch.equal(without, with_maps)
