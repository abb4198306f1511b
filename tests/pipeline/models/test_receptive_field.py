"""Where tokens look: what the geometry says, beside what reaches them."""

import pytest
import torch
import torchvision
from pydantic import ValidationError
from safetensors.torch import save_file
from tiny_gavt import EMBEDDERS, VIT, tiny
from torch import nn
from torchvision.models.convnext import CNBlock

from pipeline.models.build import build_on
from pipeline.models.contract import TokenGrid
from pipeline.models.embedders.build import build_embedder
from pipeline.models.norms import BatchNorm2d
from pipeline.models.pretrained import load_pretrained
from pipeline.models.receptive_field import ReceptiveField, receptive_field
from pipeline.models.settings import (
    ConvNextEmbedderSettings,
    ConvolutionEmbedderSettings,
    PatchEmbedderSettings,
    ResNetEmbedderSettings,
    VitEmbedderSettings,
)

STATED = {  # of the visual embedder, over a frame: centre, stride, receptive field
    "patch 8": (PatchEmbedderSettings(patch=8), 4, 8, 8),
    "patch 16": (PatchEmbedderSettings(patch=16), 8, 16, 16),
    "convolution": (ConvolutionEmbedderSettings(), 0.5, 8, 31),
    "convolution, one layer": (ConvolutionEmbedderSettings(widths=(8,)), 0.5, 1, 3),
    "convolution 3×3, 1×1": (ConvolutionEmbedderSettings(last_kernel=1), 0.5, 8, 15),
    "convolution centred": (ConvolutionEmbedderSettings(padding="centred"), 4.5, 8, 31),
    "convolution 4×4": (ConvolutionEmbedderSettings(kernel=4), 4, 8, 38),
    "convolution 4×4, 1×1": (ConvolutionEmbedderSettings(kernel=4, last_kernel=1), 4, 8, 22),
    "convolution 2×2, 1×1": (ConvolutionEmbedderSettings(kernel=2, last_kernel=1), 4, 8, 8),
    "convolution 4×4 deep": (ConvolutionEmbedderSettings(kernel=4, last_kernel=1, widths=(8,) * 5), 8, 16, 46),
    "resnet18": (ResNetEmbedderSettings(), 0.5, 16, 339),
    "resnet18 centred": (ResNetEmbedderSettings(padding="centred"), 8.5, 16, 339),
    "resnet50": (ResNetEmbedderSettings(kind="resnet50"), 0.5, 16, 363),
    "resnet50 centred": (ResNetEmbedderSettings(kind="resnet50", padding="centred"), 8.5, 16, 363),
    "resnet101": (ResNetEmbedderSettings(kind="resnet101"), 0.5, 16, 907),
    "convnext": (ConvNextEmbedderSettings(), 16, 16, 1400),
    "convnext centred": (ConvNextEmbedderSettings(padding="centred"), 8, 16, 1400),
}


def built(name: str, size: tuple[int, int]) -> nn.Module:
    """A visual embedder without the norms that would mix places, and without scales that make impulses too small."""
    embedder = build_on("cpu", 0, lambda: build_embedder(STATED[name][0], 3, size, 5, audio=False)[0])
    for module in list(embedder.modules()):
        for child, layer in module.named_children():
            if isinstance(layer, BatchNorm2d):
                setattr(module, child, nn.Identity())
            elif isinstance(layer, CNBlock):
                nn.init.ones_(layer.layer_scale)
    return embedder.eval()


