"""The rules of the house: layers, sizes, imports without effects, no syncs, honest YAML keys."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("benchmarks", "cuda_ops", "data_prep", "pc3d", "visualize")
PROGRAMS = [ROOT / "test.py", ROOT / "train.py"]
SOURCES = [*PROGRAMS, *(path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py")))]
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LAYERS: dict[str, set[str]] = {
    "cuda_ops": set(),
    "pc3d.utils": set(),
    "pc3d.io": {"pc3d.utils"},
    "pc3d.sparse": {"cuda_ops", "pc3d.utils"},
    "pc3d.losses": set(),
    "pc3d.metrics": set(),
}
"""What each layer may import of this project, besides itself; the other layers follow."""
LAYERS["pc3d.nn"] = {"cuda_ops", "pc3d.sparse", "pc3d.utils"}
LAYERS["pc3d.data"] = {"cuda_ops", "pc3d.sparse", "pc3d.io", "pc3d.utils"}
LAYERS["pc3d.runs"] = {"pc3d.metrics", "pc3d.utils"}
LAYERS["pc3d.models"] = LAYERS["pc3d.nn"] | {"pc3d.nn"}
LAYERS["pc3d.tasks"] = LAYERS["pc3d.models"] | LAYERS["pc3d.data"]
LAYERS["pc3d.tasks"] |= {"pc3d.models", "pc3d.data", "pc3d.losses", "pc3d.metrics"}
LAYERS["pc3d.inference"] = LAYERS["pc3d.tasks"] | {"pc3d.tasks"}
LAYERS["pc3d.profiling"] = LAYERS["pc3d.models"] | {"pc3d.models", "pc3d.data"}
LAYERS["pc3d.search"] = LAYERS["pc3d.tasks"] | {"pc3d.tasks", "pc3d.profiling"}
EVERYTHING = {*LAYERS, "pc3d", "data_prep", "visualize"}

ENTRY_POINTS = {"pc3d.cli", "benchmarks", "data_prep", "visualize", "train", "test"}
MAY_IMPORT_ENTRY_POINTS = {
    "train": {"pc3d.cli"},
    "test": {"pc3d.cli"},
    "pc3d.cli": {"data_prep", "visualize"},
    "benchmarks": {"data_prep", "pc3d.cli", "visualize"},
    "data_prep": {"pc3d.cli"},
    "visualize": {"pc3d.cli"},
}
ENGINES = {"MinkowskiEngine", "torchsparse", "spconv", "open3d"}

TABLES_OF_FACTS = ("pc3d/data/specs/*.py", "data_prep/rooms/tables.py")
"""Files that may be long: they hold no logic."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "pc3d" else parts[0]


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            assert node.module is not None
            if node.module == "pc3d":  # `from pc3d import nn` imports a layer
                yield from (f"pc3d.{alias.name}" for alias in node.names)
            else:
                yield node.module


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def forbidden_imports(path: Path) -> set[str]:
    """Layers of this project that a file imports and must not."""
    layer = layer_of(name_of(path))
    if layer in ENTRY_POINTS:
        allowed = EVERYTHING - ENTRY_POINTS | {layer} | MAY_IMPORT_ENTRY_POINTS[layer]
    elif layer == "pc3d":  # the package itself: `pc3d.load` and its version
        allowed = EVERYTHING - ENTRY_POINTS
    else:
        allowed = LAYERS[layer] | {layer, "pc3d"}
    ours = {layer_of(m) for m in imports(path) if m.split(".")[0] in (*PACKAGES, "train", "test")}
    return ours - allowed


def imported_engines(path: Path) -> set[str]:
    if ROOT / "pc3d" / "sparse" / "backends" in path.parents:
        return set()
    found = {m.split(".")[0] for m in imports(path)} & ENGINES
    # An extra that opens a window: imported when one is asked for, and nowhere else.
    return found - ({"open3d"} if relative(path) == "visualize/window.py" else set())


def test_imports_point_down():
    found = {relative(path): forbidden_imports(path) for path in SOURCES}
    assert {path: names for path, names in found.items() if names} == {}


def test_engines_are_imported_by_backends_only():
    assert [relative(path) for path in SOURCES if imported_engines(path)] == []


