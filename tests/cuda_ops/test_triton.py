"""The Triton kernels where there is no GPU: interpreted, and compiled ahead of time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cuda_ops.sparse_conv import config

triton = pytest.importorskip("triton")
HERE = Path(__file__).parent
SPECIAL = ("c_in", "c_out", "stride_tap", "stride_in", "stride_out")
MULTIPLES = {"IN": 16, "OUT": 16}
STEPS = {"STEP_IN": 16, "STEP_OUT": 1}


def interpret(cases: str, *options: str) -> None:
    """Run a file of tests/cuda_ops/interpreted in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    command.append(str(HERE / "interpreted" / cases))
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    root = HERE.parents[1]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]


def test_kernels_interpreted():
    interpret("triton_cases.py")


def test_a_network_interpreted():
    interpret("network_cases.py", "-k", "minkunet")


@pytest.mark.slow
def test_all_networks_interpreted():
    interpret("network_cases.py")


def code(
    kernel: str,
    scalar: str,
    architecture: int,
    constants: dict,
    warps: int,
    stages: int = 4,
    divisible: tuple[str, ...] = SPECIAL,
) -> str:
    """Machine code and resources of a kernel, for an architecture that is not here."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from cuda_ops.sparse_conv import kernel_triton

    function = getattr(kernel_triton, kernel)
    types = {"table": "*i32", "taps": "*i32", "num_taps": "*i32", "tiles": "*i32"}
    types |= {"num_tiles": "*i32", "order": "*i64", "sums": "*fp32"}
    types |= dict.fromkeys(("x", "y", "weight", "grad"), f"*{scalar}")
    types |= {"keys": "*i64", "beyond": "*u8", "present": "*i8", "counts": "*i32"}
    if kernel in ("tile_taps_kernel", "sort_keys_kernel", "tap_tiles_kernel"):
        types["num_taps"] = "i32"
    names = function.arg_names
    signature = {n: "constexpr" if n in constants else types.get(n, "i32") for n in names}
    attributes = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(names)
        if signature[name].startswith("*") or (name in divisible and name not in constants)
    }
    source = ASTSource(function, signature, constants, attributes)
    options = {"num_warps": warps, "num_stages": stages}
    made = triton.compile(source, GPUTarget("cuda", architecture, 32), options)
    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not program.exists():
        pytest.skip("this Triton brings no cuobjdump")
    assert made.metadata.shared <= config.shared_bytes(divmod(architecture, 10))
    return _dump(program, made.asm["cubin"])


def _dump(program: Path, cubin: bytes) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        told = [
            subprocess.run([program, option, file.name], capture_output=True, text=True, check=True)
            for option in ("-sass", "-res-usage")
        ]
    return told[0].stdout + told[1].stdout


def count(sass: str, instruction: str) -> int:
    return len(re.findall(rf"\b{instruction}\b", sass))


def assert_no_spills(sass: str) -> None:
    assert count(sass, "LDL") == count(sass, "STL") == 0
    assert re.findall(r"STACK:(\d+)", sass) == ["0"]


@pytest.mark.parametrize("scalar", ["bf16", "fp32"])
@pytest.mark.parametrize("architecture, channels", [(80, 128), (90, 32), (90, 128), (120, 128)])
def test_convolution_keeps_its_sums_in_registers(channels, architecture, scalar):
    """Tensor cores, copies that wait for nobody, and nothing in local memory."""
    itemsize = 2 if scalar == "bf16" else 4
    capability = divmod(architecture, 10)
    for one in config.candidates(capability, itemsize, channels, channels):
        if one.stages != config.STAGES[0]:
            continue  # more buffers take shared memory, not registers
        tiles = {"TILE": one.tile, "COLUMNS": one.columns, "DEPTH": one.depth}
        constants = tiles | MULTIPLES | {"PRECISION": "tf32", "UPCAST": False}
        for strides in (
            {"stride_out": 1, "STEP_IN": 16, "STEP_OUT": 1},
            {"stride_in": 1, "STEP_IN": 1, "STEP_OUT": 16},  # of the input's gradient
        ):
            arguments = (architecture, constants | strides, one.warps, one.stages)
            sass = code("conv_kernel", scalar, *arguments)
            assert_no_spills(sass)
            assert count(sass, "LDGSTS") > 0
            assert count(sass, "HGMMA" if architecture == 90 else "HMMA") > 0
            assert count(sass, "FFMA") == 0


@pytest.mark.parametrize("scalar", ["bf16", "fp32"])
@pytest.mark.parametrize("architecture", [80, 90])
def test_weight_gradient_keeps_its_sums_in_registers(architecture, scalar):
    itemsize = 2 if scalar == "bf16" else 4
    sizes = (100_000, 27, 128, 128)
    one = config.grad_config_for(divmod(architecture, 10), itemsize, *sizes)
    blocks = {"COLUMNS_IN": one.columns_in, "COLUMNS_OUT": one.columns_out, "ROWS": one.rows}
    constants = {"TILE": 128, "PRECISION": "tf32", "UPCAST": False, **blocks, **MULTIPLES}
    sass = code("weight_grad_kernel", scalar, architecture, constants, one.warps)
    assert_no_spills(sass)
    assert count(sass, "HGMMA") + count(sass, "HMMA") > 0


def test_exact_float32_multiplies_without_tensor_cores():
    one = config.candidates((9, 0), 4, 64, 64)[0]
    tiles = {"TILE": one.tile, "COLUMNS": one.columns, "DEPTH": one.depth}
    constants = tiles | {"stride_out": 1, "PRECISION": "ieee", "UPCAST": False}
    sass = code("conv_kernel", "fp32", 90, constants | MULTIPLES | STEPS, one.warps)
    assert_no_spills(sass)
    assert count(sass, "HGMMA") == count(sass, "HMMA") == 0 < count(sass, "FFMA")


def test_sizes_of_one_compile():
    """Triton makes constants of integers that are 1."""
    ones = {"c_in": 1, "c_out": 1, "stride_tap": 1, "stride_in": 1, "stride_out": 1}
    constants = {"TILE": 64, "COLUMNS": 16, "DEPTH": 16, "PRECISION": "ieee", "UPCAST": False}
    constants |= {"IN": 1, "OUT": 1, "STEP_IN": 1, "STEP_OUT": 1}
    code("conv_kernel", "fp32", 90, {**ones, "all_taps": 1, **constants}, 4)
    for kernel, constants in (
        ("sort_keys_kernel", {"BLOCK": 16384, "BITS": 27, "ROWS": 256}),
        ("tile_taps_kernel", {"TILE": 64}),
        ("tap_tiles_kernel", {"BLOCK": 1024}),
    ):
        code(kernel, "fp32", 90, constants, 4)
        code(kernel, "fp32", 90, {"num_taps": 1, **constants}, 4)


@pytest.mark.parametrize("channels", [4, 8])
def test_few_channels_are_read_together(channels):
    """The first layer has 4 channels and a query 8: not one by one, and without waiting."""
    tiles = {"TILE": 64, "COLUMNS": 32, "DEPTH": 16, "PRECISION": "tf32", "UPCAST": False}
    few = {"IN": channels, "OUT": 16, "STEP_IN": 16, "STEP_OUT": 1, "stride_out": 1}
    divisible = ("c_out", "stride_tap", "stride_in")
    sass = code("conv_kernel", "bf16", 90, tiles | few, 4, divisible=divisible)
    assert_no_spills(sass)
    assert count(sass, "LDGSTS") > 0
    assert not re.search(r"LDG\.E\.U16", sass)
