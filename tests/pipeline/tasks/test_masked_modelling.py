"""Masked modelling: what is hidden, what of it can be known, and what is rebuilt."""

import numpy as np
import pytest
import torch

from objectives import GAVT, OBJECTIVES
from pipeline.errors import SettingsError
from pipeline.models.contract import TokenGrid
from pipeline.tasks.hidden_cells import Hiding, cells_of, hidden_of, image_of, without_hidden
from pipeline.train.load import untrained
from pipeline.train.run_settings import RunSettings
from pipeline.train.system import example_batch, system_without_memory
from tiny_shards import FEATURES

FRAMES = TokenGrid((("time", 3), ("row", 4), ("column", 4)))
SOUND = TokenGrid((("frequency", 8), ("time", 6)))
PATCH = {"kind": "patch", "patch": 8}
EMBEDDERS = {"convolution": GAVT["visual_embedder"], "patch": PATCH}


def settings_of(embedder="patch", features=FEATURES, **task):
    chosen = EMBEDDERS[embedder]
    model = GAVT | {"visual_embedder": chosen, "audio_embedder": chosen}
    task = OBJECTIVES["masked_modelling"].task | {"contrast": 0.0} | task
    return RunSettings.model_validate({"features": features, "model": model, "task": task})


def system_of(settings):
    return untrained(settings, "cpu", 0), *example_batch(untrained(settings, "cpu", 0), settings, 4, "cpu")


@pytest.mark.parametrize(
    ("grid", "strategy", "visible"),
    [
        (FRAMES, "random", 12),
        (FRAMES, "tube", 12),
        (SOUND, "random", 12),
        (SOUND, "time", 16),  # 2 of 6 moments
        (SOUND, "frequency", 12),
        (SOUND, "time_frequency", 12),  # 3 moments, 4 bands
    ],
)
def test_as_many_tokens_of_each_sample_are_visible_whoever_draws_them(grid, strategy, visible):
    hiding = Hiding(grid, strategy, 0.75)
    drawn = hiding.draw(7, "masked", range(6))
    assert drawn.shape == (6, visible)
    assert hiding.visible == visible
    assert torch.equal(drawn[2:5], hiding.draw(7, "masked", [2, 3, 4]))
    assert len({tuple(row) for row in drawn.tolist()}) > 1
    assert torch.equal(drawn, drawn.sort(1).values)
    assert torch.equal(hidden_of(drawn, grid.count).sum(1), torch.full((6,), float(grid.count - visible)))


@pytest.mark.parametrize(
    ("grid", "strategy", "same"),
    [(FRAMES, "tube", (0,)), (SOUND, "time", (0,)), (SOUND, "frequency", (1,))],
)
def test_a_strategy_hides_the_same_along_an_axis(grid, strategy, same):
    hidden = hidden_of(Hiding(grid, strategy, 0.5).draw(0, "masked", range(4)), grid.count).view(4, *grid.shape)
    for axis in same:
        assert torch.equal(hidden, hidden.narrow(axis + 1, 0, 1).expand_as(hidden))


def test_of_moments_and_bands_only_what_lies_in_both_is_visible():
    hidden = hidden_of(Hiding(SOUND, "time_frequency", 0.75).draw(0, "masked", range(4)), SOUND.count)
    seen = 1 - hidden.view(4, *SOUND.shape)
    assert torch.equal(seen, seen.amax(1, keepdim=True) * seen.amax(2, keepdim=True))


