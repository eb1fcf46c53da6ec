"""Batch generation: a row in, a row out, in order; one bad clip costs one row, never the others."""

import json

import pytest

from nemo_desta.configs import load_config
from nemo_desta.errors import ConfigError, DeSTAError, RecordError
from nemo_desta.serving import generate
from tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("generate")
    tiny.shared().save_pretrained(out / "model")
    tiny.write_clip(out / "a.wav", 0.5)
    return out


GOOD = tiny.record("r1", "What?", "A bell.", ("a.wav", "ding"))
BARE = tiny.heard("Hello.")
BAD = tiny.record("r3", "Who?", "Me.", ("gone.wav", " "))


@pytest.fixture
def go(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "open_model", lambda *_, **__: tiny.shared())

    def run(rows, **changes):
        source = tiny.write_jsonl(folder / "in.jsonl", rows)
        values = {
            "model": folder / "model",
            "input": source,
            "output": tmp_path / "out.jsonl",
            "max_new_tokens": 4,
            **changes,
        }
        cfg = load_config("generate", [f"{k}={v}" for k, v in values.items()], schema=generate.SCHEMA)
        return generate.run(cfg), [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]

    return run


def test_records_and_bare_conversations_are_answered_in_order(go, folder):
    counts, rows = go([GOOD, BARE, {"messages": BARE}])
    assert counts == {"answered": 3, "failed": 0}
    assert [r["id"] for r in rows] == ["r1", "1", "2"]
    assert rows[0]["response"] == "A bell."
    assert rows[0]["messages"] == GOOD["messages"]
    assert "response" not in rows[1]
    expected = tiny.shared().generate([GOOD["messages"], BARE, BARE], audio_root=str(folder), max_new_tokens=4)
    assert [r["prediction"] for r in rows] == expected


def test_a_bad_clip_costs_its_row_only(go, folder, tmp_path):
    with pytest.raises(
        DeSTAError, match=r"1 of 3 conversations .* first: .*in\.jsonl:2 \(id r3\): .*gone\.wav: no such"
    ):
        go([GOOD, BAD, BARE])
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert ["prediction" in r for r in rows] == [True, False, True]
    assert rows[1]["error"].startswith(f"{folder / 'in.jsonl'}:2 (id r3): ")


def test_a_malformed_line_stops_before_anything_is_computed(go, tmp_path):
    with pytest.raises(RecordError, match=r"in\.jsonl:2 .*unknown role 'robot'"):
        go([GOOD, {"messages": [{"role": "robot", "content": "x"}]}])
    with pytest.raises(RecordError, match=r"in\.jsonl:1: needs an object with 'messages'"):
        go([{"text": "x"}])
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_the_answers_so_far(go, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "_CHUNK_BATCHES", 1)
    chunks = []

    def stop_at_second(model, rows, config, inner=generate._chunk):
        chunks.append(rows)
        if len(chunks) == 2:
            raise KeyboardInterrupt
        return inner(model, rows, config)

    monkeypatch.setattr(generate, "_chunk", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        go([GOOD, BARE], batch_size=1)
    assert not (tmp_path / "out.jsonl").exists()
    assert json.loads((tmp_path / "out.jsonl.partial").read_text())["id"] == "r1"


def test_an_output_is_never_replaced_unasked(go):
    go([BARE])
    with pytest.raises(ConfigError, match="exists; choose another output, or set overwrite=true"):
        go([BARE])
    assert go([BARE, BARE], overwrite="true", limit=1)[0]["answered"] == 1


def test_the_model_is_opened_as_asked(folder, tmp_path):
    source = tiny.write_jsonl(tmp_path / "in.jsonl", [BARE])
    output = tmp_path / "new" / "out.jsonl"
    assert generate.run(
        {
            "model": str(folder / "model"),
            "input": str(source),
            "output": str(output),
            "max_new_tokens": 2,
            "device": "cpu",
        }
    )
    assert len(output.read_text().splitlines()) == 1
