"""`pc3d <verb> key=value ...`."""

from __future__ import annotations

import runpy
import sys

VERBS = {
    "demo": ("pc3d.cli.demo", "the first minute: label a generated room, look at it"),
    "train": ("pc3d.cli.train", "train a network: dataset=... model=..."),
    "search": ("pc3d.cli.search", "the best network for this device: run=... target.latency=20ms"),
    "stitch": ("pc3d.cli.stitch", "join trained networks, for a search: run=A run=B out=..."),
    "test": ("pc3d.cli.test", "score a run on whole scenes: run=<run folder>"),
    "runs": ("pc3d.cli.runs", "all runs side by side; compare two: runs compare A B"),
    "pool": ("pc3d.cli.pool", "pool the test results of several folds: run=... run=..."),
    "predict": ("pc3d.cli.predict", "label files of points: ckpt=... input=..."),
    "eval": ("pc3d.cli.evaluate", "compare labelled files: pred=... truth=..."),
    "export": ("pc3d.cli.export", "the network of a run as one file: run=... out=..."),
    "view": ("visualize.__main__", "write a page that shows a scene: run=... scene=..."),
    "gallery": ("pc3d.cli.gallery", "a page of a tested split, worst scenes first: run=..."),
    "augmentations": ("pc3d.cli.augmentations", "what augmentation does: dataset=... scene=..."),
    "profile": ("pc3d.cli.profile", "what a network costs, module by module: model=..."),
    "doctor": ("pc3d.cli.doctor", "what is installed and which kernel serves each op"),
}


def main() -> None:
    """Run a verb as if its module had been started with `python -m`."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb not in VERBS:
        lines = [f"  pc3d {name:13} {text}" for name, (_, text) in VERBS.items()]
        sys.stderr.write("usage:\n" + "\n".join(lines) + "\n")
        raise SystemExit(0 if verb in ("-h", "--help") else 2)
    del sys.argv[1]
    # As __main__, so that Lightning can start further processes of the same program.
    runpy.run_module(VERBS[verb][0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
