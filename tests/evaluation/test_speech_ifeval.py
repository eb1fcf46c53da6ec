"""Speech-IFEval: its five changed checkers, the judge's prompts and verdicts, IFrate, Delta, the layouts and the reports."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import Context
from nemo_desta.evaluation.benchmarks.speech_ifeval import BENCHMARK
from nemo_desta.evaluation.benchmarks.speech_ifeval.judged import prompt, protocol, verdict
from nemo_desta.evaluation.benchmarks.speech_ifeval.strict import GROUPS, follows
from nemo_desta.evaluation.items import Answer
from nemo_desta.evaluation.judging import JudgePrompt, Reply
from nemo_desta.evaluation.scores import Scores, write_scores
from nemo_desta.evaluation.scoring import score_answers, score_file

BULLETS, PARAGRAPHS = "detectable_format:number_bullet_lists", "length_constraints:number_paragraphs"
CAPITAL, LOWER = "change_case:english_capital", "change_case:english_lowercase"
REPEAT, JSON = "combination:repeat_prompt", "detectable_format:json_format"

# A script of the same form as script/llm_evaluation.py, with other words.
SCRIPT = '''
def ask(data, instruction, label, model_response):
    if data["metric"] == "accuracy":
        assert label
        system_prompt = f"""Right or wrong? {{}}
"""
        content = f"""Q: {instruction}\\nGold: {label}\\nA: {model_response}"""
    elif data["metric"] == "wer":
        system_prompt = f"""Cut it out."""
        content = f"""Q: {instruction}\\nA: {model_response}"""
    elif data["metric"] == "cot":
        system_prompt = "Does it reason?"
        content = f"""In: {instruction}\\nA: {model_response}"""
    raise SystemExit("this file must not be run")
'''

ROWS: dict[str, list[dict[str, Any]]] = {
    "closed_ended_questions": [
        {
            "id": 0, "audio_filepath": "ASR/x.flac", "textual_audio": "hello", "instruction": "Write it.\nAll caps.",
            "dataset": "ASR", "metric": "wer", "instruction_id_list": [CAPITAL], "kwargs": [{}], "label": "HELLO WORLD",
        },
        {
            "id": 1, "audio_filepath": "SER/y.wav", "textual_audio": "hm", "instruction": "Mood?\nAs JSON.",
            "dataset": "SER", "metric": "accuracy", "instruction_id_list": [JSON], "kwargs": [{}], "label": "sad",
        },
    ],
    "creative_writing": [
        {
            "id": 934, "key": "bullet-points-0", "audio_filepath": "SER/y.wav", "textual_audio": "hm",
            "instruction": "2 bullet points.", "dataset": "SER", "metric": "open", "instruction_id_list": [BULLETS],
            "kwargs": [{"num_bullets": 2}],
        },
    ],
    "chain-of-thought": [
        {"audio_filepath": "SER/y.wav", "textual_audio": "hm", "instruction": "A?\nThink.", "dataset": "SER", "metric": "cot"},
        {"audio_filepath": "SER/y.wav", "textual_audio": "hm", "instruction": "B?\nThink.", "dataset": "SER", "metric": "cot"},
    ],
    "closed_ended_questions-woprompt": [
        {
            "id": 1, "audio_filepath": "SER/y.wav", "textual_audio": "hm", "instruction": "Mood?", "dataset": "SER",
            "metric": "accuracy", "label": "sad",
        },
    ],
}  # fmt: skip
OLD_NAMES = {
    "closed_ended_questions": "close",
    "creative_writing": "open",
    "closed_ended_questions-woprompt": "close-woprompt",
}
RESPONSES = {
    "closed/0": "HELLO",
    "closed/1": "sad",
    "creative/934": "• a\n2. b",
    "cot/SER/y": "So, a.",
    "cot/SER/y#2": "b",
}


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_clone(root: Path, old: bool = False, audio: bool = False) -> Path:
    for name, rows in ROWS.items():
        if old:
            rows = [{("seed_transcript" if k == "textual_audio" else k): v for k, v in row.items()} for row in rows]
        write(root / "data" / "eval_data" / f"{OLD_NAMES.get(name, name) if old else name}.jsonl", rows)
    (root / "script").mkdir()
    (root / "script" / "llm_evaluation.py").write_text(SCRIPT)
    for row in (row for rows in ROWS.values() for row in rows) if audio else ():
        path = root / "data" / "audios" / row["audio_filepath"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def make_outputs(folder: Path, verdicts: Sequence[str] = ("Result: YES", "Result: NO"), parts: int = 3) -> Path:
    """outputs/<model> with rule reports and the judge's report on chain of thought."""
    responses = iter(RESPONSES.values())
    for name in list(ROWS)[:parts]:
        rows = [{**row, "messages": [], "response": next(responses)} for row in ROWS[name]]
        write(folder / f"{name}.jsonl", rows)
        if name == "chain-of-thought":
            told = [{**r, "eval_response": v, "correct": "YES" in v} for r, v in zip(rows, verdicts, strict=True)]
            write(folder / "reports" / f"llm_eval@{name}.jsonl", told)
        else:
            kept = [
                {**r, "follow_instruction_list": [i != 1], "follow_all_instructions": i != 1}
                for i, r in enumerate(rows)
            ]
            write(folder / "reports" / f"rule_eval@{name}.jsonl.jsonl", kept)
    return folder


