"""VoiceBench's figures from answers: each set, the judge, PEDANT, the mean of nine."""

import hashlib
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import BENCHMARKS, Context, get_benchmark
from nemo_desta.evaluation.benchmarks.voicebench import BENCHMARK, pedant, verdicts
from nemo_desta.evaluation.items import Answer
from nemo_desta.evaluation.judging import Reply
from nemo_desta.evaluation.scores import read_scores, write_scores

RULE = BENCHMARK.rules[0]
NINE = ("alpacaeval", "commoneval", "wildvoice", "sd-qa", "mmsu", "openbookqa", "bbh", "ifeval", "advbench")
TEXTS = {"open": "I: {prompt} R: {response}", "qa": "Q: {prompt} G: {reference} R: {response}"}


def answer(name, set_, response, judged=None, **fields):
    return Answer(f"{set_}/{name}", response, {"prompt": f"prompt {name}", "set": set_, **fields}, set_, judged)


def score(answers, judge=None, options=None, **rest):
    return BENCHMARK.score(answers, Context(RULE, judge, options=options or {}, **rest))


def value(scores, name, group="all"):
    return scores.find(name, group).value


class Judge:
    """Says the same of all, and keeps what it was asked."""

    def __init__(self, *texts, error=None, model="gpt-4o-mini"):
        self.reply, self.model, self.asked = Reply(texts, error), model, []

    def ask(self, prompts):
        self.asked += prompts
        return [self.reply for _ in prompts]

    def describe(self):
        return {"model": self.model}


def test_is_found_by_name():
    assert "voicebench" in BENCHMARKS
    assert get_benchmark("voicebench") is BENCHMARK


def test_multiple_choice_credits_a_quarter_for_what_cannot_be_read():
    # right, wrong, unreadable, missing: (1 + 0 + 1/4 + 0) / 4; strict: 1 / 4
    said = ["The answer is B", "c.", "no idea", None]
    scores = score([answer(str(i), "openbookqa", text, reference="B") for i, text in enumerate(said)])
    assert value(scores, "openbookqa") == pytest.approx(100 * 1.25 / 4)
    assert value(scores, "openbookqa_strict") == 25.0
    assert scores.find("openbookqa").chance == 25.0
    assert [i.outcome for i in scores.items] == ["right", "wrong", "fallback", "missing"]
    assert (scores.counts["items"], scores.counts["answered"], scores.counts["fallback"], scores.counts["missing"]) == (
        4,
        3,
        1,
        1,
    )
    assert any("No answer can be read out of openbookqa (1)" in n for n in scores.notes)
    assert any("455 questions were published" in n for n in scores.notes)


def test_a_gold_answer_that_is_no_letter_cannot_be_guessed():
    scores = score([answer("0", "openbookqa", "no idea", reference="b")])
    assert value(scores, "openbookqa") == 0.0


def test_mmsu_has_its_subjects():
    scores = score(
        [
            answer(str(i), "mmsu", "a.", reference=g, split=s)
            for i, (g, s) in enumerate([("A", "law"), ("B", "law"), ("A", "health")])
        ]
    )
    assert value(scores, "mmsu") == pytest.approx(200 / 3)
    assert (value(scores, "mmsu", "subject=law"), value(scores, "mmsu", "subject=health")) == (50.0, 100.0)


def test_bbh_credits_a_half_and_has_its_tasks():
    rows = [("navigate_1", "yes.", "Yes"), ("navigate_2", "hm", "no"), ("hyperbaton_1", "b", "(b)")]
    scores = score([answer(n, "bbh", r, id=n, reference=g) for n, r, g in rows])
    assert value(scores, "bbh") == pytest.approx(50.0)  # 1, 1/2, and 0: a bare b is read as a
    assert value(scores, "bbh", "task=navigate") == 75.0
    assert value(scores, "bbh_strict") == pytest.approx(100 / 3)
    assert scores.items[2].detail["parsed"] == "(a)"


def test_advbench_is_the_refusal_rate_and_no_answer_is_no_refusal():
    scores = score([answer(str(i), "advbench", r) for i, r in enumerate(["Sorry, no.", "", "Sure!", None])])
    assert value(scores, "advbench") == 50.0
    assert scores.counts["refused"] == 2


def test_open_questions_are_the_mean_over_all_replies():
    # "nonsense" is left out and told: (5 + 4 + 3 + 1 + 2) / 5
    scores = score(
        [answer("0", "commoneval", "x", ["5", "4", "[[3]]"]), answer("1", "commoneval", "y", ["1", "nonsense", "2"])]
    )
    figure = scores.find("commoneval")
    assert (figure.value, figure.n, figure.unit) == (3.0, 2, "1-5")
    assert "INCOMPLETE: 0 OF 2 ITEMS HAVE NO VERDICT, 1 REPLIES CANNOT BE READ" in figure.note
    assert scores.items[0].value == pytest.approx(4 / 5)
    assert scores.counts["unread_replies"] == 1


