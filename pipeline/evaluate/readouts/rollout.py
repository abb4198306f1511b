"""Attention through all layers of one sequence, from the last tokens back to the first ones.

What token q of the last layer owes to token k of the first is an entry of A_L ⋯ A_1, N² numbers a layer. A mean over q
or over k is a row or a column through that product, and is carried through it instead.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from pipeline.models.attention import Attention, AttentionMap


def roll_back(attention: Attention, queries: str, keys: str) -> Tensor:
    """Attention rollout (Abnar and Zuidema, "Quantifying Attention Flow in Transformers", 2020, Eq. 1, with the mean
    over heads and half of each layer for its residual connection): how much the last layer's tokens of one stream, on
    average, owe to each of another stream's first ones, [B, N keys]."""
    layers, where = joint_layers(attention)
    row = _mean_over(where[queries], layers[0])
    for layer in reversed(layers):
        row = (row + layer.to_keys(row)) / 2
    return row[:, where[keys]]


def roll_on(attention: Attention, queries: str, keys: str) -> Tensor:
    """Attention rollout: how much each of one stream's last tokens owes to another stream's first ones, on average,
    [B, N queries]."""
    layers, where = joint_layers(attention)
    column = _mean_over(where[keys], layers[0])
    for layer in layers:
        column = (column + layer.to_queries(column)) / 2
    return column[:, where[queries]]


def relevance(layers: Sequence[AttentionMap], gradients: Sequence[Tensor], output: int) -> Tensor:
    """Relevance [B, N] of each token for an answer that is read off the last layer's token `output` (Chefer, Gur and
    Wolf, "Generic Attention-model Explainability", 2021, Eq. 5 and 6 with one sequence of tokens).

    From R = 1, each layer adds `Ā R` with `Ā` the mean over heads of the positive part of gradient × attention.

    Args:
        layers: all, over the whole sequence.
        gradients: of the answer, of what each of them watches.
    """
    batch, _, count, _ = layers[0].shape
    row = gradients[0].new_zeros(batch, count)
    row[:, output] = 1
    for layer, gradient in zip(reversed(layers), reversed(gradients), strict=True):
        row = row + layer.relevance_to_keys(row, gradient)
    return row


def joint_layers(attention: Attention | None) -> tuple[list[AttentionMap], Mapping[str, slice]]:
    """All layers over the one sequence of a model, and where each stream lies in it."""
    if attention is None or not attention.joint:
        raise TypeError("expected a model whose streams are one sequence, found one without joint attention")
    return [attention.joint[layer] for layer in sorted(attention.joint)], attention.slices


def _mean_over(where: slice, like: AttentionMap) -> Tensor:
    """[B, N]: an equal share for each token of a stream."""
    batch, _, count, _ = like.shape
    shares = like.weights.watched.new_zeros(batch, count)
    shares[:, where] = 1 / len(range(count)[where])
    return shares