def test_cells_are_what_tokens_look_at_in_the_tokens_order():
    image = torch.randn(2, 3, 3, 16, 16)
    cells = cells_of(image, FRAMES)
    assert cells.shape == (2, 48, 48)
    assert torch.equal(image_of(cells, FRAMES, image), image)
    for token, (time, row, column) in enumerate(np.ndindex(FRAMES.shape)):
        part = image[:, time, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert torch.equal(cells[:, token], part.flatten(1))
    hidden = torch.zeros(2, 48)
    hidden[0, 5] = 1  # first frame, second row, second column
    shown = without_hidden(image, hidden, FRAMES)
    assert (shown[0, 0, :, 4:8, 4:8] == 0).all()
    assert torch.equal((shown == 0).sum(), torch.tensor(48))


@pytest.mark.parametrize("embedder", EMBEDDERS)
def test_what_is_rebuilt_hangs_on_what_is_visible_of_both_and_on_nothing_that_is_hidden(embedder):
    system, inputs, targets = system_of(settings_of(embedder))
    task, model = system.task, system.model
    images = {name: image.detach() for name, image in model.images(inputs).items()}

    def rebuilt(changed):
        model.images = lambda given: images | changed
        with torch.no_grad():
            return task.rebuild(model, inputs, targets)

    before = rebuilt({})
    for name, other in (("visual", "audio"), ("audio", "visual")):
        grid = task.hidings[name].grid
        hidden = hidden_of(targets[name], grid.count)
        noise = torch.randn_like(images[name])
        seen = images[name] + without_hidden(noise, hidden, grid)
        unseen = images[name] + without_hidden(noise, 1 - hidden, grid)
        for stream in (name, other):
            assert torch.equal(rebuilt({name: unseen})[stream], before[stream])
            assert not torch.allclose(rebuilt({name: seen})[stream], before[stream])


@pytest.mark.parametrize("normalised", [True, False])
def test_the_loss_is_that_of_hidden_cells_alone_beside_that_of_their_mean(normalised):
    settings = settings_of(normalised=normalised, visual_weight=2.0)
    system, inputs, targets = system_of(settings)
    rebuilt = system.task.rebuild(system.model, inputs, targets)
    loss, sums = system(inputs, targets)
    figures = settings.task.figures(dict(zip(settings.task.sums, sums.tolist(), strict=True)))
    assert figures["loss"] == pytest.approx(2 * figures["visual_loss"] + figures["audio_loss"])
    assert loss.item() == pytest.approx(figures["loss"])
    for name, image in system.model.images(inputs).items():
        errors, means = [], []
        for sample, cells in enumerate(cells_of(image, system.task.hidings[name].grid).double()):
            seen = set(targets[name][sample].tolist())
            mean = torch.zeros(1) if normalised else cells[sorted(seen)].mean(0)
            for token in set(range(len(cells))) - seen:
                cell = cells[token]
                if normalised:
                    cell = (cell - cell.mean()) / (cell.var(correction=0) + 1e-6).sqrt()
                errors.append((rebuilt[name][sample, token] - cell).square().mean())
                means.append((mean - cell).square().mean())
        assert figures[f"{name}_loss"] == pytest.approx(torch.stack(errors).mean().item(), rel=1e-5)
        assert figures[f"{name}_mean_loss"] == pytest.approx(torch.stack(means).mean().item(), rel=1e-5)
        assert figures[f"{name}_rebuilt"] == pytest.approx(1 - figures[f"{name}_loss"] / figures[f"{name}_mean_loss"])


def test_samples_of_a_scene_are_not_contrasted():
    settings = settings_of(contrast=1.0)
    system = system_without_memory(settings)
    metadata = [sample.model_copy(update={"video": f"video{at // 2}"}) for at, sample in enumerate(eight(settings))]
    among = system.task.targets(0, range(8), metadata, "train")["among"]
    own = torch.eye(8, dtype=torch.bool)
    group = torch.arange(8) // 4
    scene = torch.arange(8) // 2
    assert torch.equal(among, own | ((group[:, None] == group) & (scene[:, None] != scene)))


def eight(settings):
    from pipeline.train.system import noise_metadata

    return [noise_metadata(settings.features, at).model_copy(update={"source": ""}) for at in range(8)]


def test_a_strategy_that_can_hide_nothing_is_refused_in_a_sentence():
    with pytest.raises(SettingsError, match=r"task.audio_strategy: expected .* found time over 4 frequency × 1 time"):
        system_without_memory(settings_of(features=FEATURES | {"stft_hop": 512}, audio_strategy="time"))