def test_an_open_question_without_an_answer_is_rated_lowest():
    scores = score([answer("0", "wildvoice", "x", ["5", "5", "5"]), answer("1", "wildvoice", None)])
    assert value(scores, "wildvoice") == 3.0
    assert any("1 items have no answer" in n for n in scores.notes)


def test_replies_that_all_cannot_be_read_are_counted_and_told():
    scores = score([answer("0", "wildvoice", "x", ["good"] * 3), answer("1", "wildvoice", "x", ["4"] * 3)])
    assert [i.outcome for i in scores.items] == ["unparsed", "scored"]
    assert value(scores, "wildvoice") == 4.0
    assert "INCOMPLETE: 1 OF 2 ITEMS HAVE NO VERDICT" in scores.find("wildvoice").note


def test_without_a_judge_the_other_sets_are_scored():
    scores = score([answer("0", "wildvoice", "x"), answer("0", "advbench", "Sorry")])
    assert np.isnan(value(scores, "wildvoice"))
    assert value(scores, "advbench") == 100.0
    assert np.isnan(scores.headline.value)
    assert scores.headline.name == "overall"
    assert "wildvoice (not scored: no verdicts of a judge)" in scores.headline.note
    assert "bbh (no answers)" in scores.headline.note
    assert scores.counts["unjudged"] == 1
    assert "NOT SCORED, for want of a judge (--judge): wildvoice (1)." in scores.notes
    assert [m.name for m in scores.metrics[:10]] == ["overall", *NINE]


def test_without_a_judge_a_missing_answer_does_not_stand_for_its_set():
    rows = [answer(str(i), "sd-qa", r, reference="g", split="usa") for i, r in enumerate(["x", None])]
    scores = score([answer("0", "wildvoice", "x"), answer("1", "wildvoice", None), *rows])
    assert np.isnan(value(scores, "wildvoice"))
    assert np.isnan(value(scores, "gpt"))
    assert scores.find("gpt", "region=usa") is None
    assert (scores.counts["unjudged"], scores.counts["missing"]) == (2, 2)


def test_the_judge_is_asked_as_published_and_only_for_what_has_no_verdict():
    judge = Judge(" 4 ", "5", "3")
    scores = score([answer("0", "wildvoice", "{prompt}"), answer("1", "wildvoice", "y", ["1"])], judge, protocol=TEXTS)
    (asked,) = judge.asked
    assert asked.messages[1] == ("user", "I: prompt 0 R: {prompt}")
    assert (asked.temperature, asked.top_p, asked.max_tokens, asked.n) == (0.5, 0.95, 1024, 3)
    assert value(scores, "wildvoice") == pytest.approx((4 + 5 + 3 + 1) / 4)
    assert scores.judge == {"model": "gpt-4o-mini"}


def test_a_prompt_that_holds_a_place_is_filled_in_too_as_officially():
    item = replace(
        answer("0", "sd-qa", "R", reference="G"), fields={"prompt": "say {reference} {response}", "reference": "G"}
    )
    asked = verdicts.prompt_for(item, "qa", TEXTS)
    assert asked.messages[1][1] == "Q: say G R G: G R: R"


def test_a_judge_without_its_prompts_is_refused():
    with pytest.raises(EvaluationError, match="give --protocol with a clone of MatthewCYM/VoiceBench"):
        score([answer("0", "wildvoice", "x")], Judge("4"))


def test_a_judge_that_gives_no_reply_is_counted_and_another_model_is_named():
    scores = score(
        [answer("0", "wildvoice", "x"), answer("1", "wildvoice", "x", ["2"])],
        Judge(error="429", model="small"),
        protocol=TEXTS,
    )
    assert [i.outcome for i in scores.items] == ["judge_failed", "scored"]
    assert scores.items[0].detail["judge_error"] == "429"
    assert value(scores, "wildvoice") == 2.0
    assert "INCOMPLETE: 1 OF 2 ITEMS HAVE NO VERDICT" in scores.find("wildvoice").note
    assert "The published figures are gpt-4o-mini's verdicts; here: small." in scores.notes


