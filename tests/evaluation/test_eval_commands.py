"""`nemo-desta eval prepare|score|rules|compare` as a user meets them."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from nemo_desta.cli import console
from nemo_desta.errors import DeSTAError, EvaluationError
from nemo_desta.evaluation.benchmarks import BENCHMARKS, get_benchmark
from nemo_desta.evaluation.prepared import load_data, prepare
from nemo_desta.evaluation.scores import read_scores
from tests.evaluation.judge_server import Response, serve, yes
from tests.evaluation.sakura_clone import ROWS, make_clone


def call(*arguments: str | Path):
    return CliRunner().invoke(console, ["eval", *map(str, arguments)], obj={"debug": False})


def told(*arguments: str | Path) -> str:
    """What a command that must succeed prints."""
    done = call(*arguments)
    if done.exception:
        raise done.exception
    return done.output


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_says_what_to_download_and_lists_its_rules(name: str) -> None:
    assert len(told("prepare", name)) > 60
    rules = get_benchmark(name).rules
    lines = told("rules", name).splitlines()
    assert len(lines) == len(rules)
    assert lines[0].startswith(f"{rules[0].name} (default), official")


def test_a_download_is_checked_and_counted(tmp_path: Path) -> None:
    text = told("prepare", "sakura", make_clone(tmp_path / "SAKURA"))
    assert "sakura: 6 questions, 3 clips" in text
    assert "Track Gender is not there." in text


def test_a_prepared_folder_stands_for_the_download(tmp_path: Path) -> None:
    clone, out = make_clone(tmp_path / "SAKURA"), tmp_path / "prepared"
    assert "benchmarks.sakura.data" in told("prepare", "sakura", clone, out)
    benchmark = get_benchmark("sakura")
    direct, prepared = (load_data(benchmark, source, tmp_path / "work") for source in (clone, out))
    assert prepared == direct
    assert [i.subset for i in load_data(benchmark, out, out, ["Emotion"]).items] == ["Emotion"] * 2


def test_a_prepared_folder_that_was_changed_by_hand_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "prepared"
    prepare(get_benchmark("sakura"), make_clone(tmp_path / "SAKURA"), out)
    items = out / "items.jsonl"
    items.write_text(items.read_text().replace("(b) dog", "(a) cat"))
    with pytest.raises(EvaluationError, match="not what `eval prepare` wrote"):
        load_data(get_benchmark("sakura"), out, out)
    with pytest.raises(EvaluationError, match="was prepared for 'sakura', not for mmau"):
        load_data(get_benchmark("mmau"), out, out)


def test_a_folder_that_is_not_there_is_told_with_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(DeSTAError, match="does not exist. SAKURA: git clone"):
        told("prepare", "sakura", tmp_path / "gone")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A result file of SAKURA: one right, one wrong."""
    said = {"dog.wav": "It is (b) dog.", "cat.wav": "It is (b) dog."}
    rows = {
        f"data/Animal/audio/{r[0]}": {"instruction": r[2], "label": r[3], "response": said[r[0]]}
        for r in ROWS["Animal"]
    }
    path = tmp_path / "results" / "model.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"attribute": "Animal", "type": "single", "results": rows}))
    return path


def test_score_prints_a_table_and_writes_scores_that_can_be_read_back(results: Path, tmp_path: Path) -> None:
    text = told("score", "sakura", results, "--rule", "choice-match", "--json", tmp_path / "deep" / "s.json")
    assert "accuracy" in text and "50.00" in text and "NOT THE OFFICIAL FIGURE" in text
    scores = read_scores(tmp_path / "deep" / "s.json")
    assert scores.headline.value == 50
    assert scores.rule["name"] == "choice-match"
    assert scores.predictor["name"] == "model"
    assert scores.data["version"] is None and len(scores.data["answers"]) == 64


def test_scores_that_lie_among_the_answers_are_no_answers(results: Path) -> None:
    arguments = ("score", "sakura", results.parent, "--rule", "choice-match", "--json", results.parent / "mine.json")
    assert told(*arguments) == told(*arguments)


def test_with_the_questions_what_is_missing_counts_as_wrong(results: Path, tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "SAKURA", {"Animal": ROWS["Animal"]})
    told("score", "sakura", results, "--rule", "choice-match", "--data", clone, "--json", tmp_path / "s.json")
    scores = read_scores(tmp_path / "s.json")
    assert (scores.counts["items"], scores.counts["missing"]) == (4, 2)
    assert scores.headline.value == 25
    assert scores.data["version"] == load_data(get_benchmark("sakura"), clone, tmp_path).version


def test_a_pinned_version_is_held_to(results: Path, tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "SAKURA", {"Animal": ROWS["Animal"]})
    version = load_data(get_benchmark("sakura"), clone, tmp_path).version
    arguments = ("score", "sakura", results, "--rule", "choice-match", "--data", clone, "--data-version")
    assert "25.00" in told(*arguments, version[:12])
    with pytest.raises(EvaluationError, match=f"content hash {version}, 0000 is asked for"):
        told(*arguments, "0000")


def test_a_judge_is_asked_once_and_its_raw_replies_are_kept(results: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    clone = make_clone(tmp_path / "SAKURA", {"Animal": ROWS["Animal"]})

    def verdict(body: dict, _: int) -> Response:
        right = "Gold (b) dog" in body["messages"][-1]["content"]
        return yes(body, f"Explanation: x\nJudgement: {'correct' if right else 'incorrect'}")

    with serve(verdict) as server:
        arguments = (
            "score",
            "sakura",
            results,
            "--protocol",
            clone,
            "--judge",
            f"openai:gpt-4o-2024-11-20@{server.url}",
        )
        first, _ = (told(*arguments, "--json", tmp_path / f"{i}.json") for i in range(2))
        assert len(server.bodies) == 2
    assert "50.00" in first
    assert read_scores(tmp_path / "0.json").items == read_scores(tmp_path / "1.json").items
    assert "sk-secret" not in "".join(p.read_text() for p in tmp_path.rglob("*") if p.suffix in (".json", ".jsonl"))
    cache = results.parent / ".judge_replies.jsonl"
    shutil.copy(cache, tmp_path / "kept.jsonl")
    cache.unlink()
    replayed = told("score", "sakura", results, "--protocol", clone, "--judge", f"replay:{tmp_path / 'kept.jsonl'}")
    assert "50.00" in replayed


def test_a_judge_that_does_not_answer_is_an_error_until_it_is_allowed_for(results: Path, tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "SAKURA", {"Animal": ROWS["Animal"]})
    (tmp_path / "none.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": "Else?"}], "reply": "No."}) + "\n"
    )
    arguments = ("score", "sakura", results, "--protocol", clone, "--judge", f"replay:{tmp_path / 'none.jsonl'}")
    with pytest.raises(EvaluationError, match="no reply for 2 of 2 answers"):
        told(*arguments)
    assert "judge_failed 2" in told(*arguments, "--max-judge-failed", "2")


def test_mistyped_names_are_told_with_the_nearest_one(results: Path) -> None:
    for arguments, hint in (
        (("score", "sakora", results), "did you mean 'sakura'"),
        (("score", "sakura", results, "--rule", "choice"), "choice-match"),
        (("score", "sakura", results, "--rule", "choice-match", "--option", "x"), "NAME=VALUE"),
        (("score", "sakura", results.parent / "gone"), "does not exist"),
    ):
        with pytest.raises(DeSTAError, match=hint):
            told(*arguments)
