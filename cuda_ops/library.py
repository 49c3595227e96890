"""How an op is declared: schema, reference, fake, kernels, gradient, autocast.

`torch.library.Library.define/impl` is used instead of the `custom_op` decorator because a call
through it costs a fraction of the time (15 against 26 microseconds for a differentiable op).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from cuda_ops.runtime import KernelUnavailableError, cpu_library, gpu_of
from cuda_ops.runtime.gpu import waits_for_every_launch

LIBRARY = torch.library.Library("pc3d", "DEF")
OPS: dict[str, str] = {}
"""Schema of every op by name, in the order of definition."""
CPU_KERNELS: set[str] = set()
"""Names of the ops that have a C++ kernel."""
CUDA_KERNELS: dict[str, Callable[..., Any]] = {}
"""What serves on a GPU, by the name of the op."""
HALF = (torch.float16, torch.bfloat16)
Op = Callable[..., Any]


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type in which features of a type are summed: float32, or float64 for itself."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def define(
    schema: str,
    reference: Op,
    fake: Op,
    cpu: Op | None = None,
    cuda: Op | None = None,
    *,
    like: int | None = 0,
) -> Op:
    """Register an op with its reference, which serves wherever no kernel does.

    Features in half precision are summed in float32, and rounded once, at the end.

    Args:
        schema: `name(Tensor a, ...) -> Tensor` in torch's schema language.
        reference: the specification, in plain PyTorch; is given no half precision.
        fake: returns empty tensors of the shape, dtype and device of every output.
        cpu: the C++ kernel: called with the library and the arguments, floating-point tensors of
            which are float32; returns None for arguments that it does not serve.
        cuda: the GPU's kernel: likewise, with a `Gpu`, float32 or half precision, and all tensors
            on that GPU.
        like: place of the argument whose type floating-point results have. None: they are sums in
            float32 where features are in half precision, as the gradients of weights must be.

    Returns:
        The callable `torch.ops.pc3d.<name>`.
    """
    LIBRARY.define(schema)
    name = schema.split("(", 1)[0]
    OPS[name] = schema
    anywhere = _widened(reference, like)
    LIBRARY.impl(name, anywhere, "CompositeExplicitAutograd")
    if cpu is not None:
        LIBRARY.impl(name, _widened(_served_by_cpu(cpu, reference), like), "CPU")
        CPU_KERNELS.add(name)
    if cuda is not None:
        LIBRARY.impl(name, _served_by_cuda(name, cuda, anywhere), "CUDA")
        CUDA_KERNELS[name] = cuda
    torch.library.register_fake(f"pc3d::{name}", fake, lib=LIBRARY)
    op: Op = getattr(torch.ops.pc3d, name).default
    return op


def _tensors(args: Sequence[Any]) -> Iterator[Tensor]:
    for arg in args:
        if isinstance(arg, Tensor):
            yield arg
        elif isinstance(arg, (list, tuple)):
            yield from _tensors(arg)


def _widened(run: Op, like: int | None) -> Op:
    """`run` in float32 where features are in half precision."""

    def widened(*args: Any) -> Any:
        if not any(tensor.dtype in HALF for tensor in _tensors(args)):
            return run(*args)
        wide = [a.float() if isinstance(a, Tensor) and a.dtype in HALF else a for a in args]
        found = run(*wide)
        if like is None or args[like].dtype not in HALF:
            return found
        return found.to(args[like].dtype)

    return widened


def _served_by_cpu(cpu: Op, reference: Op) -> Op:
    def run(*args: Any) -> Any:
        library = cpu_library()
        # float64 is for checking: there the reference is what one wants to see.
        if library is not None and all(t.dtype != torch.float64 for t in _tensors(args)):
            result = cpu(library, *args)
            if result is not None:
                return result
        return reference(*args)

    return run


def _served_by_cuda(name: str, cuda: Op, reference: Op) -> Op:
    def run(*args: Any) -> Any:
        tensors = list(_tensors(args))
        devices = {tensor.device for tensor in tensors}
        if len(devices) > 1:
            found = ", ".join(sorted(map(str, devices)))
            raise ValueError(
                f"{name} needs all tensors on one device; got {found}. Move them with .to(device)."
            )
        gpu = gpu_of(devices.pop())
        if gpu is None or any(tensor.dtype == torch.float64 for tensor in tensors):
            return reference(*args)
        gpu.raise_complaints()
        try:
            result = cuda(gpu, *args)
        except KernelUnavailableError:
            result = None
        if waits_for_every_launch():
            torch.cuda.synchronize(gpu.device)
            gpu.raise_complaints()
        return reference(*args) if result is None else result

    return run


def once_differentiable(name: str) -> None:
    """Refuse second derivatives through the op `name`, which is itself part of a gradient."""

    def refuse(ctx: Any, *grads: Any) -> None:
        raise RuntimeError(f"pc3d::{name} is a gradient; second derivatives are not supported")

    torch.library.register_autograd(f"pc3d::{name}", refuse, lib=LIBRARY)


def inference_only(name: str, *, features: Sequence[int] = ()) -> None:
    """Refuse derivatives through the op `name`; autocast as in `differentiable`."""

    def refuse(ctx: Any, *grads: Any) -> None:
        raise RuntimeError(
            f"pc3d::{name} is for inference and has no gradient; training composes it from "
            "differentiable ops. Call it under torch.no_grad()."
        )

    differentiable(name, refuse, lambda ctx, inputs, output: None, features=features)


def differentiable(
    name: str, backward: Op, setup_context: Callable[..., None], *, features: Sequence[int] = ()
) -> None:
    """Give the op `name` a gradient, and tell what autocast does.

    On a GPU it casts features to its type, and leaves parameters, weights of a sum and the like as
    they are; kernels round them as they read them. On a CPU, where kernels compute in float32, so
    does autocast.

    Args:
        name: the op.
        backward: as in `torch.library.register_autograd`.
        setup_context: likewise.
        features: places of the arguments that are features.
    """
    torch.library.register_autograd(
        f"pc3d::{name}", backward, setup_context=setup_context, lib=LIBRARY
    )
    torch.library.register_autocast(f"pc3d::{name}", "cpu", torch.float32, lib=LIBRARY)
    _register_cuda_autocast(name, frozenset(features))


def _register_cuda_autocast(name: str, features: frozenset[int]) -> None:
    # torch.library.register_autocast casts every argument, and to a type fixed beforehand.
    op = getattr(torch.ops.pc3d, name).default
    key = torch._C.DispatchKey.AutocastCUDA
    excluded = torch._C.DispatchKeySet(key)

    def cast(*args: Any) -> Any:
        dtype = torch.get_autocast_dtype("cuda")
        with torch._C._ExcludeDispatchKeyGuard(excluded):
            return op(
                *(
                    arg.to(dtype) if i in features and _is_castable(arg) else arg
                    for i, arg in enumerate(args)
                )
            )

    op.py_impl(key)(cast)
    LIBRARY.impl(name, lambda _, *args: cast(*args), "AutocastCUDA", with_keyset=True)


def _is_castable(arg: Any) -> bool:
    return isinstance(arg, Tensor) and arg.dtype in (torch.float32, *HALF)


def fits(parameter: Tensor, features: Tensor) -> bool:
    """Whether a parameter's type goes with that of features: the same, or float32 with half."""
    mixed = features.dtype in HALF and parameter.dtype == torch.float32
    autocast = torch.is_autocast_enabled(features.device.type)
    return parameter.dtype == features.dtype or mixed or autocast
