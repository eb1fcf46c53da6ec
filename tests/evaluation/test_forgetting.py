"""Answers to text, with and without the trained parts."""

import pytest

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.forgetting import forgetting

SAME = [("a", "Paris."), ("b", "4"), ("c", "")]


def test_a_frozen_backbone_answers_letter_for_letter():
    found = forgetting(SAME, SAME[::-1], frozen=True)
    assert (found.n, found.identical, found.share, found.differences) == (3, 3, 1.0, ())
    assert found.low < 1.0 == found.high, "three answers prove little"
    assert "3 of 3" in found.told("without_audio") and found.to_dict()["differences"] == []


def test_one_different_letter_of_a_frozen_backbone_is_an_error_with_its_id():
    with pytest.raises(EvaluationError, match=r"1 of 3 answers differ; first 'b' at character 0: '5' instead of '4'"):
        forgetting([("a", "Paris."), ("b", "5"), ("c", "")], SAME, frozen=True)


@pytest.mark.parametrize("model", ["4 ", "", "４"], ids=["trailing blank", "nothing", "another digit four"])
def test_near_misses_are_differences(model):
    with pytest.raises(EvaluationError, match="'b'"):
        forgetting([("a", "Paris."), ("b", model), ("c", "")], SAME, frozen=True)


def test_a_tuned_backbone_is_measured_not_refused():
    found = forgetting([("a", "Paris, France."), ("b", "4"), ("c", "")], SAME, frozen=False)
    assert (found.identical, found.n) == (2, 3)
    (difference,) = found.differences
    assert (difference.id, difference.position, difference.backbone) == ("a", 5, "Paris.")


def test_an_answer_that_goes_on_differs_where_the_other_ends():
    (difference,) = forgetting([("a", "yes, it is")], [("a", "yes")], frozen=False).differences
    assert difference.position == 3


def test_long_answers_are_shown_around_the_place():
    (difference,) = forgetting([("a", "x" * 500 + "1")], [("a", "x" * 500 + "2")], frozen=False).differences
    assert difference.position == 500 and difference.model.endswith("1") and len(difference.model) < 100


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ([], SAME, "no answers of the model"),
        (SAME, [], "no answers of the backbone"),
        ([*SAME, ("a", "x")], SAME, "'a' is there twice"),
        (SAME[:2], SAME, "1 only the backbone, 0 only the model .first: 'c'"),
        (SAME, SAME[1:], "0 only the backbone, 1 only the model .first: 'a'"),
    ],
)
def test_sets_that_do_not_match_are_refused(ours, theirs, message):
    with pytest.raises(EvaluationError, match=message):
        forgetting(ours, theirs, frozen=False)
