"""Memory of a forward and backward pass, moment by moment, on the meta device: nothing is allocated."""

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import _engine_run_backward
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.models.attention import attention_weights
from pipeline.models.dropout import drop_on_cpu
from pipeline.tasks.task import System
from pipeline.train.run_settings import RunSettings
from pipeline.train.system import example_batch

_GROUPS = (2, 3, 4)
"""What is traced, in groups of the task. Every tensor's size is a fixed part, one a sample and, where all samples are
compared, one for each two: two or three traces tell all sizes of batch; with one sample a few operations would take
other ways."""

Bytes = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PassMemory:
    """Bytes that a forward and backward pass holds beside parameters and buffers after each of its T operations, as a
    fixed part, a part a sample and a part for each two samples that are compared.

    Attributes:
        live: [3, T] all of it but gradients of parameters.
        gradients: [T] gradients of parameters so far.
    """

    live: Bytes
    gradients: Bytes

    def at_peak(self, samples: int, keeps_gradients: bool, work: float = 0.0) -> tuple[float, float, float]:
        """Bytes at the fullest moment with a micro-batch of so many samples: of activations and other tensors that come
        and go, of gradients, of work.

        Args:
            keeps_gradients: whether the parameters' gradients pile up beside the rest; else each is taken away
                as soon as it is there, into memory that is counted elsewhere.
            work: bytes that are held from the first gradient on.
        """
        live = self._live(samples)
        gradients = self.gradients * float(keeps_gradients)
        worked = np.where(self.gradients > 0, work, 0.0)
        moment = int((live + gradients + worked).argmax())
        return float(live[moment]), float(gradients[moment]), float(worked[moment])

    def per_sample(self, samples: int) -> float:
        """Bytes that one sample more would take at the fullest moment."""
        moment = int(self._live(samples).argmax())
        return float((self._live(samples + 1) - self._live(samples))[moment])

    def _live(self, samples: int) -> Bytes:
        """[T]"""
        live: Bytes = np.array([1, samples, samples**2], dtype=np.float64) @ self.live
        return live


def trace_pass(settings: RunSettings, model: System, dtype: torch.dtype, on_gpu: bool) -> PassMemory:
    """Go through a step of a task's model on the meta device.

    Args:
        model: in training mode, with activation checkpointing set.
        dtype: what it is trained in; the model is cast to it.
        on_gpu: keep what the kernels of a GPU keep, else those of a CPU.
    """
    model.to(dtype)
    task = settings.task
    counts = [groups * task.group for groups in _GROUPS[: 3 if task.whole_batch else 2]]
    traces = [_trace(settings, model, on_gpu, samples) for samples in counts]
    powers = np.vander(np.array(counts, dtype=np.float64), increasing=True)
    parts = np.linalg.solve(powers, np.stack([live for live, _ in traces]))
    return PassMemory(np.concatenate([parts, np.zeros((3 - len(parts), parts.shape[1]))]), traces[0][1])


def _trace(settings: RunSettings, model: System, on_gpu: bool, samples: int) -> tuple[Bytes, Bytes]:
    with torch.device("meta"), _Kernels(on_gpu), _Ledger([*model.parameters(), *model.buffers()]) as ledger:
        take: Any = nn.Parameter.register_post_accumulate_grad_hook
        hooks = [take(one, ledger.take_gradient) for one in model.parameters() if one.requires_grad]
        loss, _ = model(*example_batch(model, settings, samples, "meta"))
        # loss.backward() would leave the modes and recompute without them
        gradient = torch.ones_like(loss)
        _engine_run_backward((loss,), (gradient,), False, False, (), allow_unreachable=True, accumulate_grad=True)
    for hook in hooks:
        hook.remove()
    model.zero_grad()
    return np.array(ledger.live, dtype=np.float64), np.array(ledger.gradients, dtype=np.float64)


class _Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Writes down after every operation how many bytes are held by tensors that came after it was opened."""

    def __init__(self, before: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.live: list[int] = []
        self.gradients: list[int] = []
        self._held: dict[int, tuple[int, weakref.ref[Any]]] = {}
        self._bytes = self._gradient_bytes = 0
        self._kept = [tensor.untyped_storage() for tensor in before]  # by which they are known
        self._before = {storage._cdata for storage in self._kept}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nobody compiles this, so that the compiler need not be asked at each operation to leave it alone."""
        return False

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._add(leaf)
        self.live.append(self._bytes)
        self.gradients.append(self._gradient_bytes)
        return result

    def take_gradient(self, parameter: Tensor) -> None:
        """A parameter's gradient is whole: it is no longer among the other tensors."""
        assert parameter.grad is not None
        key = parameter.grad.untyped_storage()._cdata
        entry = self._held.pop(key, None)
        if entry is not None:
            self._bytes -= entry[0]
            self._gradient_bytes += entry[0]
            self._kept.append(parameter.grad.untyped_storage())
            self._before.add(key)

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._before or key in self._held:
            return
        size = storage.nbytes()
        self._held[key] = (size, weakref.ref(storage, lambda _: self._remove(key)))
        self._bytes += size

    def _remove(self, key: int) -> None:
        entry = self._held.pop(key, None)
        if entry is not None:
            self._bytes -= entry[0]


class _Kernels(TorchFunctionMode):
    """Attention and dropout that keep what the kernels of the device keep, where the meta device's keep other things:
    fused attention its inputs, output and a number a row; dropout a byte an element."""

    def __init__(self, on_gpu: bool) -> None:
        super().__init__()
        self._on_gpu = on_gpu

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            query, key, value = args
            rate = given["dropout_p"]
            if self._on_gpu or not rate:  # a CPU has no fused kernel with dropout
                return _FusedAttention.apply(query, key, value)
            return drop_on_cpu(attention_weights(query, key), rate) @ value
        if func is F.dropout:
            (tensor,), rate = args, given["p"]
            return torch.native_dropout(tensor, rate, True)[0] if self._on_gpu else drop_on_cpu(tensor, rate)
        return func(*args, **given)


class _FusedAttention(torch.autograd.Function):
    """Tensors of the sizes that fused attention has, on the meta device."""

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        # [B, heads, N, D] that lies as [B, N, heads, D], as the kernels leave it
        out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
        rows = torch.empty(query.shape[:-1], dtype=torch.float32, device=query.device)
        context.save_for_backward(query, key, value, out, rows)
        return out

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(one) for one in context.saved_tensors[:3])
