"""Rows as tables on the console, in markdown, and as JSON with the facts of the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.clouds import Workload
from benchmarks.measure import Case, Ceiling, Row
from benchmarks.options import Options
from cuda_ops.check.facts import gpu
from cuda_ops.runtime import served, supported_isas
from pc3d.utils.environment import environment, git_state, package_version
from pc3d.utils.files import write_json, write_text

REPOSITORY = Path(__file__).resolve().parents[1]
LEAD = "kernels"
WIDTH = 140  # columns where the console is a file
CORES_SLACK = 0.15  # of a core, for what the system does on the process's account
CLOCK_STEP = 20.0  # milliseconds; CPU time of shorter runs is too coarse to judge


class Cells(NamedTuple):
    """A table of text: its title, the header, and the rows."""

    title: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Memory:
    """Peak memory of a process of its own, in MiB of resident set.

    Attributes:
        workload: what it trained on.
        contestant: what served it.
        before: peak before the first step: imports, weights, input.
        peak: peak of all steps.
    """

    workload: str
    contestant: str
    before: float
    peak: float


@dataclass(frozen=True)
class Report:
    """All that a program found.

    Attributes:
        facts: machine, versions, date, commit, options, workloads.
        ceilings: what the processor reached.
        rows: what the contestants took.
        memory: peak memory of contestants.
        notes: contestants and inputs that were left out, and why.
    """

    facts: Mapping[str, Any]
    ceilings: Sequence[Ceiling]
    rows: Sequence[Row]
    memory: Sequence[Memory] = ()
    notes: Sequence[str] = ()

    def tables(self) -> list[Cells]:
        """Everything as text, in the order in which it was measured."""
        peaks = {c.threads: c.fma for c in self.ceilings}
        titles = dict.fromkeys(row.case.table for row in self.rows)
        found = [facts_table(self.facts), workload_table(self.facts["workloads"])]
        found.append(ceiling_table(self.ceilings))
        found += [pivot(t, [r for r in self.rows if r.case.table == t], peaks) for t in titles]
        return [*found, memory_table(self.memory)] if self.memory else found

    def overrun(self) -> list[str]:
        """A line for every time that a contestant took more cores than it was allowed."""
        return [
            f"{row.contestant} took {row.cores:.1f} cores in {row.case.table}, "
            f"{row.case.workload}, {row.case.name}, threads {row.case.threads}"
            for row in self.rows
            if row.cores > row.case.threads + CORES_SLACK and row.fastest > CLOCK_STEP
        ]

    def show(self, console: Console) -> None:
        """Print the tables."""
        show(console, self.tables(), [*self.notes, *self.overrun()])

    def markdown(self) -> str:
        """The tables for a page of the documentation."""
        return markdown(self.tables(), [*self.notes, *self.overrun()])

    def write(self, paths: Sequence[Path]) -> None:
        """Write `.json` and `.md` files."""
        write(paths, self.as_json(), self.markdown())

    def as_json(self) -> dict[str, Any]:
        """Plain values: the case of every row is laid flat."""
        rows = [asdict(row) for row in self.rows]
        return {
            "facts": dict(self.facts),
            "ceilings": [asdict(ceiling) for ceiling in self.ceilings],
            "rows": [{**row.pop("case"), **row} for row in rows],
            "memory": [asdict(memory) for memory in self.memory],
            "notes": [*self.notes, *self.overrun()],
        }


def show(console: Console, tables: Sequence[Cells], notes: Sequence[str]) -> None:
    """Print tables and what is to be said about them."""
    for cells in tables:
        table = Table(*cells.header, title=cells.title)
        for row in cells.rows:
            table.add_row(*row)
        console.print(table)
    for note in notes:
        console.print(note)


def markdown(tables: Sequence[Cells], notes: Sequence[str]) -> str:
    """The same for a page of the documentation."""
    lines = []
    for cells in tables:
        lines += [f"### {cells.title}", "", _line(cells.header)]
        lines += [_line(["---"] * len(cells.header)), *map(_line, cells.rows), ""]
    lines += [f"* {note}" for note in notes]
    return "\n".join(lines).rstrip() + "\n"


def write(paths: Sequence[Path], values: Mapping[str, Any], text: str) -> None:
    """Write the text to `.md` files and the values to all others, as JSON."""
    for path in paths:
        if path.suffix == ".md":
            write_text(path, text)
        else:
            write_json(path, values)


def wide_console() -> Console:
    """The console, wide enough for the tables if it is no terminal."""
    width = None if Console().is_terminal else WIDTH
    return Console(width=width, markup=False, highlight=False)  # text may hold [brackets]


def facts(options: Options, workloads: Sequence[Workload]) -> dict[str, Any]:
    """What the numbers were measured on, with, and when."""
    found = machine_facts(f"median of {options.runs} after {options.warmup}, interleaved")
    names = ("spconv", "spconv-triton", "triton", "numba")
    found["packages"] |= {name: package_version(name) for name in names}
    if options.device.type == "cuda":
        found |= {"gpu": gpu(options.device)}
    return {
        **found,
        "warmup": options.warmup,
        "runs": options.runs,
        "workloads": [
            {
                "name": workload.name,
                "voxel_size": workload.voxel_size,
                "num_points": len(workload.points),
                "num_voxels": len(workload.coords),
                "mean_neighbors": workload.mean_neighbors(),
            }
            for workload in workloads
        ],
    }


def machine_facts(protocol: str) -> dict[str, Any]:
    """Machine, versions, date, commit, and how it was measured."""
    found = environment()
    del found["num_threads"]  # varies within the run
    state = git_state(REPOSITORY)
    return {
        **found,
        "cores": os.cpu_count(),
        "kernels": served().isa,
        "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "commit": None if state is None else state["commit"],
        "uncommitted_changes": state is not None and bool(state["diff"]),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "protocol": protocol,
    }


def facts_table(facts: Mapping[str, Any]) -> Cells:
    """Machine, versions, date."""
    versions = {k: v for k, v in facts["packages"].items() if v is not None}
    commit = str(facts["commit"])[:12] + (" + changes" if facts["uncommitted_changes"] else "")
    rows = [
        ["date", facts["date"]],
        ["commit", commit],
        ["processor", f"{facts['processor']}, {facts['cores']} cores"],
        ["system", f"{facts['platform']}, Python {facts['python']}"],
        ["versions", ", ".join(f"{k} {v}" for k, v in versions.items())],
        ["kernels", facts["kernels"]],
        *([name, str(value)] for name, value in facts.get("gpu", {}).items()),
        ["protocol", facts["protocol"]],
        ["load average", ", ".join(f"{load:.1f}" for load in facts["load_average"] or ())],
    ]
    return Cells("Machine", ["what", "value"], rows)


def workload_table(workloads: Sequence[Mapping[str, Any]]) -> Cells:
    """Sizes of the workloads."""
    rows = [
        [
            w["name"],
            f"{100 * w['voxel_size']:.2f}",
            f"{w['num_points']:,}",
            f"{w['num_voxels']:,}",
            f"{w['mean_neighbors']:.2f}",
        ]
        for w in workloads
    ]
    return Cells("Workloads", ["cloud", "voxel cm", "points", "voxels", "neighbours in 3^3"], rows)


def ceiling_table(ceilings: Sequence[Ceiling]) -> Cells:
    """Ceilings of the run."""
    rows = [
        [str(c.threads), "-" if c.fma is None else f"{c.fma:.0f}", f"{c.copy:.1f}"]
        for c in ceilings
    ]
    return Cells("Ceilings", ["threads", "multiply-add GFLOP/s", "copy GB/s"], rows)


def memory_table(memory: Sequence[Memory]) -> Cells:
    """Peak memory."""
    rows = [
        [m.workload, m.contestant, f"{m.before:.0f}", f"{m.peak:.0f}", f"{m.peak - m.before:.0f}"]
        for m in memory
    ]
    header = ["cloud", "contestant", "before MiB", "peak MiB", "of the steps MiB"]
    return Cells("Peak memory of training", header, rows)


def pivot(title: str, rows: Sequence[Row], peaks: Mapping[int, float | None]) -> Cells:
    """One line per case, one column per contestant, and what follows for the kernels.

    Args:
        title: of the table.
        rows: of one table.
        peaks: GFLOP/s of multiply-adds at each number of threads.
    """
    by_case: dict[Case, dict[str, Row]] = {}
    for row in rows:
        by_case.setdefault(row.case, {})[row.contestant] = row
    contestants = list(dict.fromkeys(row.contestant for row in rows))
    has_work = any(row.case.gflop is not None for row in rows)
    has_items = any(row.case.items is not None for row in rows)
    led = LEAD in contestants
    header = ["cloud", "what", "threads", *(f"{name} ms" for name in contestants)]
    if has_work:
        header += ["GFLOP", *(["GFLOP/s", "of peak"] if led else [])]
    if has_items and led:
        header.append("ms per 100k")
    if led and len(contestants) > 1:
        header.append("best other / kernels")
    lines = []
    for case, found in by_case.items():
        line = [case.workload, case.name, str(case.threads)]
        line += [_milliseconds(found.get(name)) for name in contestants]
        lead = found.get(LEAD)
        if has_work:
            line += _work(case, lead, peaks) if led else _work(case, lead, peaks)[:1]
        if has_items and led:
            line.append(_per_100k(case, lead))
        if led and len(contestants) > 1:
            line.append(_ratio(found))
        lines.append(line)
    return Cells(title, header, lines)


def _milliseconds(row: Row | None) -> str:
    if row is None:
        return "-"
    value = row.milliseconds
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _work(case: Case, lead: Row | None, peaks: Mapping[int, float | None]) -> list[str]:
    if case.gflop is None:
        return ["-"] * 3
    if lead is None:
        return [f"{case.gflop:.2f}", "-", "-"]
    rate, peak = case.gflop / (1e-3 * lead.milliseconds), peaks.get(case.threads)
    fraction = "-" if peak is None else f"{100 * rate / peak:.0f} %"
    return [f"{case.gflop:.2f}", f"{rate:.0f}", fraction]


def _per_100k(case: Case, lead: Row | None) -> str:
    if case.items is None or lead is None:
        return "-"
    return f"{lead.milliseconds * 1e5 / case.items:.2f}"


def _ratio(found: Mapping[str, Row]) -> str:
    # Another instruction set is no rival.
    rivals = [r.milliseconds for n, r in found.items() if n not in (LEAD, *supported_isas())]
    if LEAD not in found or not rivals:
        return "-"
    return f"{min(rivals) / found[LEAD].milliseconds:.2f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
