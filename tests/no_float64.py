"""A stand-in for a device without float64, such as an Apple GPU, for tests on a CPU.

    with no_float64() as device:
        x = torch.randn(2, 3).to(device)   # x.device is torch.device("mps")
        x.double()                         # TypeError, as there

The numbers live in CPU memory; a tensor subclass marks those that are "on the device". Besides
float64, it refuses what every accelerator refuses: tensors of two devices in one operation, a CPU
generator for numbers on the device, and `numpy()` without `cpu()`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("mps")
MOVES = {Tensor.to, Tensor.copy_, Tensor.type_as, Tensor.data.__set__, Tensor.grad.__set__}
# These take indices or bookkeeping from the CPU.
MIXES = MOVES | {Tensor.__getitem__, Tensor.__setitem__, torch._has_compatible_shallow_copy_type}
NAMES = {torch.device, torch._C._nn._parse_to}  # these make no tensor


class OnDevice(Tensor):
    """A tensor that counts as being on the device."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func == Tensor.device.__get__:
            return DEVICE
        if func in (Tensor.is_mps.__get__, Tensor.is_cpu.__get__):
            return func == Tensor.is_mps.__get__
        if func is Tensor.__deepcopy__:
            return _deepcopy(*args)
        if func is Tensor.numpy or func is Tensor.__array__:
            raise TypeError("can't convert mps:0 device type tensor to numpy. Use Tensor.cpu()")
        with torch._C.DisableTorchFunctionSubclass():
            if func not in MIXES:
                _check_same_device(func, (args, kwargs))
            result = func(*args, **kwargs)
            result = tree_map(_unmark if _leaves_device(func, args, kwargs) else _as_marked, result)
            _check_float64((args, kwargs, result))
        return result


class _Factories(TorchFunctionMode):
    """Makes `device="mps"` work in factories and in `to`."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in NAMES or not _asks_for(args, kwargs, DEVICE.type):
            return func(*args, **kwargs)
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type != DEVICE.type:
            raise RuntimeError(f"Expected a 'mps' generator but found '{generator.device.type}'")
        args, kwargs = tree_map(_to_cpu_name, (args, kwargs))
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
            if func is Tensor.to and not isinstance(result, OnDevice):
                result = result.clone()  # a move copies, and the copy of a parameter is a tensor
            result = _as_marked(result)
            _check_float64(result)
        return result


@contextmanager
def no_float64() -> Iterator[torch.device]:
    """Within the block, the device that is yielded exists and has no float64."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # else parameters lose marks
    try:
        with _Factories():
            yield DEVICE
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def _as_marked(value):
    # Parameters are marked already, or belong to the CPU.
    return value.as_subclass(OnDevice) if type(value) is Tensor else value


def _unmark(value):
    return value.clone().as_subclass(Tensor) if isinstance(value, OnDevice) else value


def _leaves_device(func, args, kwargs) -> bool:
    if func is Tensor.to:
        like_cpu = any(type(value) is Tensor for value in args[1:])
        return like_cpu or _asks_for(args, kwargs, "cpu")
    return func is Tensor.cpu or (func in MOVES and not isinstance(args[0], OnDevice))


def _is_device(value, name: str) -> bool:
    if isinstance(value, str):
        return value.split(":")[0] == name
    return isinstance(value, torch.device) and value.type == name


def _asks_for(args, kwargs, name: str) -> bool:
    return any(_is_device(value, name) for value in [*args, kwargs.get("device")])


def _to_cpu_name(value):
    return "cpu" if _is_device(value, DEVICE.type) else value


def _check_float64(values) -> None:
    for value in tree_leaves(values):
        if isinstance(value, OnDevice) and value.dtype in (torch.float64, torch.complex128):
            raise TypeError("Cannot convert a MPS Tensor to float64: the device has no float64")


def _check_same_device(func, values) -> None:
    tensors = [value for value in tree_leaves(values) if isinstance(value, Tensor)]
    if any(not isinstance(each, OnDevice) and each.ndim for each in tensors):
        name = getattr(func, "__name__", func)
        raise RuntimeError(f"Expected all tensors to be on the same device in {name}")


def _deepcopy(tensor: OnDevice, memo: dict) -> OnDevice:
    if id(tensor) not in memo:
        new = tensor.detach().clone().requires_grad_(tensor.requires_grad)
        new._is_param = getattr(tensor, "_is_param", False)
        memo[id(tensor)] = new
    return memo[id(tensor)]