class FakeJudge:
    """Answers by what is in the prompt."""

    model = "gpt-4o-2024-11-20"

    def __init__(self, reply: str = "Result: YES", error: str | None = None) -> None:
        self.reply, self.error, self.asked = reply, error, []

    def ask(self, prompts: Sequence[JudgePrompt]) -> list[Reply]:
        self.asked += prompts
        return [Reply(error=self.error) if self.error else Reply((self.reply,)) for _ in prompts]

    def describe(self) -> dict[str, Any]:
        return {"model": self.model}


def score(answers: Sequence[Answer], judge: Any = None, clone: Path | None = None, **options: str) -> Scores:
    texts = protocol(clone) if clone else {}
    return score_answers(BENCHMARK, answers, Context(BENCHMARK.rules[0], judge, None, texts, options))


def value(scores: Scores, name: str, group: str = "all") -> float:
    found = scores.find(name, group)
    assert found is not None
    return found.value


@pytest.mark.parametrize(
    ("name", "kwargs", "response", "right"),
    [
        pytest.param(BULLETS, {"num_bullets": 4}, "* a\n- b\n• c\n4. d", True, id="bullets: asterisk, dash, dot, digit"),
        pytest.param(BULLETS, {"num_bullets": 2}, r"* a\n* b", True, id="bullets: backslash n is a line break"),
        pytest.param(BULLETS, {"num_bullets": 1}, "* a\n\t+ b", True, id="bullets: a plus sign is none"),
        pytest.param(BULLETS, {"num_bullets": 1}, "• a\n**b**", True, id="bullets: bold text is none"),
        pytest.param(BULLETS, {"num_bullets": 1}, "• a\n2 b", False, id="bullets: any line that begins with a digit"),
        pytest.param(PARAGRAPHS, {"num_paragraphs": 2}, "a\n\n\nb\n", True, id="paragraphs: any run of line breaks parts"),
        pytest.param(PARAGRAPHS, {"num_paragraphs": 2}, "a\nb", True, id="paragraphs: one line break, too"),
        pytest.param(PARAGRAPHS, {"num_paragraphs": 2}, "a *** b", True, id="paragraphs: three asterisks in a line"),
        pytest.param(PARAGRAPHS, {"num_paragraphs": 2}, "a\n \nb", False, id="paragraphs: a line of blanks inside fails"),
        pytest.param(PARAGRAPHS, {"num_paragraphs": 1}, "***\na", True, id="paragraphs: an empty first part is not counted"),
        pytest.param(CAPITAL, {}, "DAS IST GUT, 5", True, id="capitals: in any language"),
        pytest.param(CAPITAL, {}, "SO /eɪ/", False, id="capitals: phonetic letters are lower case"),
        pytest.param(CAPITAL, {}, "5", False, id="capitals: one at least"),
        pytest.param(LOWER, {}, "das ist gut.", True, id="lower case: in any language"),
        pytest.param(REPEAT, {"prompt_to_repeat": "Answer:"}, "\"answer: x\"", True, id="repeat: after a double quote"),
        pytest.param(REPEAT, {"prompt_to_repeat": "Answer:"}, "'\"ANSWER: x", True, id="repeat: after both quotes"),
        pytest.param(REPEAT, {"prompt_to_repeat": "Answer:"}, "**Answer:** x", False, id="repeat: not after asterisks"),
        pytest.param(JSON, {}, "```json\n{}\n```", True, id="json: as Google's"),
        pytest.param(JSON, {}, "  ", False, id="an empty response follows nothing"),
    ],
)  # fmt: skip
def test_the_strict_rule_at_its_edge(name: str, kwargs: dict[str, Any], response: str, right: bool) -> None:
    assert follows(name, kwargs, response) is right


