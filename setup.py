"""Packages of the wheel, and the C++ kernels in it; everything else stands in pyproject.toml.

`conf/` is a folder at the top level for those who work in the repository, and `pc3d.conf` for those
who installed the wheel; only this file can say so.

A wheel carries the kernels compiled for every instruction set if there is a compiler where it is
built. Without one the wheel is as good, and the kernels are compiled at the first use.
"""

import importlib.util
import sys
from pathlib import Path

from setuptools import Distribution, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py


def _kernel_compiler():
    """`cuda_ops/runtime/compiler.py`, without importing the package: that would need torch."""
    path = Path(__file__).parent / "cuda_ops" / "runtime" / "compiler.py"
    spec = importlib.util.spec_from_file_location("kernel_compiler", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


KERNELS = _kernel_compiler()


class BuildWithKernels(build_py):
    """Python files, and beside them the compiled kernels."""

    def run(self):
        super().run()
        compiler = KERNELS.find_compiler()
        if self.editable_mode or compiler is None:
            return
        folder = Path(self.build_lib) / "cuda_ops" / "prebuilt"
        folder.mkdir(parents=True, exist_ok=True)
        for isa in KERNELS.instruction_sets():
            name = KERNELS.library_name(isa, KERNELS.source_hash())
            try:
                KERNELS.compile_library(compiler, isa, folder / name)
            except KERNELS.CompileError as error:
                self.warn(f"no prebuilt kernels for {isa}: {error}")


class KernelDistribution(Distribution):
    """Belongs to a platform where kernels are compiled into it."""

    def has_ext_modules(self):
        return KERNELS.find_compiler() is not None


class PlatformWheel(bdist_wheel):
    """The kernels do not depend on the version of Python, nor on torch's."""

    def get_tag(self):
        python, abi, platform = super().get_tag()
        return (
            ("py3", "none", platform)
            if self.distribution.has_ext_modules()
            else (python, abi, platform)
        )


setup(
    packages=[
        *find_packages(include=["pc3d*", "cuda_ops*", "data_prep*", "visualize*"]),
        "pc3d.conf",
    ],
    package_dir={"pc3d.conf": "conf"},
    cmdclass={"build_py": BuildWithKernels, "bdist_wheel": PlatformWheel},
    distclass=KernelDistribution,
)
