"""Reading a folder once: which files, which rows, and what is counted of all of them."""

import json
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nemo_desta.errors import RecordError
from nemo_desta.view.charts import bars, histogram
from nemo_desta.view.sampling import Row, find_files, read_folder, share_out
from tests.memory import peak_memory


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write((row if isinstance(row, str) else json.dumps(row)) + "\n")


def row(number, **more):
    return {"id": f"r{number}", "response": "one two three", "provenance": {"kind": "question"}, **more}


def test_the_files_of_each_kind_of_folder(tmp_path):
    for name in ("a.jsonl", "b.jsonl", "failed.jsonl", "missing.jsonl", "filtered/a.jsonl", "failed/a.jsonl"):
        write(tmp_path / name, [])
    write(tmp_path / ".work" / "x.jsonl", [])
    names = {v: [str(p.relative_to(tmp_path)) for p in paths] for v, paths in find_files(tmp_path).items()}
    assert names == {
        "ok": ["a.jsonl", "b.jsonl"],
        "filtered": ["filtered/a.jsonl"],
        "failed": ["failed/a.jsonl", "failed.jsonl"],
        "missing": ["missing.jsonl"],
    }
    (tmp_path / "manifest.json").write_text('{"name": "b"}')
    assert [p.name for p in find_files(tmp_path)["ok"]] == ["b.jsonl"]
    with pytest.raises(RecordError, match="no records in it"):
        find_files(tmp_path / "filtered" / "nowhere")


def test_rows_are_drawn_by_the_seed_and_shared_among_verdicts(tmp_path):
    write(tmp_path / "records.jsonl", map(row, range(200)))
    write(tmp_path / "filtered" / "records.jsonl", (row(n, reason="length") for n in range(50)))
    write(tmp_path / "failed.jsonl", [row(0, reason="x")])
    files = find_files(tmp_path)
    first, counts = read_folder(files, 21, seed=1)
    assert Counter(r.verdict for r in first) == {"ok": 10, "filtered": 10, "failed": 1}
    assert counts.verdicts == {"ok": 200, "filtered": 50, "failed": 1}
    numbers = [int(r.data["id"][1:]) for r in first if r.verdict == "ok"]
    assert numbers == sorted(numbers) and max(numbers) > 50
    assert read_folder(files, 21, seed=1)[0] == first != read_folder(files, 21, seed=2)[0]


def test_every_row_has_the_same_chance(tmp_path):
    write(tmp_path / "records.jsonl", map(row, range(20)))
    drawn = Counter(r.data["id"] for seed in range(400) for r in read_folder(find_files(tmp_path), 5, seed)[0])
    assert len(drawn) == 20 and min(drawn.values()) > 60 and max(drawn.values()) < 140  # 100 each on average


def test_memory_does_not_grow_with_the_rows(tmp_path):
    peaks = []
    for count in (1000, 6000):
        write(tmp_path / "records.jsonl", (row(n, seed_description=f"[00:00] (Speaker: {n})") for n in range(count)))
        peaks.append(peak_memory(lambda: read_folder(find_files(tmp_path), 10, seed=0)))
    assert peaks[1] - peaks[0] < 50_000


def test_what_is_counted(tmp_path):
    write(
        tmp_path / "records.jsonl",
        [
            row(0, seed_description="[00:00-00:01] Hi. (Gender: Male, Age: 31 - 45)", provenance={"num_tokens": 7}),
            row(1, dataset="GTZAN", seed_description="[00:00-00:02] (Genre: reggae)"),
            "{oops",
            '"text"',
        ],
    )
    write(
        tmp_path / "failed.jsonl",
        [{"id": f"x{n}", "reason": f"cut 'c{n}': no audio file at /data/{n}.wav"} for n in range(3)]
        + [{"line": 3, "reason": "broken", "record": row(9)}],
    )
    drawn, counts = read_folder(find_files(tmp_path), 10, seed=0)
    assert counts.unreadable == 2
    assert counts.attributes == {"Gender": {"Male": 1}, "Age": {"31 - 45": 1}, "Genre": {"reggae": 1}}
    assert counts.reasons == {"failed": {"cut …: no audio file at …": 3, "broken": 1}}
    assert counts.words == {"ok": {3: 2}, "failed": {3: 1}} and counts.tokens == {"ok": {7: 1}}
    assert counts.kinds["question"] == {"ok": 1, "failed": 1} and counts.datasets["GTZAN"] == {"ok": 1}
    assert drawn[-1].text("id") == "r9" and drawn[-1].text("reason") == "broken"


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 30)), st.integers(0, 60))
def test_shares_use_up_the_total_and_differ_only_where_rows_lack(counts, total):
    shares = share_out(counts, total)
    assert sum(shares.values()) == min(total, sum(counts.values()))
    most = max(shares.values(), default=0)
    assert all(shares[k] == counts[k] or shares[k] >= most - 1 for k in counts)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "audios", "audio", "text", "kind"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
FIELDS = ["id", "messages", "audio", "provenance", "response", "reason", "dataset", "seed_description"]


@example({"messages": [{"audios": 5}, {"audios": "ab"}, 3], "provenance": [], "audio": {"a": 1}})
@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_object_is_a_row(data):
    row = Row("ok", data, "x:1")
    assert isinstance(row.kind, str) and all(isinstance(path, str) for path, _ in row.clips)
    assert all(isinstance(row.text(key), str) for key in FIELDS)


@given(st.dictionaries(st.sampled_from(["ok", "filtered"]), st.dictionaries(st.integers(0, 2000), st.integers(1, 9))))
def test_histograms_show_every_row(counts):
    drawn = str(histogram(counts, "words"))
    assert (drawn != "") == any(counts.values())
    assert drawn.count("<rect") >= len([v for v in counts.values() if v])


def test_bars_put_the_rest_together():
    lines = bars({str(n): {"ok": 10 - n, "failed": 1} for n in range(5)}, most=3)
    assert [(b.label, b.count) for b in lines] == [("0", 11), ("1", 10), ("2", 9), ("2 others", 15)]
    assert lines[0].parts == (("ok", 90.91), ("failed", 9.09)) and lines[3].parts == ()