def test_the_13_instructions_stand_in_the_seven_groups_of_the_report() -> None:
    assert len(GROUPS) == 13
    assert set(GROUPS.values()) == {
        "bullet_lists", "length_constraints", "keywords", "change_case", "json_format", "wrapping", "startend",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        pytest.param("Result: YES", True, id="as asked for"),
        pytest.param("It does.\nresult:\nno.", False, id="case, and any one blank"),
        pytest.param("Result: NO. Or Result: YES", False, id="the first counts"),
        pytest.param("Result: Yesterday", True, id="what begins with yes is yes"),
        pytest.param("Result:  YES", None, id="two blanks are none"),
        pytest.param("Result:**YES**", None, id="bold text without a blank is none"),
        pytest.param("**Result:** YES", None, id="asterisks after the colon are none"),
        pytest.param("Result: <YES>", None, id="the brackets of the format are none"),
        pytest.param("YES", None, id="without the word result"),
    ],
)
def test_the_verdict_is_read_as_the_official_script_reads_it(reply: str, said: bool | None) -> None:
    assert verdict(reply) is said


@settings(max_examples=50)
@given(st.text(max_size=20), st.sampled_from(["yes", "NO", "Yes"]), st.text(max_size=20))
def test_a_verdict_is_found_wherever_it_stands(before: str, word: str, after: str) -> None:
    assert verdict(before.replace(":", "") + "\nResult: " + word + after) is (word.lower() == "yes")


def test_prompts_are_read_out_of_the_clone_and_nothing_of_it_is_run(tmp_path: Path) -> None:
    texts = protocol(make_clone(tmp_path))
    assert texts["accuracy_system"] == "Right or wrong? {}\n"
    assert texts["accuracy_user"] == "Q: {instruction}\nGold: {label}\nA: {model_response}"
    assert texts["cot_system"] == "Does it reason?"
    assert texts["wer_user"] == "Q: {instruction}\nA: {model_response}"


def test_a_clone_without_a_prompt_is_refused(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    (clone / "script" / "llm_evaluation.py").write_text(SCRIPT.replace('"cot"', '"other"'))
    with pytest.raises(EvaluationError, match=r"cot_system, cot_user are not there"):
        protocol(clone)


def test_places_in_a_response_are_not_filled_in() -> None:
    fields = {"metric": "cot", "instruction": "A?\nThink."}
    asked = prompt(
        fields, "{instruction} {label}", {"cot_system": "S", "cot_user": "{instruction}|{model_response}"}, "whole"
    )
    assert asked == JudgePrompt((("system", "S"), ("user", "A?\nThink.|{instruction} {label}")))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("inside", ["", "data", "data/eval_data"])
def test_a_clone_is_read_by_its_names_old_and_new(tmp_path: Path, old: bool, inside: str) -> None:
    data = BENCHMARK.load(make_clone(tmp_path, old, audio=True) / inside, tmp_path)
    assert [i.id for i in data.items] == [*RESPONSES, "closed_woprompt/1"]
    assert [i.kind for i in data.items] == ["closed"] * 2 + ["creative"] + ["cot"] * 2 + ["closed_woprompt"]
    assert {i.text for i in data.items} == {"hello", "hm"}
    assert all((data.root / a).is_file() for i in data.items for a in i.audios)
    assert set(data.protocol) == {f"{q}_{t}" for q in ("cot", "accuracy", "wer") for t in ("system", "user")}
    assert data.known_as is None
    assert len(data.notes) == 1
    assert "closed 2 (published: 933)" in data.notes[0]


def test_missing_audio_is_a_note_with_a_count_and_a_place_to_fetch_it_from(tmp_path: Path) -> None:
    data = BENCHMARK.load(make_clone(tmp_path), tmp_path)
    assert any("6 of 6 audio files" in note and "audios.tar" in note for note in data.notes)


def test_a_transcript_that_a_row_lacks_is_taken_from_the_file_beside(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    row = {k: v for k, v in ROWS["chain-of-thought"][0].items() if k != "textual_audio"}
    write(clone / "data" / "eval_data" / "chain-of-thought.jsonl", [row])
    (clone / "data" / "audio_id2seed_transcript.json").write_text('{"SER/y.wav": "from beside"}')
    assert BENCHMARK.load(clone, tmp_path, ["cot"]).items[0].text == "from beside"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"audio_filepath": "../x.wav"}, "leaves the data root"),
        ({"metric": "bleu"}, "metric must be one of"),
        ({"instruction_id_list": [CAPITAL, JSON]}, "lists of one entry each"),
        ({"kwargs": [None]}, "must be an object"),
        ({"label": None}, "'label' must be text"),
        ({"instruction": 5}, "'instruction' must be text"),
        ({"instruction_id_list": []}, "a row of the part closed_woprompt in the file of the part closed"),
    ],
)
def test_rows_of_another_form_are_named_with_their_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    clone = make_clone(tmp_path)
    first, second = ROWS["closed_ended_questions"]
    write(clone / "data" / "eval_data" / "closed_ended_questions.jsonl", [first, {**second, **change}])
    with pytest.raises(EvaluationError, match=rf"closed_ended_questions\.jsonl:2.*{said}"):
        BENCHMARK.load(clone, tmp_path)


