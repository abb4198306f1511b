"""What every model is to the rest."""

import pytest
import torch
from tiny_gavt import inputs, tiny

from pipeline.models.contract import EmbedOnce, TokenGrid, rows_of

SHAPES = [{}, {"frames": 3, "registers": 2}, {"frames": 2, "audio_alignment": "frames"}]


@pytest.mark.parametrize("shape", SHAPES)
def test_placing_and_encoding_is_fusing(shape):
    model = tiny(dropout=0.0, **shape).eval()
    with torch.no_grad():
        embedded = model.embed(inputs(2, shape.get("frames", 1)))
        fused, encoded = model.fuse(embedded), model.encode(model.place(embedded))
        looked, mapped = model.fuse(embedded, attention=True), model.encode(model.place(embedded), attention=True)
    for one, other in ((fused, encoded), (looked, mapped)):
        assert one.tokens.keys() == other.tokens.keys()
        assert all(torch.equal(one.tokens[name], other.tokens[name]) for name in one.tokens)
    assert fused.attention is None
    assert encoded.attention is None
    assert list(looked.attention.joint) == list(mapped.attention.joint) == list(range(model.attention_layers))
    joint = zip(looked.attention.joint.values(), mapped.attention.joint.values(), strict=True)
    assert all(torch.equal(one.whole(), other.whole()) for one, other in joint)


@pytest.mark.parametrize("shape", SHAPES)
def test_grids_and_widths_say_how_many_tokens_each_stream_has(shape):
    model = tiny(**shape)
    encoded = model.fuse(model.embed(inputs(2, shape.get("frames", 1))))
    found = {name: tuple(tokens.shape) for name, tokens in encoded.tokens.items()}
    assert found == {name: (2, grid.count, model.widths[name]) for name, grid in model.grids.items()}
    assert set(found) == set(model.settings.streams)
    assert model.grids["visual"].names == ("time", "row", "column")
    assert model.grids["audio"].names == ("frequency", "time")


def test_the_last_axis_of_a_grid_is_the_fastest():
    model, given = tiny(frames=2).eval(), inputs(1, 2)
    changed = given["frames"].clone()
    changed[:, 1, :, 28:, :4] = 0  # the last row and the first column of the last frame
    with torch.no_grad():
        before, after = (model.embed({"frames": frames})["visual"] for frames in (given["frames"], changed))
    moved = (before - after).abs().sum((0, 2)).view(model.grids["visual"].shape).nonzero()
    assert len(moved)
    assert moved.amin(0)[:2].tolist() == [1, 6]
    assert moved.amax(0)[2] == 2


def test_an_input_that_is_not_given_has_no_stream():
    model = tiny()
    assert set(model.embed({"frames": inputs()["frames"]})) == {"visual"}
    assert set(model.embed({"sound": inputs()["sound"]})) == {"audio"}


def test_tokens_are_paired_anew_by_stream():
    tokens = {"visual": torch.arange(3.0).view(3, 1, 1), "audio": torch.arange(3.0).view(3, 1, 1) + 10}
    paired = rows_of(tokens, {"visual": torch.tensor([2, 0])})
    assert paired["visual"].flatten().tolist() == [2, 0]
    assert paired["audio"] is tokens["audio"]


def test_paired_tokens_of_embedded_samples_are_those_of_paired_samples():
    model, given = tiny(dropout=0.0).eval(), inputs(3)
    frame, sound = torch.tensor([2, 1, 0, 0]), torch.tensor([0, 1, 1, 2])
    with torch.no_grad():
        ours = model.fuse(rows_of(model.embed(given), {"visual": frame, "audio": sound})).tokens["class"]
        theirs = model.fuse(model.embed({"frames": given["frames"][frame], "sound": given["sound"][sound]}))
    torch.testing.assert_close(ours, theirs.tokens["class"])


def test_a_grid_knows_its_shape_and_how_many_tokens_it_has():
    grid = TokenGrid((("time", 3), ("row", 4), ("column", 5)))
    assert (grid.shape, grid.names, grid.count) == ((3, 4, 5), ("time", "row", "column"), 60)


def test_inputs_are_embedded_once_however_often_they_are_asked_for(monkeypatch):
    model, asked = tiny(), []
    embed = model.embed
    monkeypatch.setattr(model, "embed", lambda given: asked.append(given) or embed(given))
    once, given, others = EmbedOnce(model), inputs(), inputs(3)
    assert once.embed(given) is once.embed(given)
    assert len(once.embed(others)["visual"]) == 3
    assert once.embed(given) is once.embed(given)
    assert [one is given for one in asked] == [True, False]
    assert once.widths == model.widths


