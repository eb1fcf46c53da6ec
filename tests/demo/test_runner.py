"""Stages: made once, made again when something they depend on changed, continued when they were stopped."""

import json
import resource
import sys
from dataclasses import replace

import pytest

from nemo_desta.demo import runner as runner_module
from nemo_desta.demo.config import load_demo
from nemo_desta.demo.run import build_stages
from nemo_desta.demo.runner import Runner, Stage, run_in_process
from nemo_desta.errors import ConfigError, DeSTAError


class Recorder:
    """Stands for running a stage: notes its name and what it found in its folder, and leaves a file."""

    def __init__(self, fail: str | None = None) -> None:
        self.ran: list[str] = []
        self.found: dict[str, list[str]] = {}
        self.fail = fail

    def __call__(self, name, config, output_dir, log):
        self.ran.append(name)
        folder = output_dir / name
        folder.mkdir(exist_ok=True)
        self.found[name] = sorted(p.name for p in folder.iterdir())
        (folder / "made").write_text(json.dumps(dict(config)))
        if name == self.fail:
            raise DeSTAError("power cut")
        return {"files": {"made": f"{name}/made"}, "n": len(self.ran)}, 5_000_000


@pytest.fixture
def stages(tmp_path):
    read = tmp_path / "conf.yaml"
    read.write_text("x: 1")
    return [
        Stage("one", "First", {"a": 1}),
        Stage("two", "Second", {"b": 1}, ("one",), (read,)),
        Stage("three", "Third", {}, ("two",)),
        Stage("aside", "Aside", {}, ("one",)),
    ]


def _run(folder, stages, fail=None):
    recorder = Recorder(fail)
    lines: list[str] = []
    finished = Runner(folder / "out", recorder, lines.append).run(stages)
    return recorder.ran, finished, lines


def test_second_run_reuses_all(tmp_path, stages):
    first, _, lines = _run(tmp_path, stages)
    assert first == ["one", "two", "three", "aside"]
    assert f"      made: {tmp_path / 'out' / 'one' / 'made'}" in lines
    second, finished, _ = _run(tmp_path, stages)
    assert second == [] and all(f.reused for f in finished.values())
    assert finished["two"].result["n"] == 2


def test_a_change_reruns_its_stage_and_those_after_it(tmp_path, stages):
    _run(tmp_path, stages)
    stages[1] = replace(stages[1], config={"b": 2})
    assert _run(tmp_path, stages)[0] == ["two", "three"]


def test_a_changed_file_counts_as_a_change(tmp_path, stages):
    _run(tmp_path, stages)
    stages[1].reads[0].write_text("x: 2")
    assert _run(tmp_path, stages)[0] == ["two", "three"]


def test_a_lost_file_is_made_again(tmp_path, stages):
    _run(tmp_path, stages)
    (tmp_path / "out" / "three" / "made").unlink()
    assert _run(tmp_path, stages)[0] == ["three"]


def test_a_changed_stage_starts_from_an_empty_folder_and_a_stopped_one_goes_on(tmp_path, stages):
    with pytest.raises(DeSTAError, match="power cut"):
        _run(tmp_path, stages, fail="two")
    recorder = Recorder()
    Runner(tmp_path / "out", recorder, lambda _: None).run(stages)
    assert recorder.ran == ["two", "three", "aside"] and recorder.found["two"] == ["made"]
    stages[1] = replace(stages[1], config={"b": 2})
    recorder = Recorder()
    Runner(tmp_path / "out", recorder, lambda _: None).run(stages)
    assert recorder.found["two"] == []


def test_a_stage_that_failed_has_no_stamp_even_if_it_had_one(tmp_path, stages):
    _run(tmp_path, stages)
    stages[1] = replace(stages[1], config={"b": 2})
    with pytest.raises(DeSTAError):
        _run(tmp_path, stages, fail="two")
    stages[1] = replace(stages[1], config={"b": 1})
    assert _run(tmp_path, stages)[0] == ["two"]  # those after it were made from the same inputs


def test_a_folder_that_is_not_ours_is_not_touched(tmp_path, stages):
    (tmp_path / "out" / "two").mkdir(parents=True)
    (tmp_path / "out" / "two" / "thesis.tex").write_text("x")
    with pytest.raises(DeSTAError, match="not the demo's"):
        _run(tmp_path, stages)
    assert (tmp_path / "out" / "two" / "thesis.tex").exists()


def test_a_failing_process_names_cause_and_log(tmp_path, monkeypatch):
    with pytest.raises(DeSTAError, match=r"(?s)'models' failed: .*unknown model 'pypi:nothing'.*models\.log"):
        run_in_process("models", {"llm": "pypi:nothing", "encoder": "x"}, tmp_path, _log(tmp_path))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DeSTAError, match="exit code 1"):
        run_in_process("models", {}, tmp_path, _log(tmp_path))


def test_a_stage_runs_in_a_process_of_its_own(tmp_path):
    result, peak = run_in_process("models", {"llm": "here", "encoder": "there"}, tmp_path, _log(tmp_path))
    mine = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux counts what a process had before its exec
    assert result["folders"] == {"llm": "here", "encoder": "there"} and 1e6 < peak < 2e9 + mine


def _log(folder):
    (folder / "logs").mkdir(exist_ok=True)
    return folder / "logs" / "models.log"


def test_both_budgets_load_and_differ_in_numbers_only():
    quick, full = load_demo(), load_demo(full=True)
    assert sum(full.corpus.num_clips.values()) > sum(quick.corpus.num_clips.values()) >= 400
    assert (quick.llm, quick.selfgen.pools, quick.answers) == (full.llm, full.selfgen.pools, full.answers)


def test_changed_training_leaves_corpus_and_targets_alone(tmp_path):
    def keys(cfg):
        runner = Runner(tmp_path, lambda *a: ({}, 0), lambda _: None)
        runner.run(build_stages(cfg))
        return runner.keys

    cfg = load_demo()
    before = keys(cfg)
    cfg.training.overrides = [*cfg.training.overrides, "seed=7"]
    after = keys(cfg)
    assert [n for n in before if before[n] != after[n]] == ["training", "evaluation", "answers", "benchmark"]


def test_a_wrong_key_in_the_demo_configuration_is_named(tmp_path):
    text = (runner_module.Path(load_demo.__globals__["conf_dir"]()) / "demo.yaml").read_text()
    (tmp_path / "demo.yaml").write_text(text.replace("batch_size: 32", "batchsize: 32"))
    with pytest.raises(ConfigError, match=r"selfgen\.batchsize"):
        load_demo(path=tmp_path / "demo.yaml")
