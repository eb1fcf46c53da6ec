"""scores.json and the figures in it."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.items import content_hash
from nemo_desta.evaluation.scores import (
    ItemScore,
    Scores,
    bootstrap_metric,
    by_groups,
    mean_metric,
    read_scores,
    write_scores,
)


def test_the_mean_of_strata_counts_each_alike() -> None:
    found = bootstrap_metric("accuracy", [[1.0] * 9, [0.0]])
    assert (found.value, found.n) == (50.0, 10)
    assert mean_metric("accuracy", [1.0] * 9 + [0.0]).value == pytest.approx(90.0)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_few_items_of_one_kind_do_not_make_a_figure_certain(value: float) -> None:
    for found in (bootstrap_metric("a", [[value] * 3, [value] * 3]), mean_metric("a", [value] * 6)):
        assert found.value == 100 * value
        assert found.high - found.low > 30


def test_an_empty_stratum_leaves_the_mean_undefined() -> None:
    found = bootstrap_metric("accuracy", [[1.0], []])
    assert math.isnan(found.value) and found.n == 1


def test_groups_come_in_the_order_they_first_appear() -> None:
    items = [ItemScore(str(i), float(i % 2), "right", {"task": t}) for i, t in enumerate("bab")]
    found = by_groups(items, ["task", "gone"], lambda g, members: mean_metric("a", [i.value for i in members], g))
    assert [(m.group, m.n) for m in found] == [("task=b", 2), ("task=a", 1)]


@given(st.text(max_size=20), st.floats(allow_nan=True, allow_infinity=False, width=32))
@settings(max_examples=40, deadline=None)
def test_scores_survive_the_file(tmp_path_factory, text: str, value: float) -> None:
    path = tmp_path_factory.mktemp("scores") / "scores.json"
    text = text.encode("utf-8", "replace").decode()
    metric = mean_metric("accuracy", [value], scale=1.0, note=text)
    item = ItemScore("1", None, "unparsed", {"task": text}, response=text, detail={"judge": text, "list": [1, None]})
    scores = Scores("mmau", {"name": "r"}, (metric,), (item,), {"items": 1}, (text,), {"version": None})
    write_scores(path, scores)
    back = read_scores(path)
    assert (back.items, back.notes, back.counts) == (scores.items, scores.notes, scores.counts)
    assert back.headline.value == value or (math.isnan(value) and math.isnan(back.headline.value))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 1}', '{"format": 99, "metrics": []}', "{"])
def test_what_is_no_scores_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(EvaluationError, match=r"s\.json"):
        read_scores(tmp_path / "s.json")


def test_the_content_hash_knows_neither_the_order_of_rows_nor_of_keys() -> None:
    rows = [{"id": "1", "answer": "ä"}, {"answer": "b", "id": "2"}]
    assert content_hash(rows) == content_hash([{"id": "2", "answer": "b"}, {"answer": "ä", "id": "1"}])
    assert content_hash(rows) != content_hash([{**rows[0], "answer": "a"}, rows[1]])
