"""Writing safetensors one tensor at a time, so that a model of any size needs the memory of its largest parameter."""

import json
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from pipeline.train.checkpoints.layout import AVERAGE, WEIGHTS
from pipeline.train.checkpoints.saved_state import SavedState
from pipeline.train.checkpoints.written_file import HashedFile, Written
from pipeline.train.engine.fragments import EMA, MASTER

_NAMES = {torch.float32: "F32", torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}


def write_all_weights(saved: SavedState) -> Iterator[Written]:
    """Write a checkpoint's weights and, where it has one, their moving average, beside its other files."""

    def average(name: str) -> Tensor:
        return saved.whole(name, EMA if saved.has(name, EMA) else MASTER)  # a buffer has no average

    yield write_weights(saved.folder / WEIGHTS, saved.folder, saved.shapes, saved.dtypes, saved.whole)
    if any(saved.has(name, EMA) for name in saved.shapes):
        yield write_weights(saved.folder / AVERAGE, saved.folder, saved.shapes, saved.dtypes, average)


def write_weights(
    file: Path,
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, torch.dtype],
    tensor_of: Callable[[str], Tensor],
) -> Written:
    """Write tensors as safetensors: length of the header in 8 bytes, header as JSON, then the numbers.

    Args:
        shapes: by name, of all tensors.
        dtypes: of the same; whatever is in floating point is written as float32.
        tensor_of: gives one of them, on the CPU.
    """
    wide = {name: torch.float32 if dtypes[name].is_floating_point else dtypes[name] for name in shapes}
    header, at = {}, 0
    # the widest first, so that each begins at a multiple of its width
    names = sorted(shapes, key=lambda name: -wide[name].itemsize)
    for name in names:
        shape = shapes[name]
        size = prod(shape) * wide[name].itemsize
        header[name] = {"dtype": _NAMES[wide[name]], "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with HashedFile(file, folder) as hashed:
        hashed.write(len(text).to_bytes(8, "little"))
        hashed.write(text)
        for name in names:
            numbers = tensor_of(name).to(wide[name]).contiguous().view(-1)
            hashed.write(numbers.view(torch.uint8).numpy().data)
    return hashed.written()