def test_ids_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    write(clone / "data" / "eval_data" / "creative_writing.jsonl", ROWS["creative_writing"] * 2)
    with pytest.raises(EvaluationError, match="creative/934"):
        BENCHMARK.load(clone, tmp_path)


def test_a_folder_without_questions_says_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="git clone"):
        BENCHMARK.load(tmp_path, tmp_path)


def test_outputs_and_reports_of_a_model_come_together(tmp_path: Path) -> None:
    answers = {a.id: a for a in BENCHMARK.read(make_outputs(tmp_path))}
    assert {i: a.response for i, a in answers.items()} == RESPONSES
    assert answers["closed/0"].judged == {"follow_instruction_list": [True]}
    assert answers["cot/SER/y#2"].judged == {"eval_response": "Result: NO", "correct": False}


def test_a_single_report_can_be_read_alone(tmp_path: Path) -> None:
    make_outputs(tmp_path)
    answers = BENCHMARK.read(tmp_path / "reports" / "llm_eval@chain-of-thought.jsonl")
    assert [(a.response, a.judged["eval_response"]) for a in answers] == [
        ("So, a.", "Result: YES"),
        ("b", "Result: NO"),
    ]


def test_a_missing_response_is_an_answer_without_one(tmp_path: Path) -> None:
    write(tmp_path / "open.jsonl", ROWS["creative_writing"])
    assert [a.response for a in BENCHMARK.read(tmp_path)] == [None]


@pytest.mark.parametrize(
    ("key", "said"), [("response", "another response to cot/SER/y "), ("eval_response", "another eval_response")]
)
def test_files_of_different_runs_in_one_folder_are_refused(tmp_path: Path, key: str, said: str) -> None:
    make_outputs(tmp_path)
    told = (tmp_path / "reports" / "llm_eval@chain-of-thought.jsonl").read_text().splitlines()
    write(tmp_path / "reports" / "tmp" / "chain-of-thought.jsonl", [{**json.loads(told[0]), key: "other"}])
    with pytest.raises(EvaluationError, match=said):
        BENCHMARK.read(tmp_path)


def test_ifrate_is_the_mean_of_three_parts(tmp_path: Path) -> None:
    scores = score(BENCHMARK.read(make_outputs(tmp_path)))
    assert scores.headline.name == "if_rate"
    # closed: capitals yes, JSON no; creative: a dot and a digit are two bullets; cot: YES and NO
    assert [value(scores, n) for n in ("closed", "creative", "cot")] == [50.0, 100.0, 50.0]
    assert value(scores, "if_rate") == pytest.approx(200 / 3)
    assert value(scores, "followed", "group=change_case") == 100.0
    assert value(scores, "followed", f"instruction={JSON}") == 0.0
    assert (scores.headline.n, scores.counts["items"], scores.counts["unjudged"]) == (5, 5, 0)
    assert any("3 of 3 agree with ours" in note for note in scores.notes)


def test_a_rule_verdict_of_the_file_that_differs_is_told(tmp_path: Path) -> None:
    other = {"follow_instruction_list": [False]}
    scores = score(
        [replace(a, judged=other) if a.id == "closed/0" else a for a in BENCHMARK.read(make_outputs(tmp_path))]
    )
    assert value(scores, "closed") == 50.0  # ours counts
    assert any("2 of 3 agree with ours (first: closed/0)" in note for note in scores.notes)


