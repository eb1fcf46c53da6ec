"""A model behind an endpoint that takes audio: what is sent, what comes back, what is never written."""

import base64
import io
import json
from pathlib import Path

import pytest
import soundfile

from nemo_desta.configs import load_config
from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.run import SCHEMA, predict_only
from tests.evaluation.judge_server import Response, serve, yes
from tests.evaluation.sakura_clone import ROWS, make_clone


@pytest.fixture
def ask(tmp_path: Path):
    """Predictions of an endpoint for the two animal clips."""
    clone = make_clone(tmp_path / "SAKURA", {"Animal": ROWS["Animal"]})

    def run(url: str, *overrides: str) -> list[dict]:
        values = [
            "model=null", f"output_dir={tmp_path / 'out'}", "predictors=[endpoint]", f"benchmarks.sakura.data={clone}",
            f"endpoint={{base_url: '{url}', model: m, max_retries: 1, timeout: 5}}", *overrides,
        ]  # fmt: skip
        (path,) = predict_only(load_config("desta_eval", values, schema=SCHEMA))
        return [json.loads(line) for line in path.read_text().splitlines()]

    return run


def test_the_clip_is_sent_as_wav_before_the_question(ask, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with serve(lambda body, _: yes(body, "(b) dog")) as server:
        rows = ask(server.url)
    assert [r["response"] for r in rows] == ["(b) dog"] * 4
    audio, text = server.bodies[0]["messages"][-1]["content"]
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(audio["input_audio"]["data"])))
    assert (len(samples), rate, audio["input_audio"]["format"]) == (8000, 16_000, "wav")
    assert text["text"].startswith(("Which animal?", "What does it do?"))
    assert server.bodies[0]["temperature"] == 0


def test_the_key_is_written_nowhere(ask, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with serve() as server:
        ask(server.url.replace("http://", "http://user:pass@"))
    written = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert written
    assert not any(word in p.read_text() for p in written for word in ("sk-secret", "pass@"))


def test_what_fails_is_asked_again_and_what_is_answered_is_not(ask) -> None:
    def moody(body: dict, times: int) -> Response:
        bark = "bark" in str(body["messages"])
        return Response(500, {"error": "no"}) if bark and times < 2 else yes(body, "x")

    with serve(moody) as server:
        with pytest.raises(EvaluationError, match=r"2 of 4 questions failed .*answered 500"):
            ask(server.url)
        before = len(server.bodies)
        assert [r["response"] for r in ask(server.url)] == ["x"] * 4
    assert len(server.bodies) - before == 2


@pytest.mark.parametrize(
    ("response", "told"),
    [(Response(401, {"error": "key"}), "OPENAI_API_KEY"), (Response(404, {"error": "?"}), "endpoint.model")],
)
def test_a_refused_key_or_unknown_model_ends_the_run_at_once(ask, response: Response, told: str) -> None:
    with serve(lambda body, _: response) as server, pytest.raises(EvaluationError, match=told):
        ask(server.url)


@pytest.mark.parametrize("body", [b"no json", {"choices": []}, {"choices": None}, []])
def test_a_body_without_an_answer_is_a_counted_failure(ask, body) -> None:
    with serve(lambda _, __: Response(200, body)) as server:
        rows = ask(server.url, "max_failed=4")
    assert all("gave no answer" in r["error"] for r in rows)


def test_the_budget_ends_the_run_before_it_is_passed(ask) -> None:
    with serve() as server:
        with pytest.raises(EvaluationError, match="max_calls=3"):
            ask(server.url, "endpoint.max_calls=3")
        assert len(server.bodies) <= 3
