"""The loader benchmark at a tiny size: both ways give the same conversations, and the table has its rows."""

import sys

import pytest
from nemo.collections.common.tokenizers import AutoTokenizer
from transformers import AutoTokenizer as Tokenizer

from benchmarks import loader, workloads
from nemo_desta.rendering import Renderer
from tests import tiny


@pytest.fixture
def renderer(monkeypatch) -> Renderer:
    monkeypatch.setattr(loader, "LLM", str(tiny.LLM))
    monkeypatch.setattr(loader, "resolve", str)
    return Renderer(Tokenizer.from_pretrained(tiny.LLM), num_queries=64)


def said(text: str) -> str:
    """What NeMo's prompt format wraps: header, an empty thought, the answer, an end of turn."""
    return text.split("</think>")[1].split("<|im_end|>")[0].strip()


@pytest.mark.parametrize("source", ["JSONL + WAV", "tar shards"])
def test_both_ways_give_the_same_clips_and_targets(renderer, tmp_path, source):
    examples = workloads.mixed(renderer, 8)
    entries = loader.write(tmp_path, examples)[source]
    tokenizer = AutoTokenizer(str(tiny.LLM))
    tokenizer.add_special_tokens({"additional_special_tokens": [loader.LOCATOR]})
    batch = next(iter(loader.stock(tokenizer, entries["stock"], 1)))
    decode = tokenizer.tokenizer.decode
    stock = {said(decode(ids[mask])) for ids, mask in zip(batch["input_ids"], batch["loss_mask"], strict=True)}
    assert len(stock) > 1 and stock <= {e.record["response"] for e in examples}
    assert set(batch["audio_lens"].tolist()) <= {round(e.seconds * workloads.RATE) for e in examples}
    own = next(iter(loader.ours(renderer, entries["ours"], 1)))
    assert set(own["audio_len"].tolist()) <= {round(e.seconds * workloads.RATE) for e in examples}


def test_table_has_a_row_for_each_source_and_number_of_workers(renderer, tmp_path, monkeypatch, capsys):
    out = tmp_path / "loader.md"
    options = ["--records", "40", "--count", "4", "--repeat", "1", "--workers", "0", "1", "--step-seconds", "2"]
    monkeypatch.setattr(sys, "argv", ["loader", *options, "--output", str(out)])
    loader.main()
    lines = out.read_text(encoding="utf-8").splitlines()
    for source in ("JSONL + WAV", "tar shards"):
        rows = [line for line in lines if line.startswith(f"| {source} |")]
        assert [row.split("|")[2].strip() for row in rows] == ["0", "1"]
    assert any(line.startswith("| this machine's CPU") and "| 2.00 | 0.50 | 4.00 |" in line for line in lines)
    assert any("H100" in line and "estimated" in line for line in lines)
