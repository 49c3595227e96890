"""How an op is declared: schema, reference, fake, C++ kernel, gradient, autocast.

`torch.library.Library.define/impl` is used instead of the `custom_op` decorator because a call
through it costs a fraction of the time (15 against 26 microseconds for a differentiable op).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from cuda_ops.runtime import cpu_library

LIBRARY = torch.library.Library("pc3d", "DEF")
AUTOCAST_DEVICES = ("cpu", "cuda")
OPS: dict[str, str] = {}
"""Schema of every op by name, in the order of definition."""
CPU_KERNELS: set[str] = set()
"""Names of the ops that have a C++ kernel."""


def define(
    schema: str,
    reference: Callable[..., Any],
    fake: Callable[..., Any],
    cpu: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Register an op with its reference, which serves wherever no kernel does.

    Args:
        schema: `name(Tensor a, ...) -> Tensor` in torch's schema language.
        reference: the specification, in plain PyTorch.
        fake: returns empty tensors of the shape, dtype and device of every output.
        cpu: the C++ kernel: called with the library and the arguments, floating-point tensors of
            which are float32; returns None for arguments that it does not serve.

    Returns:
        The callable `torch.ops.pc3d.<name>`.
    """
    LIBRARY.define(schema)
    name = schema.split("(", 1)[0]
    OPS[name] = schema
    LIBRARY.impl(name, reference, "CompositeExplicitAutograd")
    if cpu is not None:
        LIBRARY.impl(name, _served_by_cpu(cpu, reference), "CPU")
        CPU_KERNELS.add(name)
    torch.library.register_fake(f"pc3d::{name}", fake, lib=LIBRARY)
    op: Callable[..., Any] = getattr(torch.ops.pc3d, name).default
    return op


def _served_by_cpu(cpu: Callable[..., Any], reference: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        library = cpu_library()
        if library is not None and all(map(_is_served, args)):
            result = cpu(library, *args)
            if result is not None:
                return result
        return reference(*args)

    return run


def _is_served(arg: Any) -> bool:
    # float64 is for checking: there the reference is what one wants to see.
    if not isinstance(arg, torch.Tensor) or arg.dtype == torch.float32:
        return True
    return not arg.is_floating_point()


def once_differentiable(name: str) -> None:
    """Refuse second derivatives through the op `name`, which is itself part of a gradient."""

    def refuse(ctx: Any, *grads: Any) -> None:
        raise RuntimeError(f"pc3d::{name} is a gradient; second derivatives are not supported")

    torch.library.register_autograd(f"pc3d::{name}", refuse, lib=LIBRARY)


def differentiable(
    name: str, backward: Callable[..., Any], setup_context: Callable[..., None]
) -> None:
    """Give the op `name` a gradient, and run it in float32 under autocast.

    No kernel takes half precision yet, and a reference that accumulates in bfloat16 would be wrong.
    """
    torch.library.register_autograd(
        f"pc3d::{name}", backward, setup_context=setup_context, lib=LIBRARY
    )
    for device in AUTOCAST_DEVICES:
        torch.library.register_autocast(f"pc3d::{name}", device, torch.float32, lib=LIBRARY)
