"""Recorded replies only, and how a judge is named."""

import json
import socket
from pathlib import Path

import pytest

from nemo_desta.errors import ConfigError, EvaluationError
from nemo_desta.evaluation.judging import JudgePrompt, Reply
from nemo_desta.evaluation.judging.options import JudgeOptions, judge_from_spec
from nemo_desta.evaluation.judging.recorded import question, question_key
from nemo_desta.evaluation.judging.replay import NO_REPLY, ReplayJudge
from tests.evaluation.judge_server import serve
from tests.tiny import write_jsonl

PAIRS = (("system", "You judge."), ("user", "Right?"))
OPENAI_FORM = [{"role": r, "content": t} for r, t in PAIRS]


def prompt(**sampling) -> JudgePrompt:
    return JudgePrompt(PAIRS, **sampling)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch, request):
    if "serve" not in request.node.name:
        monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("somebody is called"))


def test_a_cache_of_ours_serves_as_recording_of_an_endpoint(tmp_path):
    asked = [JudgePrompt((("user", f"q{i}"),), 0.5, 0.95, 64, 3) for i in range(4)]
    with serve() as server:
        first = judge_from_spec(f"openai:m@{server.url}", tmp_path / "r.jsonl").ask(asked)
    again = judge_from_spec(f"replay:{tmp_path / 'r.jsonl'}", tmp_path / "unused.jsonl")
    assert again.ask(asked) == first and again.model == "m"
    assert not (tmp_path / "unused.jsonl").exists()
    assert again.describe() == {
        "engine": "replay",
        "model": "m",
        "file": "r.jsonl",
        "prompts": 4,
        "from_cache": 4,
        "asked": 0,
        "failed": 0,
    }


@pytest.mark.parametrize(
    "row",
    [
        {"messages": OPENAI_FORM, "texts": ["Yes"]},
        {"messages": [list(p) for p in PAIRS], "reply": "Yes"},
        {"messages": OPENAI_FORM, "reply": "Yes", "temperature": 0, "n": 1, "id": 17, "verdict": "x"},
        {"key": question_key(question("unknown", prompt(temperature=0))), "reply": "Yes"},
        {"key": question_key(question("gpt", prompt(temperature=0))), "model": "gpt", "texts": ["Yes"]},
    ],
    ids=["openai-form", "pairs", "foreign-keys", "key", "key-and-model"],
)
def test_recordings_of_others(tmp_path, row):
    judge = ReplayJudge(write_jsonl(tmp_path / "r.jsonl", [row]))
    assert judge.ask([prompt(temperature=0), prompt(temperature=0)]) == [Reply(("Yes",))] * 2
    assert judge.model == row.get("model", "unknown")


def test_a_prompt_without_a_recording_is_an_error_of_its_own_that_is_counted(tmp_path):
    judge = ReplayJudge(write_jsonl(tmp_path / "r.jsonl", [{"messages": OPENAI_FORM, "reply": ""}]))
    other = JudgePrompt((("user", "other"),))
    assert judge.ask([other, prompt(), other]) == [Reply(error=NO_REPLY), Reply(("",)), Reply(error=NO_REPLY)]
    assert (judge.describe()["prompts"], judge.describe()["failed"]) == (2, 1)


@pytest.mark.parametrize(
    ("stated", "fits"), [({"temperature": 0}, True), ({"temperature": 0.5}, False), ({"top_p": None}, False)], ids=str
)
def test_what_a_recording_states_must_fit_the_question(tmp_path, stated, fits):
    judge = ReplayJudge(write_jsonl(tmp_path / "r.jsonl", [{"messages": OPENAI_FORM, "reply": "Yes", **stated}]))
    assert (judge.ask([prompt(temperature=0, top_p=0.9)])[0].error is None) == fits


def test_too_few_replies_are_told_apart_from_none(tmp_path):
    judge = ReplayJudge(write_jsonl(tmp_path / "r.jsonl", [{"messages": OPENAI_FORM, "texts": ["Yes"]}]))
    assert judge.ask([prompt(n=3)])[0].error == ("r.jsonl:1: 1 replies are recorded, 3 are asked for")