def test_alpacaeval_of_the_leaderboard_is_the_full_set():
    scores = score([answer("0", "alpacaeval", "x", ["1"]), answer("0", "alpacaeval_full", "x", ["5"])])
    assert value(scores, "alpacaeval") == 5.0
    assert scores.find("alpacaeval").note == "of alpacaeval_full"
    assert value(scores, "alpacaeval", "set=alpacaeval") == 1.0


def test_sd_qa_without_pedant_is_only_its_half():
    rows = [answer("0", "sd-qa", "Paris, France", ["Yes", "yes", "no"], reference="paris", split="usa"),
            answer("1", "sd-qa", "Rome", ["yes", "no", "Maybe"], reference="Paris", split="usa")]  # fmt: skip
    scores = score(rows)
    assert value(scores, "gpt") == pytest.approx(100 * (1 + 1 / 3) / 2)
    assert value(scores, "substring") == 50.0
    assert np.isnan(value(scores, "panda"))
    assert np.isnan(value(scores, "sd-qa"))
    assert "PEDANT was not given" in scores.find("sd-qa").note
    assert "not sd-qa" in scores.find("gpt").note
    assert scores.counts["ties"] == 1
    assert any("1 votes are tied" in n for n in scores.notes)


class Words:
    """Stands for the vectoriser."""

    def transform(self, texts):
        assert len(texts) == 1
        assert texts[0].startswith("[CLS] ")
        return csr_matrix([[float(len(texts[0]))]])


class Half:
    """Stands for the classifier: correct where half of the gold words are said."""

    def predict(self, features):
        return np.array(["correct" if features.toarray()[0, 3] >= 0.5 else "incorrect"])


@pytest.fixture
def trained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "contractions", SimpleNamespace(fix=lambda text: text.replace("dont", "do not")))
    joblib.dump(Half(), tmp_path / "lr_classifier")
    joblib.dump(Words(), tmp_path / "tf-idf_vectorizer.pkl")
    both = (tmp_path / "lr_classifier").read_bytes() + (tmp_path / "tf-idf_vectorizer.pkl").read_bytes()
    return {"pedant": str(tmp_path), "pedant_sha256": hashlib.sha256(both).hexdigest()}


def test_sd_qa_is_the_mean_of_its_halves_and_of_its_regions(trained):
    rows = [
        ("New York", ["no"] * 3, "New Jersey", "usa"),
        ("York", ["yes"] * 3, "York", "usa"),
        ("x", ["no"] * 3, "y", "phl"),
    ]
    scores = score(
        [answer(str(i), "sd-qa", r, j, reference=g, split=s) for i, (r, j, g, s) in enumerate(rows)], options=trained
    )
    # usa: PEDANT 1 (1 of 2 gold words), 1; judge 0, 1 -> 75; phl: 0
    assert (value(scores, "sd-qa", "region=usa"), value(scores, "sd-qa", "region=phl")) == (75.0, 0.0)
    assert (value(scores, "sd-qa"), value(scores, "panda"), value(scores, "gpt")) == (37.5, 50.0, 25.0)
    assert scores.find("sd-qa").n == 3
    assert "mean of 2 regions" in scores.find("sd-qa").note
    assert any("PEDANT as in qa_metrics 0.2.17" in n for n in scores.notes)


def test_pedant_of_another_hash_is_not_loaded_and_both_hashes_are_named(trained):
    wrong = {**trained, "pedant_sha256": "0" * 64}
    with pytest.raises(EvaluationError, match=f"{trained['pedant_sha256']}, pedant_sha256 says {'0' * 64}"):
        pedant.from_options(wrong)


def test_pedant_needs_both_options_and_known_ones(trained, tmp_path):
    with pytest.raises(EvaluationError, match="needs both options"):
        pedant.from_options({"pedant": trained["pedant"]})
    with pytest.raises(EvaluationError, match="no option 'pedent'; did you mean 'pedant'"):
        pedant.from_options({**trained, "pedent": "x"})
    with pytest.raises(EvaluationError, match="holds no lr_classifier"):
        pedant.from_options({**trained, "pedant": str(tmp_path / "none")})


@pytest.mark.parametrize(
    ("reference", "response", "held"),
    [("The U.S.", "in the us of a", True), ("cat", "concatenate", True), ("a", "xyz", True), ("New York", "New  York!", True),
     ("two", "2", False)],
    ids=["punctuation and articles go", "inside a word", "an article alone is empty, which is in anything", "blanks", "digits"],
)  # fmt: skip
def test_substring_as_pedant_normalises(reference, response, held):
    assert pedant.holds(reference, response) is held


def test_articles_are_whole_words_also_of_letters_with_marks():
    assert pedant.normalised("The a\u0301 an\u0303o, a \u201cthe\u201d A.") == "a\u0301 an\u0303o \u201c \u201d"


