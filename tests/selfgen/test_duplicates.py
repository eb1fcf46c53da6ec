import json
from random import Random

import pytest

from nemo_desta.errors import ConfigError
from nemo_desta.selfgen.closing import duplicates
from nemo_desta.selfgen.closing.duplicates import DuplicateOptions, find_duplicates

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "frost",
    "grove",
    "haven",
    "inlet",
    "jetty",
    "knoll",
    "larch",
    "maple",
    "north",
    "ocean",
    "plume",
    "quiet",
    "river",
]


def text(seed: int, length: int = 60) -> str:
    rng = Random(seed)
    return " ".join(rng.choice(WORDS) + rng.choice(WORDS) for _ in range(length))


def row(number: int, response: str, prompt: str = "What is it?", gender: str = "Female") -> dict:
    seed = f"[00:00-00:02] Hi. (Gender: {gender})"
    return {"id": f"r{number}", "seed_description": seed, "prompt": prompt, "response": response}


def found(tmp_path, rows, **options) -> dict[str, tuple[str, str]]:
    """id -> (reason, id of the row it repeats)."""
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(r) + "\n" for r in rows]
    path.write_text("".join(lines))
    starts = [sum(map(len, lines[:i])) for i in range(len(lines))]
    result = find_duplicates(path, DuplicateOptions(**options))
    return {rows[i]["id"]: (reason, rows[starts.index(offset)]["id"]) for i, (reason, offset) in result.found.items()}


def test_so_many_rows_that_say_the_same_are_kept_and_no_more(tmp_path):
    rows = [row(i, text(0)) for i in range(10)] + [row(10 + i, text(1 + i)) for i in range(10)]
    out = found(tmp_path, rows, keep=3)
    assert len(out) == 7 and set(out) < {f"r{i}" for i in range(10)}
    assert {reason for reason, _ in out.values()} == {"duplicate"}
    assert len({first for _, first in out.values()}) == 1 and out.keys().isdisjoint(f for _, f in out.values())


def test_case_and_punctuation_make_no_difference(tmp_path):
    rows = [row(0, text(0)), row(1, text(0).upper() + "!"), row(2, text(0).replace(" ", ",  "))]
    assert len(found(tmp_path, rows, keep=1)) == 2


def test_near_duplicates_share_trigrams(tmp_path):
    changed = text(0).split()
    changed[30] = "otherwise"  # 55 of 61 trigrams are common: 0.90
    far = list(changed)
    far[10] = "elsewhere"  # 52 of 64 with the first: 0.81
    rows = [row(0, text(0)), row(1, " ".join(changed)), row(2, " ".join(far))]
    assert [reason for reason, _ in found(tmp_path, rows[:2], keep=1).values()] == ["near_duplicate"]
    assert not found(tmp_path, [rows[0], rows[2]], keep=1)
    assert not found(tmp_path, rows[:2], keep=1, near=1.0), "only equal words count then"


@pytest.mark.parametrize(
    "rows",
    [
        [row(i, "A woman speaks.") for i in range(50)],
        [row(i, text(0), prompt=f"Prompt {i}") for i in range(50)],
        [row(0, "Female: " + text(0)), row(1, "Male: " + text(0), gender="Male")],
        [row(i, f"{text(0)} It lasts {i} seconds.") for i in range(50)],
    ],
    ids=["short answers", "other prompts", "other attributes", "other numbers"],
)
def test_rows_that_differ_in_what_matters_are_no_duplicates(tmp_path, rows):
    assert not found(tmp_path, rows, keep=1)


def test_neither_order_nor_shards_decide_which_rows_stay(tmp_path):
    rows = [row(i, text(i % 6) if i % 2 else text(i % 6) + " more", prompt=f"P{i % 3}") for i in range(120)]
    straight = found(tmp_path, rows)
    shuffled = list(rows)
    Random(1).shuffle(shuffled)
    assert straight == found(tmp_path, shuffled) and len(straight) > 20


def test_chinese_is_counted_by_characters(tmp_path):
    said = "这个人说话的声音听起来很高兴而且背景很安静没有任何噪音"
    assert len(found(tmp_path, [row(i, said) for i in range(4)], keep=3)) == 1


def test_groups_too_large_for_near_duplicates_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "_LARGEST", 5)
    path = tmp_path / "rows.jsonl"
    rows = [row(i, text(0) + f" {WORDS[i]}") for i in range(9)] + [row(10 + i, text(0)) for i in range(3)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    result = find_duplicates(path, DuplicateOptions(keep=1))
    assert result.too_large == 12 and sorted(r for r, _ in result.found.values()) == ["duplicate"] * 2


@pytest.mark.parametrize("section", [{"keep": 0}, {"near": 0.2}, {"min_words": 1}, {"jaccard": 0.9}, {"keep": "3"}])
def test_mistakes_are_refused(section):
    with pytest.raises(ConfigError, match="filters, duplicates"):
        DuplicateOptions.parse(section)
