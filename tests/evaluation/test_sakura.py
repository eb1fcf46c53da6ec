"""SAKURA: the judge's verdict as published, choice-match, conditional accuracy, the layouts and the blank in Emotion."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import Context, get_rule
from nemo_desta.evaluation.benchmarks.sakura import BENCHMARK
from nemo_desta.evaluation.benchmarks.sakura.scoring import chosen, options, verdict
from nemo_desta.evaluation.items import Answer
from nemo_desta.evaluation.judging import JudgePrompt, Reply
from nemo_desta.evaluation.scoring import score_file
from tests.evaluation.sakura_clone import ROWS, make_clone


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        pytest.param("Explanation: fits.\nJudgement: correct", "correct", id="as asked for"),
        pytest.param("Explanation: no.\nJudgement: Incorrect ", "incorrect", id="case and blanks are forgiven"),
        pytest.param("Explanation: a\nb\nJudgement: correct\n\nMore.", "correct", id="up to an empty line"),
        pytest.param("Explanation: x\nJudgement: correct.", None, id="a full stop is not"),
        pytest.param('Explanation: x\nJudgement: "correct"', None, id="quotes are not"),
        pytest.param("Explanation: x\nJudgement: correct\nindeed", None, id="a line that goes on is not"),
        pytest.param("Judgement: correct", None, id="the explanation is part of the format"),
        pytest.param("Explanation:x\nJudgement: correct", None, id="a blank after the colon is, too"),
        pytest.param("**Explanation**: x\n**Judgement**: correct", None, id="bold text is not"),
        pytest.param("", None, id="nothing said"),
    ],
)
def test_the_verdict_is_read_as_the_official_code_reads_it(reply: str, said: str | None) -> None:
    assert verdict(reply) == said


ANIMALS = {"a": "cat", "b": "dog", "c": "sea lion", "d": "lion"}


@pytest.mark.parametrize(
    ("response", "letters"),
    [
        pytest.param("(b) dog", "b", id="letter and text"),
        pytest.param("The answer is (b).", "b", id="letter in brackets"),
        pytest.param("b", "b", id="the letter alone"),
        pytest.param("B.", "b", id="the letter alone with a full stop"),
        pytest.param("b) dog", "b", id="letter that opens the answer"),
        pytest.param("It is a dog.", "b", id="the option's words; the article is no letter"),
        pytest.param("A dog", "b", id="a capital article is no letter"),
        pytest.param("a sea lion", "c", id="the longer option only"),
        pytest.param("a lion and a sea lion", "cd", id="both, each by itself"),
        pytest.param("(a) or (b)", "ab", id="two letters"),
        pytest.param("(c) dog", "bc", id="a letter and the words of another option"),
        pytest.param("(b) dog, not a cat", "b", id="a letter whose words stand beside it, whatever else is said"),
        pytest.param("a hotdog", "", id="whole words only"),
        pytest.param("a bird", "", id="no option"),
        pytest.param("(e) bird", "", id="a letter that is no option"),
        pytest.param("", "", id="nothing said"),
    ],
)
def test_choice_match_reads_letters_then_words(response: str, letters: str) -> None:
    assert chosen(response, ANIMALS) == set(letters)


@given(st.lists(st.from_regex(r"[a-z]{2,8}( [a-z]{2,8})?", fullmatch=True), min_size=2, max_size=4, unique=True))
@settings(max_examples=50)
def test_options_are_read_back_from_the_question_that_lists_them(texts: list[str]) -> None:
    listed = " ".join(f"({letter}) {text}" for letter, text in zip("abcd", texts, strict=False))
    assert list(options(f"What is it? {listed}").values()) == texts


class FixedJudge:
    """Says the same to all, and keeps what it was asked."""

    model = "gpt-4o-2024-11-20"

    def __init__(self, *replies: Reply) -> None:
        self.replies, self.asked = list(replies), []

    def ask(self, prompts: list[JudgePrompt]) -> list[Reply]:
        self.asked += prompts
        return [self.replies[i % len(self.replies)] for i in range(len(prompts))]

    def describe(self) -> dict:
        return {"model": self.model}


RIGHT, WRONG = Reply(("Explanation: x\nJudgement: correct",)), Reply(("Explanation: x\nJudgement: incorrect",))


def answers_of(clone: Path, response: str = "(b) dog") -> list[Answer]:
    data = BENCHMARK.load(clone, clone / "work")
    return [Answer(i.id, response, i.fields, i.subset) for i in data.items]


def test_a_clone_is_read_with_two_questions_a_clip_and_its_judge_prompt(tmp_path: Path) -> None:
    data = BENCHMARK.load(make_clone(tmp_path), tmp_path / "work")
    assert [i.id for i in data.items][:2] == ["Animal/single/dog", "Animal/multi/dog"]
    assert data.items[0].audios == ("data/Animal/audio/dog.wav",)
    assert data.items[0].text == "(Animal: dog)"
    assert data.protocol == {"judge_system": "You judge.", "judge_user": data.protocol["judge_user"]}
    assert data.known_as is None
    assert "Track Gender is not there." in data.notes


def test_the_blank_before_an_answer_stays_for_the_judge_and_does_not_hinder_choice_match(tmp_path: Path) -> None:
    clone = make_clone(tmp_path, {"Emotion": ROWS["Emotion"]})
    data = BENCHMARK.load(clone, clone)
    assert data.items[0].fields["label"] == " (d) angry"
    judge = FixedJudge(RIGHT)
    BENCHMARK.score(answers_of(clone), Context(get_rule(BENCHMARK, "judge"), judge, data, data.protocol))
    assert "Gold  (d) angry" in judge.asked[0].messages[1][1]
    scores = BENCHMARK.score(answers_of(clone, "angry (d)"), Context(get_rule(BENCHMARK, "choice-match")))
    assert scores.items[0].outcome == "right"


def test_the_judge_is_asked_with_the_published_settings_and_the_published_order_of_filling_in(tmp_path: Path) -> None:
    clone = make_clone(tmp_path, {"Animal": ROWS["Animal"][:1]})
    data, judge = BENCHMARK.load(clone, clone), FixedJudge(RIGHT)
    trap = "It says [GROUND_TRUTH_ANSWER]"
    BENCHMARK.score(answers_of(clone, trap), Context(get_rule(BENCHMARK, "judge"), judge, data, data.protocol))
    prompt = judge.asked[0]
    assert (prompt.temperature, prompt.top_p, prompt.max_tokens, prompt.n) == (0.0, 0.9, None, 1)
    assert prompt.messages[0] == ("system", "You judge.")
    assert prompt.messages[1][1].endswith("Said It says (b) dog")  # the answer's own marker is filled in, as officially


def test_unreadable_verdicts_count_as_not_correct_and_failed_ones_are_told_apart(tmp_path: Path) -> None:
    clone = make_clone(tmp_path, {"Animal": ROWS["Animal"]})
    data = BENCHMARK.load(clone, clone)
    judge = FixedJudge(RIGHT, Reply(("correct.",)), Reply(error="429"), WRONG)
    scores = BENCHMARK.score(answers_of(clone), Context(get_rule(BENCHMARK, "judge"), judge, data, data.protocol))
    assert [i.outcome for i in scores.items] == ["right", "unparsed", "judge_failed", "wrong"]
    assert scores.headline.n == 4
    assert scores.headline.value == 25.0
    assert scores.counts["unparsed"] == scores.counts["judge_failed"] == 1
    assert scores.items[1].detail["judge"] == "correct."


def test_multi_given_single_looks_at_clips_whose_single_question_is_right(tmp_path: Path) -> None:
    clone = make_clone(tmp_path, {"Animal": ROWS["Animal"]})
    said = {
        "Animal/single/dog": "dog",
        "Animal/multi/dog": "bark",
        "Animal/single/cat": "dog",
        "Animal/multi/cat": "meow",
    }
    data = BENCHMARK.load(clone, clone)
    answers = [Answer(i.id, said[i.id], i.fields, i.subset) for i in data.items]
    scores = BENCHMARK.score(answers, Context(get_rule(BENCHMARK, "choice-match")))
    assert scores.find("accuracy", "hops=single").value == 50
    assert scores.find("accuracy", "hops=multi").value == 100
    conditional = scores.find("multi_given_single")
    assert (conditional.value, conditional.n) == (100, 1)


def test_choice_match_is_never_called_official(tmp_path: Path) -> None:
    path = result_file(tmp_path / "m_single.json", "Animal", "single")
    scores = score_file("sakura", path, "choice-match")
    assert not scores.rule["official"]
    assert any(n.startswith("NOT THE OFFICIAL FIGURE") for n in scores.notes)


def result_file(path: Path, track: str, kind: str, judged: bool = False) -> Path:
    results = {}
    for row in ROWS[track]:
        question, label = (row[2], row[3]) if kind == "single" else (row[4], row[5])
        entry = {"instruction": question, "response": label, "label": label, "extra": 1}
        if judged:
            entry = {
                "instruction": question,
                "model_response": label,
                "label": label,
                "Explanation": "x",
                "Judgement": "Correct ",
            }
        results[f"data/{track}/audio/{row[0]}"] = entry
    head = {"judge_model": "other", "temperature": 0.0} if judged else {"attribute": track, "type": kind}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**head, "results": results}))
    return path


def test_official_result_files_are_read_from_a_folder_with_extra_keys(tmp_path: Path) -> None:
    for kind in ("single", "multi"):
        result_file(tmp_path / kind / "model.json", "Animal", kind)
    scores = score_file("sakura", tmp_path, "choice-match")
    assert scores.headline.value == 100
    assert len(scores.items) == 4


def test_files_that_the_official_judge_has_judged_need_no_judge(tmp_path: Path) -> None:
    path = result_file(tmp_path / "multi" / "model_judgements.json", "Animal", "multi", judged=True)
    scores = score_file("sakura", path.parent)
    assert scores.find("accuracy", "hops=multi").value == 100
    assert any("other" in n and "gpt-4o-2024-11-20" in n for n in scores.notes)


def test_a_judged_file_of_unknown_kind_is_refused(tmp_path: Path) -> None:
    path = result_file(tmp_path / "model_judgements.json", "Animal", "multi", judged=True)
    with pytest.raises(EvaluationError, match="single or of multi"):
        score_file("sakura", path)


def test_without_a_judge_the_official_rule_says_what_to_do(tmp_path: Path) -> None:
    path = result_file(tmp_path / "single.json", "Animal", "single")
    with pytest.raises(EvaluationError, match="--rule choice-match"):
        score_file("sakura", path)


def test_without_the_clone_the_judge_rule_says_where_its_prompt_stands(tmp_path: Path) -> None:
    path = result_file(tmp_path / "single.json", "Animal", "single")
    with pytest.raises(EvaluationError, match="llm_judge.py"):
        score_file("sakura", path, judge=FixedJudge(RIGHT))


def test_missing_audio_wrong_columns_and_paths_that_climb_are_refused(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "a", {"Animal": ROWS["Animal"]})
    (clone / "data" / "Animal" / "audio" / "cat.wav").unlink()
    with pytest.raises(EvaluationError, match="1 of 2 audio files are missing"):
        BENCHMARK.load(clone, clone)
    table = clone / "data" / "Animal" / "metadata.csv"
    table.write_text(table.read_text().replace("multi_answer", "answer2"))
    with pytest.raises(EvaluationError, match="lacks the columns multi_answer"):
        BENCHMARK.load(clone, clone)
    climbing = make_clone(tmp_path / "b", {"Animal": ROWS["Animal"]}) / "data" / "Animal" / "metadata.csv"
    climbing.write_text(climbing.read_text().replace("cat.wav", "../../../cat.wav"))
    with pytest.raises(EvaluationError, match="plain name of a file"):
        BENCHMARK.load(tmp_path / "b", tmp_path)


def test_a_folder_of_something_else_is_told_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="git clone"):
        BENCHMARK.load(tmp_path, tmp_path)
