"""`nemo-desta calibrate`: batches that fit, found by an estimate that holds against real steps."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from nemo_desta.data.module import DeSTADataModule
from nemo_desta.errors import ConfigError
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.training.budgets import largest, run
from nemo_desta.training.memory import in_use


def limit(gb):
    """An override: so many GB beyond what the tests' process has taken."""
    return f"budgets.limit_gb={in_use(torch.device('cpu')) / 1e9 + gb}"


@given(st.integers(0, 5000), st.integers(1, 3000))
def test_the_search_finds_the_largest_that_fits_within_two_percent(limit, start):
    calls = []
    found = largest(lambda n: calls.append(n) or n <= limit, start)
    assert limit - max(1, limit // 50) < found <= limit or found == limit == 0
    assert len(calls) < 40


def test_more_memory_gives_larger_batches_and_longer_examples_smaller_ones(make_cfg, tmp_path):
    small, large = (run(make_cfg(tmp_path, limit(gb), "budgets.buckets=2")) for gb in (1.5, 4))
    assert [b.tokens for b in small] == [b.tokens for b in large]
    assert all(1 <= one.examples < other.examples for one, other in zip(small, large, strict=True))
    assert small[0].examples >= small[1].examples


def test_the_bounds_of_the_yaml_go_before(make_cfg, tmp_path):
    bounds = "data.train_ds.bucket_duration_bins=[40,400]"
    found = run(make_cfg(tmp_path, limit(2), "data.train_ds.use_bucketing=true", bounds))
    assert [b.tokens for b in found] in ([40, 400], [400])


def test_a_real_step_stays_near_the_estimate(make_cfg, tmp_path):
    """What a step adds is estimated within a quarter."""
    before = in_use(torch.device("cpu"))
    (found,) = run(make_cfg(tmp_path, limit(0.6), "budgets.buckets=1", "budgets.trial=true"))
    assert found.measured - before == pytest.approx(found.estimate - before, rel=0.25)


def test_a_limit_below_the_model_says_what_to_do(make_cfg, tmp_path):
    with pytest.raises(ConfigError, match="checkpoint_llm"):
        run(make_cfg(tmp_path, "budgets.limit_gb=0.01"))


def test_the_printed_lines_are_a_valid_data_section(make_cfg, tmp_path, capsys):
    cfg = make_cfg(tmp_path, limit(1.5), "budgets.buckets=2")
    found = run(cfg)
    printed = capsys.readouterr().out
    blocks = re.findall(r"^data:\n(?:  .*\n)+", printed, re.MULTILINE)
    assert len(blocks) == 2
    model = DeSTAModel(cfg.model)
    for block in blocks:
        data = OmegaConf.merge(cfg.data, OmegaConf.create(block).data)
        batch = next(iter(DeSTADataModule(data, model.renderer, model.renderer.eos_id).train_dataloader()))
        assert 2 <= len(batch["ids"]) <= max(b.examples for b in found)