def wide_enough(stride: int, size: int) -> int:
    """Columns of a frame in which a token in the middle sees no border."""
    return stride * (2 * (size // stride // 2) + 8)


@pytest.mark.parametrize("name", STATED)
def test_a_token_sees_what_its_embedder_says_and_nothing_else(name):
    """Pixels whose change changes a token of random weights."""
    _, centre, stride, size = STATED[name]
    length = wide_enough(stride, size)
    embedder, frame, token = built(name, (16, length)), torch.rand(1, 3, 16, length), length // stride // 2
    frame.requires_grad_()
    stated = receptive_field(embedder, length, axis=1)
    assert (stated.centre, stated.stride, stated.size) == (centre, stride, size)
    tokens = embedder(frame)[..., token]
    (gradient,) = torch.autograd.grad((tokens * torch.randn_like(tokens)).sum(), frame)
    seen = gradient.abs().sum((0, 1, 2)).nonzero().flatten().tolist()
    middle = centre + stride * token
    assert (seen[0], seen[-1] + 1) == (middle - size / 2, middle + size / 2)


@pytest.mark.parametrize(
    "name",
    [name for name in STATED if name not in ("resnet50", "resnet50 centred", "resnet101") and "convnext" not in name],
)
def test_what_a_token_sees_weighs_around_its_centre(name):
    """Where all kernels weigh their inputs alike, and pooling takes all of them. (Blocks of a fresh ConvNeXt hardly
    look beside themselves.)"""
    _, centre, stride, size = STATED[name]
    length = wide_enough(stride, size)
    embedder, token = built(name, (16, length)).double(), length // stride // 2
    for module in list(embedder.modules()):
        for child, layer in module.named_children():
            if isinstance(layer, nn.Conv2d):
                nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            elif isinstance(layer, nn.MaxPool2d):
                setattr(module, child, nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding))
    frame = torch.ones(1, 3, 16, length, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(embedder(frame)[..., token].sum(), frame)
    weights = gradient.sum((0, 1, 2))
    found = float((weights * (torch.arange(length) + 0.5)).sum() / weights.sum())
    assert found == pytest.approx(centre + stride * token, abs=1e-6)


def test_a_vision_transformer_has_its_patches_centres_and_sees_all():
    settings = VitEmbedderSettings.model_validate(VIT)
    embedder = build_on("cpu", 0, lambda: build_embedder(settings, 3, (32, 48), 5, audio=False)[0])
    stated = receptive_field(embedder, 48, axis=1)
    assert stated == ReceptiveField(48, centre=4, stride=8, size=None)
    frame = torch.rand(1, 3, 32, 48, requires_grad=True)
    (gradient,) = torch.autograd.grad(embedder(frame)[..., 2].square().sum(), frame)
    assert (gradient != 0).all()
    (own,) = torch.autograd.grad(embedder.patches(frame)[..., 2].sum(), frame)
    assert own.abs().sum((0, 1, 2)).nonzero().flatten().tolist() == list(range(16, 24))


@pytest.mark.parametrize(("kind", "size"), [*((kind, 32) for kind in EMBEDDERS), ("convolution", 64), ("resnet18", 64)])
def test_a_model_states_where_the_tokens_of_frames_and_sounds_look(kind, size):
    """An impulse in the frame stirs the tokens that say they see it, and no others."""
    model = tiny(visual_embedder=EMBEDDERS[kind], frame_size=size).eval()
    grid = model.grids["visual"]
    assert set(grid.sees) == {"row", "column"}
    assert set(model.grids["audio"].sees) == {"frequency", "time"}
    assert all(one.length == size for one in grid.sees.values())
    assert not model.grids["class"].sees
    plain = torch.rand(1, 1, 3, size, size)
    stirred = plain.clone()
    row, column = 5, size - 3
    stirred[..., row, column] += 1
    with torch.no_grad():
        before, after = (model.embed({"frames": frames})["visual"] for frames in (plain, stirred))
    moved = (before != after).any(2).view(grid.shape)[0]
    _, rows, columns = grid.shape
    for place in moved.nonzero().tolist():
        for token, pixel, name in ((place[0], row, "row"), (place[1], column, "column")):
            seen = grid.sees[name]
            assert seen.size is None or abs(seen.centre + token * seen.stride - (pixel + 0.5)) < seen.size / 2
    assert moved[min(row * rows // size, rows - 1), min(column * columns // size, columns - 1)]


def test_axes_of_which_nothing_is_said_have_even_cells():
    grid = TokenGrid((("time", 2), ("row", 4)), {"row": ReceptiveField(64, centre=0.5, stride=16, size=339)})
    assert grid.centres("time") == (0.25, 0.75)
    assert grid.centres("row") == (0.5 / 64, 16.5 / 64, 32.5 / 64, 48.5 / 64)
    assert TokenGrid((("time", 2),)) == TokenGrid((("time", 2),), {})
    assert hash(grid) == hash(TokenGrid(grid.axes))


def test_the_shift_from_the_even_cell_is_in_cells():
    assert ReceptiveField(8).shift(8) == 0
    assert ReceptiveField(128, centre=0.5, stride=16).shift(8) == pytest.approx(-7.5 / 16)
    assert ReceptiveField(128, centre=8.5, stride=16).shift(8) == pytest.approx(0.5 / 16)
    assert ReceptiveField(64, centre=16, stride=16).shift(4) == 0.5


def test_branches_see_together_what_either_sees():
    one = ReceptiveField(64).after(3, stride=2, before=1)
    assert one == ReceptiveField(64, 0.5, 2, 3)
    assert one.beside(ReceptiveField(64, 1.5, 2, 1)) == ReceptiveField(64, 0.5, 2, 3)
    assert one.beside(ReceptiveField(64, 2.5, 2, 1)) == ReceptiveField(64, 1.0, 2, 4)
    assert one.beside(ReceptiveField(64, 0.5, 2, None)).size is None
    with pytest.raises(ValueError, match="branches of the same stride, found 2 and 1"):
        one.beside(ReceptiveField(64))


def test_dilated_kernels_and_sides_of_their_own_are_composed_axis_by_axis():
    layers = nn.Sequential(nn.Conv2d(3, 4, (3, 5), (1, 2), (1, 0), dilation=(2, 1)), nn.AvgPool2d(2))
    assert receptive_field(layers, 32, axis=0) == ReceptiveField(32, 0.5 + 2 - 1 + 0.5, 2, 6)
    assert receptive_field(layers, 32, axis=1) == ReceptiveField(32, 0.5 + 2 + 1, 4, 7)
    with pytest.raises(TypeError, match="whole numbers, found 'same'"):
        receptive_field(nn.Conv2d(3, 4, 3, padding="same"), 32, axis=0)


@pytest.mark.parametrize("kind", ["resnet18", "resnet50"])
def test_a_resnets_centred_padding_keeps_the_weights_and_moves_what_they_are_of(kind, tmp_path):
    """Away from the borders its features are those of a frame that lies a cell of the last stride's input further."""
    save_file(getattr(torchvision.models, kind)(weights=None).state_dict(), tmp_path / "weights.safetensors")
    settings = {"kind": kind, "weights": str(tmp_path / "weights.safetensors")}
    even = tiny(visual_embedder=settings).eval()
    centred = tiny(seed=1, visual_embedder=settings | {"padding": "centred"}).eval()
    for model in (even, centred):
        load_pretrained(model)
    ours, theirs = centred.visual_embedder.features.state_dict(), even.visual_embedder.features.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    place = 5 if kind == "resnet18" else 8  # of the first block of the third stage
    moved, usual = centred.visual_embedder.features[place], even.visual_embedder.features[place]
    cells = torch.rand(1, 128 if kind == "resnet18" else 512, 12, 12)
    with torch.no_grad():
        found, expected = moved(cells), usual(cells.roll((-1, -1), (2, 3)))
    assert found.shape == expected.shape
    assert torch.allclose(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, usual(cells), atol=0.1)


def test_padding_that_would_change_nothing_is_refused():
    with pytest.raises(ValidationError, match="kernel = 3 for padding = centred"):
        ConvolutionEmbedderSettings(kernel=4, padding="centred")
