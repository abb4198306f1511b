"""Samples as single vectors."""

import torch
from test_towers import towers
from tiny_gavt import inputs, some, tiny

from pipeline.models.pooling import pooled


@torch.no_grad()
def test_each_stage_has_the_mean_over_the_tokens_of_each_stream():
    model, given = tiny().eval(), inputs(3)
    found = pooled(model, given)
    embedded = model.embed(given)
    fused = model.fuse(embedded).tokens
    alone = model.fuse({"audio": embedded["audio"]}).tokens
    torch.testing.assert_close(found["embedded/visual"], embedded["visual"].sum(1) / embedded["visual"].shape[1])
    torch.testing.assert_close(found["encoded/audio"], alone["audio"].sum(1) / alone["audio"].shape[1])
    torch.testing.assert_close(found["fused/audio"], fused["audio"].mean(1))
    torch.testing.assert_close(found["fused/class"], fused["class"][:, 0])
    stages = {name.partition("/")[0] for name in found}
    assert stages == {"embedded", "encoded", "fused"}


@torch.no_grad()
def test_what_is_encoded_alone_knows_nothing_of_the_other_stream():
    model, given = tiny().eval(), inputs(3)
    other = given | {"sound": given["sound"].flip(0)}
    one, two = pooled(model, given), pooled(model, other)
    assert torch.equal(one["encoded/visual"], two["encoded/visual"])
    assert not torch.allclose(one["fused/visual"], two["fused/visual"])
    only = pooled(model, {"frames": given["frames"]})
    torch.testing.assert_close(only["encoded/visual"], one["encoded/visual"])
    assert "embedded/audio" not in only


@torch.no_grad()
def test_a_model_without_an_encoder_has_one_stage():
    model, given = towers().eval(), inputs(3)
    found = pooled(model, given)
    assert set(found) == {"embedded/visual", "embedded/audio"}
    torch.testing.assert_close(pooled(model, some(given, slice(1, 2)))["embedded/audio"], found["embedded/audio"][1:2])
