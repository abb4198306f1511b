import pytest
import torch
from tiny_gavt import encode, inputs, sequence, tiny

from pipeline.models.attention import AttentionMap
from pipeline.models.build import build_on
from pipeline.models.encoder import Encoder, EncoderLayer
from pipeline.models.settings import EncoderSettings

SMALL = {"width": 16, "feed_forward": 32, "heads": 2, "layers": 5, "dropout": 0.0, "norm_first": True}


def encoder(**changes: object) -> Encoder:
    built = build_on("cpu", 0, lambda: Encoder(EncoderSettings.model_validate(SMALL | changes)))
    assert isinstance(built, Encoder)
    return built


def test_the_drop_rate_grows_linearly_with_depth():
    rates = [layer.drop_path.steps.item() / 2**24 for layer in encoder(drop_path=0.4).layers]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert [layer.drop_path.rate for layer in encoder(drop_path=0.4, layers=1).layers] == [0]


def test_the_drop_rate_is_not_rounded_in_a_model_of_16_bits():
    last = encoder(drop_path=0.1).bfloat16().layers[-1]
    assert last.drop_path.steps.item() / 2**24 == pytest.approx(0.1, abs=1e-7)


def test_stochastic_depth_leaves_out_whole_samples_and_keeps_the_mean():
    layer = EncoderLayer(EncoderSettings.model_validate(SMALL | {"drop_path": 0.25}), 0.25, 1e-5).train()
    torch.manual_seed(0)
    factors = layer._dropped(torch.ones(4000, 3, 16))
    by_sample = factors.flatten(1)
    assert torch.equal(by_sample.amin(1), by_sample.amax(1))
    assert by_sample[:, 0].unique().tolist() == pytest.approx([0, 4 / 3])
    assert factors.mean().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(layer.eval()._dropped(factors), factors)


def test_stochastic_depth_draws_the_same_after_the_same_seed():
    model, tokens = encoder(drop_path=0.8).train(), torch.randn(8, 3, 16)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(model(tokens)[0])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_layer_scale_begins_as_nearly_nothing():
    tokens = torch.randn(2, 3, 16)
    near = encoder(layer_scale=1e-6)
    assert torch.allclose(near(tokens)[0], near.norm(tokens), atol=1e-4)
    assert not torch.allclose(encoder()(tokens)[0], near.norm(tokens), atol=1e-4)


def test_depth_scaled_init_makes_only_output_projections_smaller():
    plain, scaled = encoder().state_dict(), encoder(depth_scaled_init=True).state_dict()
    for name, weight in plain.items():
        output = name.endswith(("attention.out.weight", "feed_forward.3.weight"))
        assert torch.allclose(scaled[name], weight * (0.1**0.5 if output else 1)), name


def test_query_key_norm_keeps_attention_from_saturating():
    tokens = torch.randn(2, 6, 16)

    def sharpest(model):
        for layer in model.layers:
            layer.attention.query_key_value.weight.data.mul_(100)
        return max(AttentionMap(one).whole().amax().item() for one in model(tokens, attention=True)[1].values())

    assert sharpest(encoder()) > 0.99
    assert sharpest(encoder(query_key_norm=True)) < 0.9


def test_registers_stand_behind_all_others_and_are_attended_to():
    plain, model = tiny(dropout=0.0).eval(), tiny(dropout=0.0, registers=3).eval()
    layout = model.layout
    assert layout.count == plain.layout.count + 3
    assert (layout.visual, layout.audio) == (plain.layout.visual, plain.layout.audio)
    assert layout.register == slice(plain.layout.count, plain.layout.count + 3)
    with torch.no_grad():
        before = encode(model, inputs(), attention=True)
        assert before.tokens["registers"].shape == (2, 3, 16)
        assert sequence(model, before.tokens).shape[1] == layout.count
        assert before.attention.joint[0].part(slice(None), layout.register).whole().sum() > 0
        model.registers.add_(torch.randn_like(model.registers))
        assert not torch.allclose(encode(model, inputs()).tokens["class"], before.tokens["class"])