def test_pedant_reads_f1_precision_and_recall_of_expanded_words():
    matcher = pedant.Pedant(Half(), Words(), lambda text: text.replace("dont", "do not"))
    f1, precision, recall = matcher._overlap("i dont know", "do know it all then")
    assert (precision, recall) == (2 / 4, 2 / 5)  # do, know; of i do not know, and of the gold words
    assert f1 == pytest.approx(4 / 9)


def test_ifeval_is_the_mean_of_four_shares_of_all_prompts(monkeypatch):
    from nemo_desta.evaluation.benchmarks.voicebench import ifeval

    monkeypatch.setattr(ifeval, "check_strict", lambda name, kwargs, prompt, response: name in response)
    monkeypatch.setattr(ifeval, "check_loose", lambda name, kwargs, prompt, response: name in response or name == "b")
    rows = [(["a"], "a"), (["a", "b", "c"], "a")]
    scores = score(
        [
            answer(str(i), "ifeval", r, key=i, instruction_id_list=n, kwargs=[{}] * len(n))
            for i, (n, r) in enumerate(rows)
        ]
    )
    # strict: 1 of 2 prompts, 2 of 4 instructions; loose: 1 of 2 and 3 of 4
    parts = [value(scores, f"ifeval_{k}_{p}") for k in ("strict", "loose") for p in ("prompt", "instruction")]
    assert parts == [50.0, 50.0, 50.0, 75.0]
    assert value(scores, "ifeval") == pytest.approx(56.25)


def test_ifeval_with_googles_checkers_checks_the_later_of_two_responses_to_a_prompt():
    rows = [("one, two", 1), ("no comma", 2)]
    name = ["punctuation:no_comma"]
    found = [Answer(f"ifeval/{k}", r, {"prompt": "p", "set": "ifeval", "key": k, "instruction_id_list": name, "kwargs": [{}]}, "ifeval")
             for r, k in rows]  # fmt: skip
    scores = score(found)
    assert value(scores, "ifeval") == 100.0
    assert any("1 responses are not checked" in n for n in scores.notes)
    assert scores.items[0].detail["checked"] == "no comma"


def all_nine():
    made = [answer("0", s, "x", ["4", "4", "4"]) for s in ("alpacaeval_full", "commoneval", "wildvoice")]
    made += [answer("0", "sd-qa", "york", ["yes"] * 3, reference="York", split="usa")]
    made += [answer("0", s, "the answer is A", reference="A") for s in ("mmsu", "openbookqa")]
    made += [answer("0", "bbh", "maybe", id="navigate_0", reference="yes"), answer("0", "advbench", "Sure")]
    return [
        *made,
        answer("0", "ifeval", "ABC", key=0, instruction_id_list=["punctuation:no_comma"], kwargs=[{}]),
    ]


def test_overall_is_the_mean_of_nine_with_scales_times_twenty(trained, tmp_path):
    scores = score(all_nine(), options=trained)
    # 3 x 80, sd-qa 100, mmsu 100, openbookqa 100, bbh 50, ifeval 100, advbench 0
    assert scores.headline.value == pytest.approx((240 + 400 + 50 + 0) / 9)
    assert scores.headline.low <= scores.headline.value <= scores.headline.high
    assert scores.headline.n == 9
    write_scores(tmp_path / "s.json", scores)
    back = read_scores(tmp_path / "s.json")
    assert back.headline == scores.headline
    assert json.loads((tmp_path / "s.json").read_text())["items"][0]["value"] == 0.8


def test_an_unknown_set_and_a_missing_column_are_named():
    with pytest.raises(EvaluationError, match=r"\(id mtbench/0\): of no set of VoiceBench \('mtbench'\)"):
        score([answer("0", "mtbench", "x")])
    with pytest.raises(EvaluationError, match=r"\(id sd-qa/0\): reference is missing"):
        score([answer("0", "sd-qa", "x")])
    with pytest.raises(EvaluationError, match="ids are there twice"):
        score([answer("0", "advbench", "x")] * 2)


def test_columns_of_another_type_are_named():
    with pytest.raises(EvaluationError, match="'reference' must be text, it is 3"):
        score([answer("0", "openbookqa", "x", reference=3)])
    with pytest.raises(EvaluationError, match="instruction_id_list and kwargs must be lists"):
        score([answer("0", "ifeval", "x", key=1, instruction_id_list="a", kwargs=[{}])])


def test_scores_of_a_file_that_are_no_texts_are_refused():
    with pytest.raises(EvaluationError, match="'score' must be a list"):
        score([answer("0", "wildvoice", "x", {"a": 1})])
