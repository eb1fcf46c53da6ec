"""The estimate of the recipe's cost: its rows, and the numbers known of DeSTA2.5's own shapes."""

import sys

import pytest

from benchmarks import recipe_cost
from benchmarks.plain_memory import plain_peak
from nemo_desta.training.cost import Memory


def teraflops(together: float) -> list[float]:
    """A sample, by way."""
    shape = recipe_cost.model_shape()
    works = recipe_cost.works(recipe_cost.LENGTHS["full"], together).values()
    return [sum(w.operations(shape).values()) / recipe_cost.BATCH / 1e12 for w in works]


def test_operations_are_those_known_of_the_official_shapes():
    plain, ours, paired = teraflops(2)
    assert plain == pytest.approx(15.4, rel=0.01)
    assert plain / ours == pytest.approx(1.52, rel=0.01) and plain / paired == pytest.approx(1.78, rel=0.01)


def test_report_names_every_factor_and_says_it_is_an_estimate(tmp_path, monkeypatch, capsys):
    out = tmp_path / "results" / "cost.md"
    monkeypatch.setattr(sys, "argv", ["recipe_cost", "--utilisation", "0.3", "--together", "4", "--output", str(out)])
    recipe_cost.main()
    text = out.read_text(encoding="utf-8")
    assert text == capsys.readouterr().out and "not measured" in text and "30%" in text
    for row in ("samples in an epoch", "optimizer steps", "LLM forward, a token", "encoder, a clip", "plain;", "ours;"):
        assert any(line.startswith(f"| {row}") for line in text.splitlines()), row
    assert text.count("4 records a clip") == 4, "in counts and costs, for both lengths"


def test_plain_memory_grows_with_the_square_of_the_length():
    shape = recipe_cost.model_shape()
    memory = Memory(shape, 0, 0, 2, dropout=True, gpu=True)
    one, two, four = (plain_peak(memory, 12, n) for n in (400, 800, 1600))
    assert four - two > 2.2 * (two - one)
    assert plain_peak(memory, 24, 400) == pytest.approx(2 * one)
