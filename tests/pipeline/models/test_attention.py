"""Attention that is worked out as far as somebody asks."""

import pytest
import torch
from tiny_gavt import encode, inputs, tiny

from peak_bytes import peak_bytes
from pipeline.models import attention
from pipeline.models.attention import Attention, AttentionMap, DotProducts, Stored, attention_weights
from pipeline.models.build import build_on
from pipeline.models.encoder import Encoder
from pipeline.models.settings import EncoderSettings


def products(queries: int = 7, keys: int = 9) -> DotProducts:
    """Of two samples and three heads."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, count, 4, generator=generator) for count in (queries, keys, keys))
    return DotProducts(query, key, value, attention_weights(query, key) @ value)


@pytest.mark.parametrize("numbers_at_once", [1, 100, 1 << 21])
def test_means_are_the_same_however_few_rows_are_worked_out_at_once(
    monkeypatch: pytest.MonkeyPatch, numbers_at_once: int
) -> None:
    monkeypatch.setattr(attention, "_NUMBERS_AT_ONCE", numbers_at_once)
    given = products()
    weights = attention_weights(given.query, given.key)
    values = {count: torch.rand(2, count, generator=torch.Generator().manual_seed(count)) for count in (3, 7, 4, 9)}
    for one in (AttentionMap(given), AttentionMap(Stored(weights))):
        torch.testing.assert_close(one.whole(), weights)
        torch.testing.assert_close(one.to_keys(), weights.mean((1, 2)))
        torch.testing.assert_close(one.to_queries(head=1), weights[:, 1].mean(2))
        torch.testing.assert_close(one.to_keys(values[7]), torch.einsum("bq,bhqk->bk", values[7], weights) / 3)
        torch.testing.assert_close(one.to_queries(values[9]), torch.einsum("bk,bhqk->bq", values[9], weights) / 3)
        some, cut = one.part(slice(2, 6), slice(1, 8)).part(slice(1, 4), slice(0, 4)), weights[:, :, 3:6, 1:5]
        assert some.shape == (2, 3, 3, 4)
        torch.testing.assert_close(some.whole(), cut)
        torch.testing.assert_close(some.to_keys(head=2), cut[:, 2].mean(1))
        torch.testing.assert_close(some.to_keys(values[3]), torch.einsum("bq,bhqk->bk", values[3], cut) / 3)
        torch.testing.assert_close(some.to_queries(values[4]), torch.einsum("bk,bhqk->bq", values[4], cut) / 3)


def test_the_gradient_of_weights_is_made_of_that_of_what_they_mix() -> None:
    """So that nobody needs the weights in the graph, nor their gradients all at once."""
    given = products()
    weights = attention_weights(given.query, given.key).requires_grad_()
    answer = (weights @ given.value).tanh().sum((1, 2, 3)).sum()
    (slope,) = torch.autograd.grad(answer, weights)
    mixed = given.mixed.detach().requires_grad_()
    (watched,) = torch.autograd.grad(mixed.tanh().sum(), mixed)
    values = torch.rand(2, 7, generator=torch.Generator().manual_seed(1))
    expected = torch.einsum("bq,bhqk->bk", values, (weights * slope).clamp(min=0)) / 3
    torch.testing.assert_close(AttentionMap(given).relevance_to_keys(values, watched), expected)
    torch.testing.assert_close(AttentionMap(Stored(weights)).relevance_to_keys(values, slope), expected)


def test_only_the_layers_that_are_asked_for_are_kept() -> None:
    model = tiny(layers=3).eval()
    assert model.attention_layers == 3
    with torch.no_grad():
        every, second = encode(model, inputs(), True).attention, encode(model, inputs(), [1]).attention
        assert encode(model, inputs(), False).attention is None
    assert every is not None
    assert second is not None
    found, wanted = every.between("audio", "visual"), second.between("audio", "visual")
    assert found is not None
    assert wanted is not None
    assert (list(found), list(wanted)) == ([0, 1, 2], [1])
    torch.testing.assert_close(found[1].to_keys(), wanted[1].to_keys())


def test_attention_between_streams_is_cut_out_of_a_joint_one_with_queries_as_rows() -> None:
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(5.0), indexing="ij")
    joint = (10 * rows + columns)[None, None]
    slices = {"class": slice(0, 1), "visual": slice(1, 3), "audio": slice(3, 5)}
    looked = Attention({0: Stored(joint), 3: Stored(joint + 100)}, slices)
    found = looked.between("audio", "visual")
    assert found is not None
    assert found[0].whole()[0, 0].tolist() == [[31, 32], [41, 42]]
    assert found[3].whole()[0, 0].tolist() == [[131, 132], [141, 142]]
    assert looked.between("visual", "text") is None


def test_attention_of_streams_that_look_at_each_other_is_what_the_model_says() -> None:
    weights = torch.rand(1, 2, 3, 4)
    looked = Attention(crossed={("audio", "visual"): {1: Stored(weights)}})
    found = looked.between("audio", "visual")
    assert looked.joint is None
    assert found is not None
    assert torch.equal(found[1].whole(), weights)
    assert looked.between("visual", "audio") is None


def test_a_mean_over_a_long_sequence_takes_far_less_memory_than_its_weights() -> None:
    """Of 4,097 tokens and 8 heads, whose weights are 512 MiB a layer; those of a single head are 64 MiB."""
    settings = EncoderSettings(width=32, feed_forward=32, layers=2, heads=8, dropout=0.0)
    encoder = build_on("cpu", 0, lambda: Encoder(settings)).eval()
    tokens = torch.randn(1, 4097, 32, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def audio_to_visual() -> torch.Tensor:
        _, kept = encoder(tokens, attention=[0])
        return AttentionMap(kept[0]).part(slice(2049, 4097), slice(1, 2049)).to_keys()

    assert audio_to_visual().shape == (1, 2048)
    weights_of_a_head = 4 * tokens.shape[1] ** 2
    assert peak_bytes(audio_to_visual, tokens.device) < weights_of_a_head / 2