def test_without_verdicts_ifrate_is_not_defined_and_the_other_parts_are(tmp_path: Path) -> None:
    scores = score([replace(a, judged=None) for a in BENCHMARK.read(make_outputs(tmp_path))])
    assert np.isnan(value(scores, "if_rate"))
    assert np.isnan(value(scores, "cot"))
    assert value(scores, "closed") == 50.0
    assert scores.counts["unjudged"] == 2
    assert any("2 chain-of-thought answers have no verdict" in note for note in scores.notes)


def test_a_part_that_is_not_there_leaves_ifrate_undefined(tmp_path: Path) -> None:
    scores = score(BENCHMARK.read(make_outputs(tmp_path, parts=2)))
    assert np.isnan(value(scores, "if_rate"))
    assert any("no answers of cot" in note for note in scores.notes)


def test_the_judge_is_asked_what_the_file_does_not_tell(tmp_path: Path) -> None:
    answers = [
        replace(a, judged=None) if a.id == "cot/SER/y" else a for a in BENCHMARK.read(make_outputs(tmp_path / "o"))
    ]
    judge = FakeJudge()
    scores = score(answers, judge, make_clone(tmp_path / "c"))
    assert judge.asked == [JudgePrompt((("system", "Does it reason?"), ("user", "In: A?\nThink.\nA: So, a.")))]
    assert value(scores, "cot") == 50.0
    assert scores.judge == {"model": judge.model}


def test_a_judge_without_the_benchmarks_prompts_is_an_error(tmp_path: Path) -> None:
    answers = [replace(a, judged=None) for a in BENCHMARK.read(make_outputs(tmp_path))]
    with pytest.raises(EvaluationError, match=r"script/llm_evaluation\.py"):
        score(answers, FakeJudge())


def test_an_unreadable_verdict_counts_as_not_followed_and_is_counted(tmp_path: Path) -> None:
    scores = score(BENCHMARK.read(make_outputs(tmp_path, ("Result: YES", "Result:**YES**"))))
    assert (value(scores, "cot"), scores.counts["unparsed"]) == (50.0, 1)
    assert any("stops with an error" in note for note in scores.notes)


def test_a_judge_that_gives_no_reply_is_counted(tmp_path: Path) -> None:
    answers = [replace(a, judged=None) for a in BENCHMARK.read(make_outputs(tmp_path / "o"))]
    scores = score(answers, FakeJudge(error="timed out"), make_clone(tmp_path / "c"))
    assert scores.counts["judge_failed"] == 2


def test_missing_answers_stay_in_the_denominator(tmp_path: Path) -> None:
    clone, outputs = make_clone(tmp_path / "c"), make_outputs(tmp_path / "o")
    write(outputs / "closed_ended_questions.jsonl", [{**ROWS["closed_ended_questions"][0], "response": "HELLO"}])
    (outputs / "reports" / "rule_eval@closed_ended_questions.jsonl.jsonl").unlink()
    scores = score_file("speech_ifeval", outputs, data=BENCHMARK.load(clone, tmp_path))
    assert (value(scores, "closed"), scores.counts["missing"]) == (50.0, 1)
    assert any("count as not followed" in note for note in scores.notes)


@pytest.mark.parametrize(
    ("verdicts", "delta"),
    [
        # ours is (50 + 100 + 50) / 3 = 66.67; theirs (50 + 100 + 100) / 3 = 83.33, the same, (50 + 100 + 0) / 3 = 50
        pytest.param(("Result: YES", "Result: YES"), -20.0, id="a fifth is forgotten"),
        pytest.param(("Result: YES", "Result: NO"), 0.0, id="nothing is"),
        pytest.param(("Result: NO", "Result: NO"), 100 / 3, id="a third is gained"),
    ],
)
def test_delta_is_the_relative_change_against_the_reference(
    tmp_path: Path, verdicts: tuple[str, str], delta: float
) -> None:
    reference = tmp_path / "scores.json"
    write_scores(reference, score(BENCHMARK.read(make_outputs(tmp_path / "llm", verdicts))))
    scores = score(BENCHMARK.read(make_outputs(tmp_path / "slm")), reference=str(reference))
    found = scores.find("delta")
    assert found is not None
    assert found.value == pytest.approx(delta)
    assert found.low <= found.value <= found.high
    if delta == 0.0:
        assert found.low == found.high == 0.0  # the same questions are drawn for both


