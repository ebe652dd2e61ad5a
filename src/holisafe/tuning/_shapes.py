"""Run a model's own code without its numbers: what a step holds in memory and computes, told from shapes alone.

Weights and all that is computed from them have a dtype and a shape and no values (torch's `FakeTensor`). What has no
weights in it, such as token ids, masks and grids, is computed as ever, so that a model finds its images as it does.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.flop_counter import flop_registry

from holisafe.errors import TuningError


class Shapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it, operations on weights without numbers are counted and not computed.

    Attributes:
        bytes: What tensors hold now.
        gradients: The part of it that weights have as their gradients.
        peak: The most that `bytes` has been.
        peak_apart: The most that `bytes` − `gradients` has been.
        flops: Floating-point operations of matrix products, convolutions and attention, as torch counts them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.gradients = self.peak = self.peak_apart = self.flops = 0
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._held: dict[int, weakref.ref[Any]] = {}

    def empty(self, like: Tensor) -> Tensor:
        """A tensor of the same shape and dtype without numbers."""
        with self._fake:
            made = torch.empty(like.shape, dtype=like.dtype, device="cpu")
        self._note(made)
        return made

    def reset(self) -> None:
        """Begin to look for peaks, and to count operations, anew."""
        self.peak, self.peak_apart, self.flops = self.bytes, self.bytes - self.gradients, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute what has its numbers; of all else, the shapes."""
        flat, form = tree_flatten((args, kwargs or {}))
        if any(isinstance(each, FakeTensor) for each in flat):
            if func in _INDEXING:
                flat, form = tree_flatten(((args[0], _places(args[1]), *args[2:]), kwargs or {}))
            args, kwargs = tree_unflatten([self._without_numbers(each) for each in flat], form)
            with self._fake:
                found = func(*args, **kwargs)
            if func._overloadpacket in flop_registry:
                self.flops += int(flop_registry[func._overloadpacket](*args, **kwargs, out_val=found))
        else:
            found = func(*args, **(kwargs or {}))
        for each in tree_flatten(found)[0]:
            if isinstance(each, Tensor):
                self._note(each)
        return found

    def _without_numbers(self, value: Any) -> Any:
        is_real = isinstance(value, Tensor) and not isinstance(value, FakeTensor)
        return self._fake.from_tensor(value) if is_real else value

    def _note(self, tensor: Tensor) -> None:
        """Count a tensor's memory until nothing holds it any more; views have that of what they show."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._held:
            return

        def gone(_: Any) -> None:
            self.bytes -= size
            del self._held[key]

        self._held[key] = weakref.ref(storage, gone)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        self.peak_apart = max(self.peak_apart, self.bytes - self.gradients)

    def note_gradient(self, weight: Tensor) -> None:
        """Take a weight's first gradient for what it is; a hook for after it has been accumulated."""
        assert weight.grad is not None
        self.gradients += weight.grad.nbytes


@contextmanager
def without_numbers(model: nn.Module) -> Iterator[Shapes]:
    """Take the numbers out of a model's weights for good; within it, it runs in `Shapes`.

    Args:
        model: Any model, its weights on a CPU or on the meta device.
    """
    shapes = Shapes()
    made: dict[int, tuple[Tensor, Tensor]] = {}  # the old ones are kept, so that no new one gets their address
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is None or not (tensor.is_floating_point() or tensor.is_meta):
                    continue
                if id(tensor) not in made:
                    empty = shapes.empty(tensor)
                    if isinstance(tensor, nn.Parameter):
                        empty = nn.Parameter(empty, requires_grad=tensor.requires_grad)
                    made[id(tensor)] = (empty, tensor)
                held[name] = made[id(tensor)][0]  # type: ignore[assignment]
    made.clear()
    for weight in model.parameters():
        if weight.requires_grad:
            weight.register_post_accumulate_grad_hook(_once(shapes))  # type: ignore[no-untyped-call]
    shapes.reset()
    with shapes:
        yield shapes


def _once(shapes: Shapes) -> Any:
    """A hook that takes the first gradient of a weight alone; later ones are added to it."""
    seen = False

    def hook(weight: Tensor) -> None:
        nonlocal seen
        if not seen:
            shapes.note_gradient(weight)
        seen = True

    return hook


def _places(indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Numbers in place of masks, of which a shape alone does not tell how many places they mark.

    Raises:
        TuningError: A mask depends on the weights.
    """
    found: list[Tensor | None] = []
    for each in indices:
        if each is None or each.dtype not in (torch.bool, torch.uint8):
            found.append(each)
        elif isinstance(each, FakeTensor):
            raise TuningError("the model picks what its weights decide, so that shapes do not tell its memory")
        else:
            found += each.nonzero().unbind(1)
    return found


_aten = torch.ops.aten
_INDEXING = (
    _aten.index.Tensor, _aten._unsafe_index.Tensor, _aten.index_put.default, _aten.index_put_.default,
    _aten._index_put_impl_.default,
)  # fmt: skip
