import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.errors import SelfGenError
from nemo_desta.files import check_manifest, lock_directory
from nemo_desta.selfgen.writer import WorkLog, encode_line, parse_log, seal


def row(i, status="ok", text="x"):
    return {
        "id": f"r{i}",
        "status": status,
        "reason": None if status == "ok" else "why",
        "record": {"id": f"r{i}", "response": text},
    }


def test_rows_survive_reopening(tmp_path):
    log = WorkLog(tmp_path / "a.log")
    for i in range(10):
        assert log.append(row(i))
    assert not log.append(row(3, text="again")), "a finished row is never replaced"
    log.close()
    again = WorkLog(tmp_path / "a.log")
    assert list(again.done) == [f"r{i}" for i in range(10)]
    assert again.read("r3")["record"]["response"] == "x"


def test_a_failed_row_is_replaced_by_a_later_one(tmp_path):
    log = WorkLog(tmp_path / "a.log")
    log.append(row(0, "failed"))
    assert log.append(row(0)) and not log.append(row(0, "failed"))
    log.close()
    again = WorkLog(tmp_path / "a.log")
    assert not again.failed and again.read("r0")["status"] == "ok"


@settings(max_examples=60)
@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=6), data=st.data())
def test_any_torn_tail_loses_only_the_torn_row(tmp_path_factory, texts, data):
    path = tmp_path_factory.mktemp("log") / "a.log"
    lines = [encode_line(row(i, text=t)) for i, t in enumerate(texts)]
    whole = b"".join(lines)
    length = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:length])
    log = WorkLog(path)
    complete = sum(1 for i in range(len(lines)) if sum(map(len, lines[: i + 1])) <= length)
    assert list(log.done) == [f"r{i}" for i in range(complete)]
    for i in range(len(texts)):
        log.append(row(i, text=texts[i]))
    assert [r["record"]["response"] for r in log.rows(f"r{i}" for i in range(len(texts)))] == texts
    log.close()
    assert path.read_bytes() == whole


@settings(max_examples=100)
@given(st.binary(max_size=200), st.lists(st.text(max_size=8), min_size=2, max_size=4))
def test_rubbish_between_lines_hides_no_finished_row(rubbish, texts):
    lines = [encode_line(row(i, text=t)) for i, t in enumerate(texts)]
    stream = io.BytesIO(lines[0] + rubbish + b"\n" + b"".join(lines[1:]))
    rows = [r for _, _, r in parse_log(stream) if r is not None]
    assert [r["id"] for r in rows] == [f"r{i}" for i in range(len(texts))]


@given(st.binary(max_size=300))
def test_the_parser_takes_any_bytes(data):
    parsed = list(parse_log(io.BytesIO(data)))
    assert sum(length for _, length, _ in parsed) == len(data)


def test_a_flipped_byte_is_found(tmp_path):
    path = tmp_path / "a.log"
    lines = [encode_line(row(i, text="hello")) for i in range(3)]
    path.write_bytes(lines[0] + lines[1].replace(b"hello", b"jello") + lines[2])
    log = WorkLog(path)
    assert list(log.done) == ["r0", "r2"] and log.damaged == 1


def test_sealing_sorts_splits_and_counts(tmp_path):
    log = WorkLog(tmp_path / "a.log")
    for i in (2, 0, 1):
        log.append(row(i, ["ok", "filtered", "ok"][i]))
    targets = {"ok": tmp_path / "o.jsonl", "filtered": tmp_path / "f" / "o.jsonl", "failed": tmp_path / "e" / "o.jsonl"}
    assert seal(log, lambda: ["r0", "r1", "r2"], targets) == (
        {"ok": 2, "filtered": 1, "failed": 0},
        {"filtered: why": 1},
    )
    assert [json.loads(line)["id"] for line in targets["ok"].read_text().splitlines()] == ["r0", "r2"]
    assert json.loads(targets["filtered"].read_text())["reason"] == "why"
    with pytest.raises(SelfGenError, match="r9"):
        seal(log, lambda: ["r0", "r9"], targets)
    assert targets["ok"].read_text().count("\n") == 2, "a failed sealing leaves the old files"


def test_a_changed_configuration_is_refused_with_the_difference(tmp_path):
    path = tmp_path / "manifest.json"
    check_manifest(path, {"a": 1, "b": {"c": (1, 2), "d": "x"}})
    check_manifest(path, {"b": {"d": "x", "c": [1, 2]}, "a": 1})
    with pytest.raises(SelfGenError, match=r"b\.d: 'x' -> 'y'\n  e: \(absent\) -> 3"):
        check_manifest(path, {"a": 1, "b": {"c": [1, 2], "d": "y"}, "e": 3})


def test_a_directory_in_use_is_refused_and_free_again_afterwards(tmp_path):
    with (
        lock_directory(tmp_path),
        pytest.raises(SelfGenError, match=r"process \d+ is writing"),
        lock_directory(tmp_path),
    ):
        pass
    with lock_directory(tmp_path):
        pass