def test_where_nothing_varies_delta_has_no_width(tmp_path: Path) -> None:
    def answered(responses: Mapping[str, str]) -> list[Answer]:
        found = BENCHMARK.read(make_outputs(tmp_path / "o", ("Result: YES", "Result: YES")))
        return [replace(a, response=responses.get(a.id, a.response)) for a in found]

    reference = tmp_path / "scores.json"
    write_scores(reference, score(answered({"closed/0": "hello", "closed/1": "sad"})))  # (0 + 100 + 100) / 3
    found = score(answered({"closed/1": "{}"}), reference=str(reference)).find("delta")  # 100
    assert found is not None
    assert [found.value, found.low, found.high] == pytest.approx([50.0, 50.0, 50.0])


def test_a_reference_without_ifrate_is_refused(tmp_path: Path) -> None:
    answers = [replace(a, judged=None) for a in BENCHMARK.read(make_outputs(tmp_path / "llm"))]
    write_scores(tmp_path / "scores.json", score(answers))
    with pytest.raises(EvaluationError, match="holds no IFrate"):
        score(answers, reference=str(tmp_path / "scores.json"))


@pytest.mark.parametrize("options", [{"task_instruction": "second-line"}, {"tasks": "maybe"}, {"refrence": "x"}])
def test_options_of_another_name_or_value_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(EvaluationError, match="option"):
        score([], **options)


def task_answers(tmp_path: Path) -> list[Answer]:
    row = ROWS["closed_ended_questions-woprompt"][0]
    write(tmp_path / "a.jsonl", [{**row, "response": "Sad.\nVery."}])
    write(tmp_path / "b.jsonl", [{**ROWS["closed_ended_questions"][1], "response": "sad"}])
    return BENCHMARK.read(tmp_path / "a.jsonl") + BENCHMARK.read(tmp_path / "b.jsonl")


@pytest.mark.parametrize(("shown", "with_constraint"), [("first-line", "Mood?"), ("whole", "Mood?\nAs JSON.")])
def test_the_task_judge_is_shown_the_first_line_as_in_the_committed_judgements_or_the_whole(
    tmp_path: Path, shown: str, with_constraint: str
) -> None:
    judge = FakeJudge()
    scores = score(task_answers(tmp_path / "o"), judge, make_clone(tmp_path / "c"), tasks="yes", task_instruction=shown)
    users = [p.messages[1][1] for p in judge.asked]
    assert users == ["Q: Mood?\nGold: sad\nA: Sad.\nVery.", f"Q: {with_constraint}\nGold: sad\nA: sad"]
    for word in ("with", "without"):
        assert value(scores, "task_accuracy", f"dataset=SER, constraint={word}") == 100.0
    assert {i.id: i.outcome for i in scores.items} == {"closed_woprompt/1": "right", "closed/1": "wrong"}


def test_without_the_option_no_task_is_judged(tmp_path: Path) -> None:
    judge = FakeJudge()
    assert score(task_answers(tmp_path), judge).find("task_accuracy") is None
    assert judge.asked == []


def test_word_errors_are_those_of_the_corpus_after_whispers_basic_normaliser(tmp_path: Path) -> None:
    base = {**ROWS["closed_ended_questions"][0], "response": "It is: HUMPTY-DUMPTY FELL <down>."}
    rows = [
        {**base, "id": 0, "label": "HUMPTY DUMPTY FELL DOWN", "eval_response": "HUMPTY-DUMPTY FELL <down>."},
        {**base, "id": 1, "label": "NO", "eval_response": "Yes"},
    ]
    write(tmp_path / "llm_eval@closed.jsonl", rows)
    scores = score(BENCHMARK.read(tmp_path))
    group = "dataset=ASR, constraint=with"
    assert value(scores, "task_wer", group) == pytest.approx(20.0)  # one wrong word of five
    assert value(scores, "task_wer_mean", group) == pytest.approx(50.0)  # (0 + 1) / 2
    assert value(scores, "task_cer", group) == pytest.approx(100 * 3 / 25)  # "no" to "yes": three of 25 characters
    assert any("1 transcripts of the judge do not stand in the response" in note for note in scores.notes)


def test_a_gold_transcript_without_a_word_is_named(tmp_path: Path) -> None:
    row = {**ROWS["closed_ended_questions"][0], "label": "<>", "response": "Yes", "eval_response": "Yes"}
    write(tmp_path / "llm_eval@closed.jsonl", [row])
    with pytest.raises(EvaluationError, match=r"hold no word \(first: closed/0\)"):
        score(BENCHMARK.read(tmp_path))