def test_replies_of_several_models_must_be_told_apart(tmp_path):
    rows = [{"messages": OPENAI_FORM, "reply": m.upper(), "model": m} for m in ("gpt", "claude")]
    path = write_jsonl(tmp_path / "r.jsonl", rows)
    with pytest.raises(EvaluationError, match="claude, gpt; say which"):
        judge_from_spec(f"replay:{path}", tmp_path)
    assert judge_from_spec(f"replay:{path}@claude", tmp_path).ask([prompt()]) == [Reply(("CLAUDE",))]
    with pytest.raises(EvaluationError, match="holds no replies of 'llama'"):
        judge_from_spec(f"replay:{path}@llama", tmp_path)


def test_a_torn_last_line_is_passed_over_counted_and_left(tmp_path):
    path = write_jsonl(tmp_path / "r.jsonl", [{"messages": OPENAI_FORM, "reply": "Yes"}])
    torn = path.read_bytes() + b'{"messages": [["us'
    path.write_bytes(torn)
    judge = ReplayJudge(path)
    assert judge.ask([prompt()]) == [Reply(("Yes",))] and judge.describe()["torn_lines"] == 1
    assert path.read_bytes() == torn


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("", "holds no replies"),
        ("{x\n{}", r"r\.jsonl:1: is no JSON"),
        ("{}\n", r":1: says neither"),
    ],
    ids=["missing", "empty", "damaged", "nothing-in-it"],
)
def test_files_that_are_no_recordings(tmp_path, content, message):
    path = tmp_path / "r.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(EvaluationError, match=message):
        ReplayJudge(path)


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ("openai:gpt-4o-2024-11-20", {"model": "gpt-4o-2024-11-20", "base_url": None}),
        ("openai:m@http://localhost:8000/v1", {"model": "m", "base_url": "http://localhost:8000/v1"}),
        ("openai:qwen2.5:7b@https://u:p@h/v1", {"model": "qwen2.5:7b", "base_url": "https://u:p@h/v1"}),
        ("openai:@cf/meta/llama@http://h/v1", {"model": "@cf/meta/llama", "base_url": "http://h/v1"}),
        ("openai:claude-3@20240620", {"model": "claude-3@20240620", "base_url": None}),
        ("local:pypi:smollm2-135m-instruct", {"model": "pypi:smollm2-135m-instruct"}),
        ("replay:a@b.jsonl", {"file": "a@b.jsonl", "model": None}),
    ],
)
def test_how_a_judge_is_named(spec, fields):
    options = JudgeOptions.from_spec(spec)
    assert options.engine == spec.partition(":")[0]
    assert {k: getattr(options, k) for k in fields} == fields


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gpt-4o", "must be openai:MODEL"),
        ("openia:gpt-4o", "did you mean 'openai'"),
        ("openai:", "must be openai:MODEL"),
        ("", "must be openai:MODEL"),
        ("openai:m@localhost:8000/v1", "http://HOST:PORT"),
        ("openai:m@gpu7:8000", "http://HOST:PORT"),
    ],
)
def test_names_that_are_none(spec, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        judge_from_spec(spec, tmp_path)


def test_all_mistakes_of_a_section_are_told_at_once():
    with pytest.raises(ConfigError, match="judge") as caught:
        JudgeOptions.parse({"engine": "openai", "modle": "m", "timeout": "long"})
    assert "did you mean 'model'" in str(caught.value) and "timeout: must be float" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        JudgeOptions.parse({"engine": "openai", "concurrency": 0, "timeout": 0, "max_calls": -1})
    assert all(n in str(caught.value) for n in ("model: missing", "concurrency", "timeout", "max_calls"))
    with pytest.raises(ConfigError, match="file: missing"):
        JudgeOptions.parse({"engine": "replay"})
    with pytest.raises(ConfigError, match="batch_size"):
        JudgeOptions("local", "m", batch_size=0).build(Path("r.jsonl"))


def test_a_section_may_name_its_own_cache(tmp_path):
    section = {"engine": "openai", "model": "m", "base_url": "http://h/v1", "cache": str(tmp_path / "mine.jsonl")}
    JudgeOptions.parse(section).build(Path("/nowhere/r.jsonl"))
    assert json.loads((tmp_path / "mine.jsonl").read_text() or "null") is None
