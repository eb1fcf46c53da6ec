"""The benchmarks of a training step at a tiny size: they run, and their tables and pictures have what they should."""

import sys

import pytest

from benchmarks import scaling, train_step
from tests import tiny

EARS = {"d_model": 64, "encoder_layers": 4, "encoder_attention_heads": 1, "encoder_ffn_dim": 64, "num_mel_bins": 80}


def rows(text: str) -> dict[str, list[str]]:
    """Cells by the first cell of their row."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return {cells[0].strip(): [c.strip() for c in cells[1:]] for cells in lines}


@pytest.mark.parametrize("workload", ["equal", "mixed"])
def test_train_step_compares_both_ways(monkeypatch, capsys, workload):
    monkeypatch.setattr(train_step, "make_model", lambda options: tiny.build().train())
    monkeypatch.setattr(train_step, "matrix_peak", lambda *_: 1e11)
    options = ["--workload", workload, "--records", "4", "--batch-size", "2", "--no-memory"]
    monkeypatch.setattr(sys, "argv", ["train_step", *options])
    train_step.main()
    text = capsys.readouterr().out
    assert f"{workload}: the losses of both paths differ by" in text
    found = rows(text)
    assert float(found["samples/s"][2].rstrip("x")) > 0
    assert float(found["operations a sample, 10^9"][2].rstrip("x")) > 1, "ours computes less"
    assert len(found["nemo_desta"]) == len(found["plain"]) == len(train_step.PHASES)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(scaling, "EARS", EARS)
    monkeypatch.setattr(scaling, "BASE", {"batch": 1, "seconds": 0.5, "targets": 5, "queries": 4, "hidden": 64})
    sweeps = {"batch": ("batch size, records", [1, 2]), "targets": ("target length, tokens", [5, 20])}
    monkeypatch.setattr(scaling, "SWEEPS", sweeps)
    monkeypatch.setattr(scaling, "matrix_peak", lambda *_: 1e11)
    monkeypatch.setattr(scaling, "LAYERS", 1)


def test_scaling_draws_and_writes_every_point(small, tmp_path, monkeypatch):
    image, out = tmp_path / "images" / "scaling.png", tmp_path / "scaling.md"
    monkeypatch.setattr(
        sys,
        "argv",
        ["scaling", "--sweeps", "batch", "targets", "--repeat", "1", "--image", str(image), "--output", str(out)],
    )
    scaling.main()
    lines = [line for line in out.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    assert [tuple(c.strip() for c in line.split("|")[1:3]) for line in lines] == [
        ("batch size, records", "1"), ("batch size, records", "2"),
        ("target length, tokens", "5"), ("target length, tokens", "20"),
    ]  # fmt: skip
    for path in (image, image.with_name("scaling_memory.png")):
        assert 5_000 < path.stat().st_size < 150_000


def test_the_point_that_sweeps_share_is_measured_once(small):
    one, other = (next(iter(scaling.sweep(name, 1))) for name in ("batch", "targets"))
    assert one.seconds is other.seconds and (one.value, other.value) == (1, 5)
