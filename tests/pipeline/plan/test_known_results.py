"""What an operation on the meta device gives is worked out once, and is the same the next time."""

import torch
from torch import Tensor

from pipeline.plan.known_results import KnownResults

CALLS = {
    "convolution": lambda x: torch.nn.functional.conv2d(x, torch.empty(4, 3, 3, 3, device="meta"), padding=1),
    "batch norm": lambda x: torch.nn.functional.batch_norm(x, None, None, training=True),
    "type": lambda x: x * 1.5,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(1, 3) + 1,
    "several": lambda x: torch.cat(x.split(2)),
    "numbers of two types": lambda x: torch.cat([(x.int() * 1).double(), (x.int() * 1.0).double()]),
}


def kind(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.untyped_storage().nbytes()


def test_results_are_those_of_torch_the_first_time_and_the_second() -> None:
    image = torch.empty(4, 3, 8, 6, device="meta")
    expected = {name: kind(call(image)) for name, call in CALLS.items()}
    with KnownResults():
        for name, call in CALLS.items():
            first, second = call(image), call(image)
            assert first.untyped_storage()._cdata != second.untyped_storage()._cdata, name
            assert kind(first) == kind(second) == expected[name], name


def test_views_and_what_is_written_in_place_share_their_memory() -> None:
    image = torch.empty(4, 3, 8, 6, device="meta")
    place = image.untyped_storage()._cdata
    with KnownResults():
        for _ in range(2):
            assert image.flatten(1).untyped_storage()._cdata == place
            assert (
                torch.ops.aten._unsafe_view(image, [12, 48]).untyped_storage()._cdata == image.untyped_storage()._cdata
            )
            assert image.relu_() is image
            assert torch.full((2,), 3.0, device="cpu").tolist() == [3.0, 3.0]
