"""What torch is asked to compute, and what of it a GPU can't repeat to the bit."""

from torch.utils._python_dispatch import TorchDispatchMode

UNREPEATABLE = {
    "avg_pool3d_backward",
    "_adaptive_avg_pool2d_backward",
    "_adaptive_avg_pool3d_backward",
    "adaptive_max_pool2d_backward",
    "upsample_linear1d_backward",
    "upsample_bicubic2d_backward",
    "reflection_pad1d_backward",
    "reflection_pad2d_backward",
    "grid_sampler_2d_backward",
    "grid_sampler_3d_backward",
    "_ctc_loss_backward",
    "histc",
    "kthvalue",
}
"""Operations that end a run with `train.deterministic` on a GPU, by torch's documentation of
`use_deterministic_algorithms`; not those that torch replaces there, as it does bilinear interpolation."""


class CalledOperations(TorchDispatchMode):
    """Notes the names of all operations in its `with` block, those of backward passes too."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))
