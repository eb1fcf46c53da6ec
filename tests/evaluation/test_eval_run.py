"""`nemo-desta eval run` whole: predictions, scores, forgetting and report, by one command that can be stopped."""

import json
from pathlib import Path

import pytest

from nemo_desta.configs import load_config
from nemo_desta.errors import ConfigError, EvaluationError
from nemo_desta.evaluation.predicting import model as model_module
from nemo_desta.evaluation.predicting import untouched as untouched_module
from nemo_desta.evaluation.predicting.answering import Said
from nemo_desta.evaluation.run import SCHEMA, Evaluation, run
from nemo_desta.evaluation.scores import read_scores
from tests import tiny
from tests.evaluation.sakura_clone import ROWS, make_clone
from tests.evaluation.test_speech_ifeval import FakeJudge
from tests.evaluation.test_speech_ifeval import make_clone as make_speech_clone

PREDICTORS = ("desta", "backbone", "cascade", "oracle")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.shared().save_pretrained(folder / "frozen")
    tiny.build(lora={}).save_pretrained(folder / "tuned")
    return folder


@pytest.fixture
def evaluate(models: Path, tmp_path: Path, monkeypatch):
    """Run the whole evaluation on two animal clips; the output folder."""
    monkeypatch.setattr(model_module.LocalModel, "transcribe", lambda self, samples: "hello")
    clone = make_clone(tmp_path / "SAKURA", {"Animal": ROWS["Animal"]})

    def go(*overrides: str, model: str = "frozen") -> Path:
        values = [
            f"model={models / model}", f"output_dir={tmp_path / 'out'}", f"benchmarks.sakura.data={clone}", "batch_size=4",
            "benchmarks.sakura.max_new_tokens=6", "benchmarks.sakura.rule=choice-match", *overrides,
        ]  # fmt: skip
        run(load_config("desta_eval", values, schema=SCHEMA))
        return tmp_path / "out"

    return go


def test_one_command_leaves_predictions_scores_and_a_report(evaluate) -> None:
    out = evaluate()
    for name in PREDICTORS:
        scores = read_scores(out / "sakura" / name / "scores.json")
        assert scores.predictor["name"] == name
        assert scores.counts["items"] == 4
        assert scores.data["version"] is not None
    page, markdown = (out / "report.html").read_text(), (out / "report.md").read_text()
    for name in (*PREDICTORS, "chance"):
        assert name in page.lower() and name in markdown.lower()


def test_a_frozen_backbone_answers_text_as_before(evaluate) -> None:
    kept = json.loads((evaluate("predictors=[oracle]") / "sakura" / "forgetting" / "forgetting.json").read_text())
    assert (kept["without_audio"]["identical"], kept["without_audio"]["n"]) == (4, 4)
    assert list(kept) == ["without_audio"]


def test_a_frozen_backbone_that_answers_otherwise_ends_the_run(evaluate, monkeypatch) -> None:
    monkeypatch.setattr(untouched_module.TextLLM, "answer", lambda self, asked, _: [Said("as before") for _ in asked])
    with pytest.raises(EvaluationError, match="the backbone is frozen"):
        evaluate("predictors=[oracle]")


def test_with_lora_the_adapter_is_measured_on_text_too(evaluate) -> None:
    out = evaluate("predictors=[oracle]", model="tuned")
    kept = json.loads((out / "sakura" / "forgetting" / "forgetting.json").read_text())
    assert kept["without_audio"]["identical"] == 4  # without audio the adapter is off
    assert kept["adapter_on"]["identical"] < 4
    assert 0 <= kept["adapter_on"]["scores"]["overall"]["p_value"] <= 1
    for report in ("report.html", "report.md"):
        assert "Its language model with the adapter on" in (out / report).read_text()


def test_a_second_run_asks_nothing_again(evaluate, monkeypatch) -> None:
    evaluate()
    monkeypatch.setattr(model_module.LocalModel, "answer", lambda *_: pytest.fail("asked again"))
    monkeypatch.setattr(untouched_module.TextLLM, "answer", lambda *_: pytest.fail("asked again"))
    evaluate()


def test_a_rule_that_needs_a_judge_is_told_before_anything_is_asked(evaluate, monkeypatch) -> None:
    monkeypatch.setattr(model_module.LocalModel, "answer", lambda *_: pytest.fail("asked"))
    with pytest.raises(ConfigError, match=r"benchmarks\.sakura\.rule=choice-match"):
        evaluate("benchmarks.sakura.rule=judge")


def test_a_part_of_the_questions_is_told_beside_the_scores(evaluate) -> None:
    out = evaluate("benchmarks.sakura.limit=2", "predictors=[backbone]", "forgetting=0")
    scores = read_scores(out / "sakura" / "backbone" / "scores.json")
    assert scores.counts["items"] == 2
    assert any(n.startswith("ONLY A PART") for n in scores.notes)
    assert not (out / "sakura" / "forgetting").exists()


def test_speech_ifevals_delta_is_against_the_oracle_of_the_same_run(models: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(model_module.LocalModel, "transcribe", lambda self, samples: "hello")
    monkeypatch.setattr(Evaluation, "judge", FakeJudge("Result: YES"))
    clone = make_speech_clone(tmp_path / "Speech-IFEval")
    for clip in ("ASR/x.flac", "SER/y.wav"):
        tiny.write_clip(clone / "data" / "audios" / clip, 0.5)
    values = [
        f"model={models / 'frozen'}", f"output_dir={tmp_path / 'out'}", f"benchmarks.speech_ifeval.data={clone}", "forgetting=0",
        "benchmarks.speech_ifeval.max_new_tokens=4", "predictors=[desta,oracle]",
    ]  # fmt: skip
    run(load_config("desta_eval", values, schema=SCHEMA))
    desta, oracle = (read_scores(tmp_path / "out" / "speech_ifeval" / p / "scores.json") for p in ("desta", "oracle"))
    ours, theirs = desta.headline.value, oracle.headline.value
    assert desta.find("delta").value == pytest.approx(100 * (ours - theirs) / theirs)
    assert oracle.find("delta") is None
    sent = json.loads((tmp_path / "out" / "speech_ifeval" / "oracle" / "predictions.jsonl").read_text().splitlines()[0])
    assert [m["content"] for m in sent["messages"]] == [
        "Follow the given instructions.",
        "Speech Input: hello\n\nWrite it.\nAll caps.",
    ]