def test_what_is_heard_is_kept_by_inputs_and_makes_the_same_tokens():
    model, given = tiny().eval(), inputs(3)
    further = {"one/mixtures": {"sound": given["sound"][:2] / 2}}
    plain, once = (EmbedOnce(model, given, further, hears) for hears in (False, True))
    task = once.of_task("one")
    for one in (given, task.further["mixtures"]):
        assert torch.equal(task.heard(one), model.hear(one["sound"]))
        assert task.heard(one) is once.heard(one)
        assert torch.equal(plain.heard(one), once.heard(one))
    with torch.no_grad():
        for name, tokens in once.embed(given).items():
            assert torch.equal(tokens, plain.embed(given)[name])
    unheard = {"frames": given["frames"]}
    assert set(EmbedOnce(model, unheard, hears=True).embed(unheard)) == {"visual"}


def test_what_tasks_make_besides_is_embedded_with_the_micro_batch_in_one_pass():
    model, given = tiny().train(), inputs(3)
    further = {
        "one/mixtures": {"sound": given["sound"][:2] / 2},
        "other/silence": {"sound": torch.zeros_like(given["sound"][:1])},
    }
    seen = []
    for embedder in (model.visual_embedder, model.audio_embedder):
        embedder.register_forward_hook(lambda module, batch, got: seen.append(len(got)))
    once = EmbedOnce(model, given, further)
    mixtures = once.of_task("one").further
    assert set(mixtures) == {"mixtures"}
    found = [once.of_task("one").embed(mixtures["mixtures"]), once.embed(further["other/silence"]), once.embed(given)]
    assert seen == [3, 6]
    assert [{name: len(tokens) for name, tokens in one.items()} for one in found] == [
        {"audio": 2},
        {"audio": 1},
        {"visual": 3, "audio": 3},
    ]
    model.eval()
    once = EmbedOnce(model, given, further)
    with torch.no_grad():
        assert torch.equal(once.embed(given)["visual"], model.embed(given)["visual"])
        alone = model.embed(further["one/mixtures"])["audio"]
        assert torch.allclose(once.of_task("one").embed(further["one/mixtures"])["audio"], alone, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_of_a_stream_some_tokens_may_be_encoded_and_of_others_none(shape):
    model = tiny(dropout=0.0, **shape).eval()
    with torch.no_grad():
        placed = model.place(model.embed(inputs(2, shape.get("frames", 1))))
        some = {"class": placed["class"], "audio": placed["audio"][:, [3, 1]]}
        found = model.encode(some, attention=True)
        whole, _ = model.encoder(torch.cat([some["class"], some["audio"]], dim=1))
    assert {name: tokens.shape[1] for name, tokens in found.tokens.items()} == {"class": 1, "audio": 2}
    torch.testing.assert_close(torch.cat([found.tokens["class"], found.tokens["audio"]], dim=1), whole)
    assert found.attention.between("audio", "class")[0].shape[2:] == (2, 1)
    assert found.attention.between("audio", "visual") is None


@pytest.mark.parametrize("shape", SHAPES)
def test_what_embedders_see_of_inputs_are_images_that_tokens_cut_into_cells(shape):
    model, given = tiny(**shape).eval(), inputs(2, shape.get("frames", 1))
    images = model.images(given)
    assert {name: tuple(image.shape[1:]) for name, image in images.items()} == dict(model.image_shapes)
    ours, theirs = model.embed_images(images), model.embed(given)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name, (frames, _, height, width) in model.image_shapes.items():
        *before, rows, columns = model.grids[name].shape
        assert (frames, height % rows, width % columns) == (before[0] if before else 1, 0, 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stream_alone_has_the_places_that_it_has_beside_others(shape):
    model = tiny(dropout=0.0, **shape).eval()
    with torch.no_grad():
        embedded = model.embed(inputs(2, shape.get("frames", 1)))
        placed = model.place(embedded)
        for name, other in (("visual", "audio"), ("audio", "visual")):
            alone = model.place({name: embedded[name]})
            assert alone.keys() == placed.keys() - {other}
            assert all(torch.equal(alone[one], placed[one]) for one in alone)
            fused, encoded = model.fuse({name: embedded[name]}), model.encode(alone)
            assert all(torch.equal(fused.tokens[one], encoded.tokens[one]) for one in alone)
