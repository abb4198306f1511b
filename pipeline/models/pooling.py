"""A sample as single vectors: the means over the tokens of its streams, before and behind the encoder."""

from typing import Literal

from torch import Tensor

from pipeline.models.contract import CLASS, AudioVisualModel, Inputs, Tokens, of_streams

Stage = Literal["embedded", "encoded", "fused"]
"""`embedded`: a stream's tokens as they are embedded. `encoded`: the same gone through the encoder alone, so that they
know nothing of other streams. `fused`: those of all streams, encoded together."""


def pooled(model: AudioVisualModel, inputs: Inputs) -> dict[str, Tensor]:
    """Means over the tokens of each stream, float32 [B, D], called STAGE/STREAM: `embedded/visual`, `encoded/audio`,
    `fused/visual`, and `fused/class` where there is such a token. Their lengths are as they come.

    Of a model whose encoder gives tokens back as they are there is only what is `embedded`.
    """
    embedded = of_streams(model.embed(inputs))
    found = _means("embedded", embedded)
    fused = model.fuse(embedded).tokens
    if all(fused.get(name) is tokens for name, tokens in embedded.items()):
        return found
    for name, tokens in embedded.items():
        alone = model.fuse({name: tokens}).tokens if len(embedded) > 1 else fused
        found |= _means("encoded", {name: alone[name]})
    return found | _means("fused", {name: fused[name] for name in (*embedded, CLASS) if name in fused})


def _means(stage: Stage, tokens: Tokens) -> dict[str, Tensor]:
    return {f"{stage}/{name}": stream.float().mean(1) for name, stream in tokens.items()}