@pytest.mark.parametrize(
    "file, text",
    [
        ("pc3d/sparse/a.py", "def f():\n    from pc3d.models.api import x"),
        ("pc3d/nn/b.py", "import pc3d.tasks"),
        ("pc3d/losses/c.py", "from pc3d import sparse"),
        ("pc3d/io/d.py", "from pc3d.data import sample"),
        ("pc3d/data/e.py", "import visualize.scene"),
        ("pc3d/cli/f.py", "import benchmarks"),
        ("visualize/g.py", "import data_prep.rooms"),
        ("cuda_ops/h.py", "import pc3d.sparse"),
        ("pc3d/models/i.py", "import torchsparse.nn"),
        ("visualize/j.py", "def f():\n    import open3d"),
        ("visualize/window.py", "import spconv, open3d"),
    ],
)
def test_the_rules_see_what_they_forbid(file, text, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert forbidden_imports(path) | imported_engines(path)


def test_ops_import_torch_only():
    for path in (p for p in SOURCES if layer_of(name_of(p)) == "cuda_ops"):
        outside = {m.split(".")[0] for m in imports(path)} - set(sys.stdlib_module_names)
        # filelock is a dependency of torch itself, and so is Triton, of its CUDA builds
        optional = {"triton"} if path.name in ("kernel_triton.py", "tuning.py") else set()
        assert outside <= {"torch", "cuda_ops", "filelock", *optional}, relative(path)


def test_the_oracle_shares_no_code_with_us():
    outside = {m.split(".")[0] for m in imports(ROOT / "tests" / "oracle.py")}
    assert outside - set(sys.stdlib_module_names) == {"torch"}


def test_data_knows_no_modules():
    layers = ("pc3d.data", "pc3d.io", "pc3d.utils")
    for path in (p for p in SOURCES if layer_of(name_of(p)) in layers):
        assert not any(m.startswith("torch.nn") for m in imports(path)), relative(path)
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom) and node.module == "torch":
                assert "nn" not in {alias.name for alias in node.names}, relative(path)


def too_large(path: Path) -> Iterator[str]:
    if not any(path.match(pattern) for pattern in TABLES_OF_FACTS):
        num_lines = len(path.read_text(encoding="utf-8").splitlines())
        if num_lines > 400:
            yield f"{relative(path)} has {num_lines} lines"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            num_lines = node.end_lineno - node.lineno + 1
            if num_lines > 80:
                yield f"{relative(path)}: {node.name} has {num_lines} lines"
        if isinstance(node, ast.ClassDef) and num_constructor_arguments(node) > 10:
            yield f"{relative(path)}: {node.name} takes {num_constructor_arguments(node)} arguments"


def num_constructor_arguments(node: ast.ClassDef) -> int:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            arguments = item.args
            return len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs) - 1
    decorators = {ast.unparse(d).split("(")[0].split(".")[-1] for d in node.decorator_list}
    if "dataclass" not in decorators:
        return 0
    return sum(isinstance(item, ast.AnnAssign) for item in node.body)


def test_files_functions_and_constructors_are_small():
    paths = (*SOURCES, *TESTS, *ROOT.glob("setup.py"))
    assert [problem for path in paths for problem in too_large(path)] == []


KERNELS = sorted(p for kind in ("cpp", "h") for p in (ROOT / "cuda_ops").rglob(f"*.{kind}"))


def test_kernels_are_small_and_need_no_library():
    """Without torch's headers they compile in seconds; without C++'s, by ziglang too."""
    assert KERNELS
    for path in KERNELS:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 600, relative(path)
        included = {line.split()[1] for line in lines if line.startswith("#include <")}
        assert included <= {"<stdint.h>", "<string.h>", "<immintrin.h>"}, relative(path)


def test_the_limits_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    fields = "\n".join(f"    a{i}: int" for i in range(11))
    long = "def f():\n" + "    pass\n" * 80
    for name, text in {
        "lines": "x = 1\n" * 401,
        "function": long,
        "dataclass": f"@dataclass(frozen=True)\nclass A:\n{fields}",
        "init": f"class A:\n    def __init__(self, {', '.join(f'a{i}' for i in range(11))}): ...",
    }.items():
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        assert len(list(too_large(path))) == 1, name


