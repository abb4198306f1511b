"""Two embedders side by side."""

import pytest
import torch
from tiny_gavt import EMBEDDERS, inputs

from pipeline.features.settings import FeatureSettings
from pipeline.models.build import build_on
from pipeline.models.embedders.build import build_embedder
from pipeline.models.settings import ConvolutionEmbedderSettings
from pipeline.models.towers import Towers
from pipeline.models.towers_settings import TowersSettings
from tiny_shards import FEATURES


def towers(frames: int = 1, **changes: object) -> Towers:
    settings = TowersSettings.model_validate({"width": 16} | changes)
    features = FeatureSettings.model_validate(FEATURES | {"frames": frames})
    return build_on("cpu", 0, lambda: Towers(settings, features))


@pytest.mark.parametrize("kind", EMBEDDERS)
def test_any_embedder_gives_tokens_of_the_width_that_lie_as_the_grids_say(kind):
    model = towers(frames=2, visual_embedder=EMBEDDERS[kind], audio_embedder=EMBEDDERS[kind])
    tokens = model.fuse(model.embed(inputs(3, frames=2))).tokens
    found = {name: tuple(stream.shape) for name, stream in tokens.items()}
    assert found == {name: (3, grid.count, model.widths[name]) for name, grid in model.grids.items()}
    assert set(found) == set(model.settings.streams)
    assert model.grids["visual"].names == ("time", "row", "column")
    assert model.grids["audio"].names == ("frequency", "time")


def test_streams_never_see_each_other():
    model = towers().eval()
    given = inputs(2)
    with torch.no_grad():
        alone = model.embed({"frames": given["frames"]})["visual"]
        together = model.fuse(model.embed(given), attention=True)
    assert torch.equal(together.tokens["visual"], alone)
    assert together.attention is None


def test_a_tower_whose_tokens_do_not_fill_its_input_is_refused():
    features = FeatureSettings.model_validate(FEATURES)
    assert TowersSettings().reason_against(features) is None
    reason = TowersSettings(audio_embedder={"kind": "patch", "patch": 24}).reason_against(features)
    assert reason is not None
    assert "multiples of 24 for model.audio_embedder" in reason


def seen_by(kernel: int, last_kernel: int) -> tuple[int, int]:
    """First and last of the pixels of a row that the middle token of eight looks at."""
    settings = ConvolutionEmbedderSettings(widths=(8, 8, 8, 8), kernel=kernel, last_kernel=last_kernel, norm="group")
    embedder = build_on("cpu", 0, lambda: build_embedder(settings, 1, (64, 64), 4, audio=True)[0])
    for norm in (module for module in embedder.modules() if isinstance(module, torch.nn.GroupNorm)):
        norm.forward = lambda input: input  # statistics would let each token see all
    image = torch.zeros(1, 1, 64, 64, requires_grad=True)
    features = embedder(image)
    assert features.shape == (1, 4, 8, 8)
    features[0, :, 4, 4].sum().backward()
    columns = image.grad.abs().sum((0, 1, 2)).nonzero()
    return int(columns.min()), int(columns.max())


@pytest.mark.parametrize(("last_kernel", "width"), [(1, 22), (3, 38)])
def test_a_token_of_even_kernels_looks_around_its_own_centre(last_kernel, width):
    first, last = seen_by(4, last_kernel)
    assert (first + last) / 2 == 4 * 8 + 3.5
    assert last - first + 1 == width


def test_a_token_of_odd_kernels_looks_half_a_token_up_and_left_of_its_centre():
    first, last = seen_by(3, 3)
    assert (first + last) / 2 == 4 * 8
