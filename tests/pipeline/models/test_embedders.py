import pytest
import torch
from tiny_gavt import EMBEDDERS, encode, inputs, sequence, some, tiny

from chosen_pairs import aligned, targets_of
from pipeline.models.blocks import blocks
from pipeline.models.embedders.build import build_embedder
from pipeline.models.norms import FrozenBatchNorm2d
from pipeline.models.settings import ConvNextEmbedderSettings, ResNetEmbedderSettings, VitEmbedderSettings

TARGETS = targets_of([0, 1, 0], [0, 1, 1], [1, 1, 0])


@pytest.mark.parametrize("kind", EMBEDDERS)
def test_every_parameter_of_every_embedder_gets_a_gradient(kind):
    # two frames, all of the encoder's options; attention's key bias shifts all logits of a row alike and gets none
    model = tiny(
        visual_embedder=EMBEDDERS[kind],
        audio_embedder=EMBEDDERS[kind],
        frames=2,
        audio_alignment="frames",
        registers=2,
        layer_scale=0.5,
        query_key_norm=True,
        dropout=0.0,
    )
    system = aligned(model)
    loss, _ = system(inputs(2, frames=2), TARGETS)
    loss.backward()
    without = [name for name, p in system.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize(
    "settings",
    [
        ResNetEmbedderSettings(kind="resnet18"),
        ResNetEmbedderSettings(kind="resnet50"),
        ResNetEmbedderSettings(kind="resnet101"),
        *(ConvNextEmbedderSettings(size=size) for size in ("tiny", "small", "base", "large")),
        VitEmbedderSettings(),
    ],
)
@pytest.mark.parametrize("audio", [True, False])
def test_a_token_covers_16_pixels_or_cells(settings, audio):
    with torch.device("meta"):
        embedder, grid = build_embedder(settings, 1 if audio else 3, (64, 96), 24, audio)
        features = embedder(torch.empty(2, 1 if audio else 3, 64, 96))
    assert grid == (4, 6)
    assert features.shape == (2, 24, 4, 6)


def test_blocks_are_the_stages_of_embedders_and_the_layers_of_the_encoder():
    with torch.device("meta"):
        embedder, _ = build_embedder(ResNetEmbedderSettings(kind="resnet50"), 3, (64, 64), 8, audio=False)
    assert len(blocks(embedder)) == 1 + 3 + 4 + 6 + 3
    model = tiny(visual_embedder=EMBEDDERS["vit"])
    found = blocks(model)
    assert len(found) == 3 + 3 + 2
    assert found[0] is model.visual_embedder.encoder.layers[0]
    assert found[-1] is model.encoder.layers[-1]
    inside = [module for block in found for module in block.modules()]
    assert len(inside) == len(set(inside))


@pytest.mark.parametrize("kind", ["convnext", "resnet50", "vit"])
def test_tokens_do_not_depend_on_the_others_of_the_batch(kind):
    model = tiny(visual_embedder=EMBEDDERS[kind], audio_embedder=EMBEDDERS[kind], dropout=0.0).train()
    with torch.no_grad():
        together = sequence(model, encode(model, inputs(3)).tokens)
        two = sequence(model, encode(model, some(inputs(3), slice(2))).tokens)
        assert torch.allclose(together[:2], two, atol=1e-4)


def test_frozen_norm_applies_its_statistics_and_never_changes():
    norm = FrozenBatchNorm2d(2)
    norm.reset_parameters()
    image = torch.randn(4, 2, 3, 3)
    assert torch.allclose(norm(image), image, atol=1e-4)
    norm.mean.copy_(torch.tensor([1.0, -2.0]))
    norm.variance.copy_(torch.tensor([4.0, 0.25]))
    norm.weight.fill_(3)
    norm.bias.fill_(0.5)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    got = norm.train().bfloat16()(image.bfloat16())
    expected = 3 * (image - torch.tensor([1.0, -2.0])[:, None, None]) / torch.tensor([2.0, 0.5])[:, None, None] + 0.5
    assert got.dtype == torch.bfloat16
    assert torch.allclose(got.float(), expected, atol=0.1, rtol=0.01)  # the input is rounded to 8 bits before
    assert all(torch.equal(buffer, before[name]) for name, buffer in norm.named_buffers())
    assert norm.mean.dtype == torch.float32
    assert list(norm.parameters()) == []