def hidden_state(path: Path) -> Iterator[str]:
    """`global`, edits of sys.path, mutable defaults."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Global):
            yield f"{relative(path)}:{node.lineno}: global"
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path":
            yield f"{relative(path)}:{node.lineno}: sys.path"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for default in [*node.args.defaults, *node.args.kw_defaults]:
                if isinstance(default, ast.List | ast.Dict | ast.Set):
                    yield f"{relative(path)}:{node.lineno}: mutable default"


def test_no_hidden_state():
    assert [problem for path in SOURCES for problem in hidden_state(path)] == []


SYNCS = {"item", "cpu", "tolist", "numpy"}
HOT_LAYERS = {"pc3d.nn", "pc3d.models", "pc3d.losses", "pc3d.tasks"}
HOT_FUNCTIONS = {"training_step", "forward"}


def syncs(node: ast.AST) -> list[str]:
    """Calls that make the host wait for the device."""
    found = []
    for call in (n for n in ast.walk(node) if isinstance(n, ast.Call)):
        if isinstance(call.func, ast.Attribute) and call.func.attr in SYNCS:
            found.append(f".{call.func.attr}() in line {call.lineno}")
        if isinstance(call.func, ast.Name) and call.func.id in {"float", "int", "bool"}:
            found.append(f"{call.func.id}() in line {call.lineno}")
    return found


def test_training_steps_do_not_wait_for_the_device():
    checked = 0
    for path in (p for p in SOURCES if layer_of(name_of(p)) in HOT_LAYERS):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef) and node.name in HOT_FUNCTIONS:
                assert syncs(node) == [], f"{relative(path)}: {node.name}"
                checked += 1
    assert checked >= 8
    assert len(syncs(ast.parse("float(x); x.item(); x.cpu(); int(x.sum())"))) == 4


IMPORT_EVERYTHING = """
import importlib, os, sys, threading
import torch
files, seed = set(os.listdir()), torch.initial_seed()
for name in sys.argv[1:]:
    importlib.import_module(name)
problems = []
if torch.cuda.is_initialized():
    problems.append("CUDA is initialized")
if threading.active_count() > 1:
    problems.append(f"threads run: {threading.enumerate()}")
if set(os.listdir()) != files:
    problems.append(f"files were written: {set(os.listdir()) - files}")
if torch.is_grad_enabled() is not True or torch.get_default_dtype() != torch.float32:
    problems.append("torch's defaults were changed")
if torch.initial_seed() != seed:
    problems.append("torch was seeded")
sys.exit("; ".join(problems) or 0)
"""


def test_importing_everything_prints_nothing_and_starts_nothing(tmp_path):
    modules = [name_of(path) for path in SOURCES if path.stem != "__main__"]
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING, *modules],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def yaml_files() -> list[Path]:
    return sorted((ROOT / "conf").rglob("*.yaml"))


@cache
def merged(path: Path) -> Any:
    """A YAML file over the bases that its defaults list names, of its folder or absolute ones."""
    own = OmegaConf.load(path)
    defaults = own.pop("defaults", [])
    names = [f"{name.partition('@')[0]}.yaml" for name in defaults if isinstance(name, str)]
    bases = [ROOT / "conf" / n[1:] if n.startswith("/") else path.parent / n for n in names]
    return OmegaConf.merge(*(merged(base) for base in bases if base.is_file()), own)


def targets(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping with a `_target_` within a container."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def unknown_keys(node: dict[str, Any]) -> set[str]:
    """Keys that are no parameter of the target. Only others' targets may take `**kwargs`."""
    target: Callable[..., Any] = get_object(node["_target_"])
    parameters = inspect.signature(target).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        assert layer_of(node["_target_"]) not in EVERYTHING, f"{node['_target_']} takes **kwargs"
        return set()
    hydra = {key for key in node if key.startswith("_") and key.endswith("_")}
    return set(node) - hydra - set(parameters)


def test_every_key_is_a_parameter_of_its_target():
    checked = 0
    for path in yaml_files():
        for node in targets(OmegaConf.to_container(merged(path), resolve=False)):
            assert unknown_keys(node) == set(), f"{relative(path)}: {node['_target_']}"
            checked += 1
    assert checked > 30


def test_overlays_are_merged_and_wrong_keys_are_seen():
    overlay = OmegaConf.to_container(merged(ROOT / "conf" / "model" / "minkunet34b.yaml"))
    assert overlay["_target_"] == "pc3d.models.MinkUNet"
    assert unknown_keys({**overlay, "widht": 3}) == {"widht"}


def test_hydras_run_time_is_named_in_paths_and_hydra_only():
    naming = {p.parent.name for p in yaml_files() if "${hydra:" in p.read_text(encoding="utf-8")}
    assert naming <= {"paths", "hydra"}
