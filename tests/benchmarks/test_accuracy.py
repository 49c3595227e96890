"""The comparison of networks: its statistics, its plan, and that it goes on where it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hydra.utils import instantiate
from rich.console import Console
from scipy import stats

from benchmarks import accuracy
from benchmarks.accuracy import (
    ABLATIONS,
    EVERY,
    NETWORKS,
    SUBJECT,
    Training,
    plan,
    read_results,
    read_scores,
    run,
)
from benchmarks.paired import difference, interval, seeds_needed
from benchmarks.step_times import step_times
from pc3d.cli.config import compose_config, resolved
from tests.conftest import TINY


def test_the_interval_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0.7, 0.01, 9), rng.normal(0.68, 0.01, 9)
    found = difference(dict(enumerate(ours)), dict(enumerate(theirs)))
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx((ours - theirs).mean())
    assert found.num_seeds == 9


def test_only_seeds_that_both_have_are_paired():
    found = difference({0: 1.0, 1: 2.0, 2: 9.0}, {1: 1.5, 0: 0.6, 5: 0.0})
    assert found == interval([0.4, 0.5])
    assert difference({0: 1.0, 1: 2.0}, {1: 1.0}) is None


def test_seeds_needed_have_the_power():
    """By simulation: the share of repetitions whose interval excludes 0, at a true difference."""
    deviation, effect = 0.013, 0.01
    rng = np.random.default_rng(1)

    def power(count: int) -> float:
        drawn = rng.normal(effect, deviation, (20000, count))
        return float((stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean())

    count = seeds_needed(deviation, effect)
    assert power(count) > 0.78 > power(count - 2)
    assert seeds_needed(1e-5, effect) == 2


def test_wherever_the_plan_is_cut_off_the_pairs_are_complete():
    trainings = plan(["a", "b"], [48, 12], 3)
    assert len(set(trainings)) == 12
    assert [t.seed for t in trainings] == [0] * 4 + [1] * 4 + [2] * 4
    assert trainings[:2] == [("a", 48, 0), ("b", 48, 0)]


@pytest.fixture
def fake(monkeypatch):
    """Trainings that take no time; the list holds those that were run."""
    seen = []

    def train(training: Training) -> dict:
        seen.append(training)
        if training.seed == 3:
            raise RuntimeError("no room on the disk")
        better = 0.02 * (training.network == "voxel_tr") * (training.num_rooms == 12)
        miou = 0.5 + better + 0.01 * training.seed + 0.003 * (training.network < "n")
        machine = {"commit": f"abc{training.seed}", "processor": "one"}
        return {**training._asdict(), **machine, "miou": miou, "steps": 7, "seconds": 1.5}

    class Data:
        def prepare_data(self) -> None: ...

    monkeypatch.setattr(accuracy, "train", train)
    monkeypatch.setattr(accuracy, "build_data", lambda config: Data())
    return seen


def test_a_run_goes_on_where_it_was(fake, tmp_path):
    path, quiet = tmp_path / "a.jsonl", Console(quiet=True)
    first, all_of_it = plan(["voxel_tr"], [48, 12], 2), plan(["voxel_tr", "votr_m"], [48, 12], 2)
    run(first, path, 2, quiet)
    assert sorted(fake) == sorted(first)
    before = path.read_text()
    run(all_of_it, path, 2, quiet)
    assert len(fake) == 8 and set(fake) == set(all_of_it)
    assert path.read_text().startswith(before)
    assert read_results(path).keys() == set(all_of_it)


def test_what_was_trained_before_one_failed_is_kept(fake, tmp_path):
    path = tmp_path / "a.jsonl"
    with pytest.raises(RuntimeError, match="no room on the disk"):
        run(plan(["voxel_tr"], [48], 5), path, 1, Console(quiet=True))
    assert {t.seed for t in read_results(path)} == {0, 1, 2}


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"network": "votr_m", "num_rooms": 48, "seed": 0, "miou": 0.5}\n{"networ')
    with pytest.raises(ValueError, match=r"a\.jsonl:2: not a result"):
        read_results(path)


def test_the_report_shows_paired_differences(fake, tmp_path, capsys):
    arguments = ["networks=voxel_tr,minkunet_m", "seeds=3", f"out={tmp_path / 'new' / 'a.jsonl'}"]
    assert accuracy.main(["run", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    (all_rooms,) = (line for line in lines if "voxel_tr - minkunet_m" in line and " 48 " in line)
    (few,) = (line for line in lines if "voxel_tr - minkunet_m" in line and " 12 " in line)
    (growth,) = (line for line in lines if "12 minus 48 rooms" in line)
    assert "commit: abc0, abc1, abc2" in lines and "processor: one" in lines
    assert "-0.0030" in all_rooms and "+0.0170" in few and "+0.0200" in growth
    assert accuracy.main(["report", f"out={tmp_path / 'new' / 'a.jsonl'}"]) == 0
    assert capsys.readouterr().out.splitlines()[-len(lines) + 20 :] == lines[20:]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "expected time, run or report"),
        (["train"], "expected time, run or report"),
        (["run"], "expected out=FILE"),
        (["run", "out=a", "seeds=none"], "seeds must be"),
        (["run", "out=a", "networks=resnet"], "networks must be of"),
        (["report", "seed=1", "out=a"], "got 'seed=1'"),
    ],
)
def test_wrong_arguments_are_named(arguments, expected, capsys):
    assert accuracy.main(arguments) == 2
    assert expected in capsys.readouterr().out


def test_the_networks_have_equal_size_and_the_experiments_are_complete():
    sizes, recipes = {}, set()
    for name in EVERY:
        config = compose_config("config", Training(name, 12, 5).overrides)
        net = instantiate(config.model, in_channels=4, num_classes=20, _convert_="all")
        sizes[name] = sum(p.numel() for p in net.parameters())
        assert config.trainer.val_check_interval == config.trainer.max_steps > 100
        assert config.seed == 5 and config.dataset.reader.root.endswith("accuracy_12")
        thrice = 3 if name.startswith("ptv1") else 1  # conf/recipe/synthetic_ptv1.yaml
        assert config.optimizer.lr == thrice * 0.002
        config.optimizer.lr = 0.0
        parts = config.optimizer, config.scheduler, config.loss, config.augment, config.num_workers
        recipes.add(str(parts))
    assert max(sizes.values()) < 1.03 * min(sizes.values()), sizes
    assert len(recipes) == 1, "one recipe for all"


def test_ablations_differ_from_the_subject_in_one_option():
    subject, *others = (
        resolved(compose_config("config", [*Training(name, 48, 0).overrides, "paths.run_dir=run"]))
        for name in (SUBJECT, *ABLATIONS)
    )
    changed = {"voxel_tr_fusion": ("model", "block"), "voxel_tr_aux": ("task", "aux_weight")}
    for name, other in zip(ABLATIONS, others, strict=True):
        group, key = changed[name]
        assert other[group].pop(key) != subject[group][key]
        other[group][key] = subject[group][key]
        assert other == subject, "as many steps, too"


def test_only_named_ablations_are_trained(fake, tmp_path, capsys):
    out = f"out={tmp_path / 'a.jsonl'}"
    assert accuracy.main(["run", out, "seeds=2", "rooms=12", "networks=voxel_tr,voxel_tr_aux"]) == 0
    assert {t.network for t in fake} == {"voxel_tr", "voxel_tr_aux"} and len(fake) == 4
    (line,) = (x for x in capsys.readouterr().out.splitlines() if "voxel_tr - voxel_tr_aux" in x)
    assert "+0.0200" in line
    assert accuracy.parse(["run", "out=a"])[1]["networks"] == ",".join(NETWORKS)


def test_scores_are_those_of_the_last_validation(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss,val/miou_point,val/iou/wall\n3,,0.1,0.2\n7,,0.3,\n8,1.5,,\n")
    assert read_scores(path) == {"step": 7, "val/miou_point": 0.3}


def test_steps_are_timed(data_dir, monkeypatch):
    monkeypatch.setenv("PC3D_DATA", str(data_dir))
    found = step_times({"a": [*TINY, "model=voxel_tr_s"], "b": [*TINY, "model=dwconv_a"]}, 1)
    assert found.keys() == {"a", "b"} and all(0 < seconds < 60 for seconds in found.values())


def test_a_training_that_fails_says_why(data_dir, monkeypatch):
    monkeypatch.setenv("PC3D_DATA", str(data_dir))
    with pytest.raises(RuntimeError, match=r"train\.py .* failed:[\s\S]*accuracy/nothing"):
        accuracy.train(Training("nothing", 3, 0))


def test_results_are_plain_json(tmp_path, fake):
    run(plan(["voxel_tr"], [12], 1), tmp_path / "a.jsonl", 1, Console(quiet=True))
    (line,) = (tmp_path / "a.jsonl").read_text().splitlines()
    assert json.loads(line)["network"] == "voxel_tr"
