"""MMAU: the rule on cases worked out by hand, both keys, versions, denominators."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import Context, get_rule
from nemo_desta.evaluation.benchmarks.mmau import BENCHMARK, extracted, matches
from nemo_desta.evaluation.items import Answer
from nemo_desta.evaluation.scoring import score_file

CHOICES = ["A dog", "A cat", "Two dogs", "Rain"]


@pytest.mark.parametrize(
    ("answer", "said", "right"),
    [
        pytest.param("A dog", "a dog", True, id="every word of the answer, no matter the case"),
        pytest.param("A dog", "It is a DOG.", True, id="further words that no choice has"),
        pytest.param("A dog", "dog", False, id="a word of the answer is missing: 'a'"),
        pytest.param("A dog", "dog a", True, id="order does not count"),
        pytest.param("A dog", "a dog, not a cat", False, id="a word that only another choice has"),
        pytest.param("A dog", "two: a dog", False, id="part of another choice is enough to lose"),
        pytest.param("A dog", "a hotdog", False, id="whole words only"),
        pytest.param("A dog", "", False, id="nothing said"),
        pytest.param("A dog", "?!", False, id="no word said"),
        pytest.param("Rain", '"Rain".', True, id="quotes and full stop are no words"),
        pytest.param("Rain", "rain_", False, id="an underscore is part of a word"),
        pytest.param("Two dogs", "two dogs and a rainbow", False, id="'a' is a word of other choices only"),
    ],
)
def test_a_prediction_is_right_by_its_words_alone(answer: str, said: str, right: bool) -> None:
    assert matches(answer, said, CHOICES) is right


def test_a_choice_of_the_same_words_as_the_answer_is_no_other_choice() -> None:
    assert matches("dog, cat", "cat dog", ["dog, cat", "Cat dog", "bird"])


@given(st.text(max_size=30), st.lists(st.text(max_size=10), min_size=1, max_size=5))
@settings(max_examples=50)
def test_saying_the_answer_is_right_unless_it_has_no_words(answer: str, others: list[str]) -> None:
    import re

    assert matches(answer, answer, [answer, *others]) is bool(re.search(r"\w", answer))


def test_the_extraction_takes_the_phrase_out_wherever_it_stands_and_leaves_the_quotes() -> None:
    assert extracted('The correct answer is: "Rain". ') == '"Rain".'
    assert extracted("Well. The correct answer is: Rain") == "Well. Rain"
    assert extracted("the correct answer is: Rain") == "the correct answer is: Rain"


def entry(number: int, answer: str | None = "A dog", **more) -> dict:
    gold = {} if answer is None else {"answer": answer}
    return {
        "id": f"q{number}", "audio_id": f"./test-mini-audios/q{number}.wav", "question": "What is heard?", "choices": CHOICES,
        "task": "sound", "difficulty": "easy" if number % 2 else "hard", "sub-category": "Ambient", "split": "test-mini", **gold, **more,
    }  # fmt: skip


def written(path: Path, entries: list[dict]) -> Path:
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def test_items_without_the_key_leave_the_official_denominator_and_are_counted(tmp_path: Path) -> None:
    path = written(
        tmp_path / "out.json",
        [
            entry(1, model_prediction="a dog"),
            entry(2, model_prediction="rain"),
            entry(3),
            entry(4, model_prediction=""),
        ],
    )
    scores = score_file("mmau", path)
    assert (scores.headline.value, scores.headline.n) == (pytest.approx(100 / 3), 3)
    assert scores.find("accuracy_of_all").value == pytest.approx(25.0)
    assert scores.counts | {"items": 4, "answered": 3, "missing": 1} == scores.counts
    assert any("1 items have no model_prediction" in n for n in scores.notes)


def test_each_rule_reads_its_own_key_and_an_absent_key_is_an_error_that_names_the_other(tmp_path: Path) -> None:
    path = written(tmp_path / "out.json", [entry(1, model_output="a dog", model_prediction="a cat")])
    assert score_file("mmau", path, "model_output").headline.value == 100
    assert score_file("mmau", path, "model_prediction").headline.value == 0
    only = written(tmp_path / "only.json", [entry(1, model_output="a dog")])
    with pytest.raises(EvaluationError, match="--rule model_output"):
        score_file("mmau", only)


def test_our_responses_are_extracted_under_one_rule_and_whole_under_the_other() -> None:
    said = 'The correct answer is: "A dog".'
    answer = Answer("q1", said, entry(1, choices=["A dog", "The correct one"]))
    by_rule = {
        name: BENCHMARK.score([answer], Context(get_rule(BENCHMARK, name))).headline.value
        for name in ("model_prediction", "model_output")
    }
    assert by_rule == {"model_prediction": 100, "model_output": 0}  # "the" and "correct" are words of the other choice


def test_groups_intervals_and_chance_stand_in_the_table(tmp_path: Path) -> None:
    path = written(tmp_path / "o.json", [entry(i, model_prediction="a dog" if i % 2 else "rain") for i in range(8)])
    scores = score_file("mmau", path)
    assert scores.find("accuracy", "difficulty=easy").value == 100
    assert scores.find("accuracy", "difficulty=hard").value == 0
    assert scores.headline.chance == 25
    assert 0 < scores.headline.low < 50 < scores.headline.high < 100


def test_an_answer_that_names_no_choice_is_unparsed_and_one_that_declines_is_refused(tmp_path: Path) -> None:
    path = written(
        tmp_path / "o.json",
        [
            entry(1, model_prediction="noise"),
            entry(2, model_prediction="I'm sorry, but I can't help with that."),
            entry(3, model_prediction="a cat"),
        ],
    )
    outcomes = [i.outcome for i in score_file("mmau", path).items]
    assert outcomes == ["unparsed", "refused", "wrong"]


def test_the_test_set_cannot_be_scored_and_the_message_says_where_it_can(tmp_path: Path) -> None:
    path = written(tmp_path / "o.json", [entry(1, answer=None, model_prediction="a dog")])
    with pytest.raises(EvaluationError, match="not published"):
        score_file("mmau", path)


def test_another_gold_file_is_told_and_the_answers_own_gold_counts(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    written(tmp_path / "data" / "mmau-test-mini.json", [entry(1, answer="A cat"), entry(2)])
    path = written(tmp_path / "o.json", [entry(1, model_prediction="a dog")])
    data = BENCHMARK.load(tmp_path / "data", tmp_path)
    scores = score_file("mmau", path, data=data)
    assert scores.headline.value == 100
    assert any("ANOTHER VERSION: 1 answers" in n for n in scores.notes)
    assert scores.counts["missing"] == 1
    assert scores.data["version"] == data.version != BENCHMARK.load(path, tmp_path).version


def test_answers_of_another_split_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "mmau-test-mini.json", [entry(1)])
    path = written(tmp_path / "o.json", [entry(9, model_prediction="a dog")])
    with pytest.raises(EvaluationError, match="belong to no question"):
        score_file("mmau", path, data=BENCHMARK.load(tmp_path, tmp_path))


def test_the_one_gold_answer_that_was_changed_tells_the_versions_apart(tmp_path: Path) -> None:
    changed = "d882cb66-222f-48cd-a396-2439fa301234"
    for gold, known in (("Alexander Graham Bell", "f0a4a97"), ("Thomas Edison", "before 2025-08-09")):
        entries = [entry(i) for i in range(999)] + [replace_id(entry(999, answer=gold), changed)]
        data = BENCHMARK.load(written(tmp_path / "mmau-test-mini.json", entries), tmp_path)
        assert known in (data.known_as or "")
    assert BENCHMARK.load(written(tmp_path / "few.json", [entry(1)]), tmp_path).known_as is None


def replace_id(found: dict, name: str) -> dict:
    return {**found, "id": name}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[{"id": "q1", ', "is no JSON"),
        ('{"id": "q1"}', "JSON list"),
        ("[3]", "entry 1: must be a JSON object"),
        ('[{"id": "q1"}]', "lacks audio_id"),
    ],
)
def test_a_damaged_file_is_an_error_that_says_where(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "out.json"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=told):
        score_file("mmau", path)


def test_ids_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "o.json", [entry(1, model_prediction="a dog"), entry(1, model_prediction="rain")])
    with pytest.raises(EvaluationError, match="there twice"):
        score_file("mmau", path)


def test_a_failed_item_is_told_apart_from_a_missing_one() -> None:
    failed = Answer("q1", None, entry(1), error="the audio is damaged")
    answered = Answer("q2", "a dog", entry(2))
    scores = BENCHMARK.score([failed, replace(answered)], Context(get_rule(BENCHMARK, None)))
    assert scores.counts["failed"] == 1
