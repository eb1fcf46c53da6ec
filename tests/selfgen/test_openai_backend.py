"""The endpoint backend against a real HTTP server that misbehaves as endpoints do."""

import json

import pytest

from nemo_desta.cli import main
from nemo_desta.errors import ConfigError, RenderError, SelfGenError
from nemo_desta.record import AudioRef, Message, read_records
from nemo_desta.selfgen import run_selfgen
from nemo_desta.selfgen.backends import Request, Sampling
from nemo_desta.selfgen.backends.options import OpenAIOptions, backend_options
from tests.selfgen.corpus import write_corpus
from tests.selfgen.endpoint import answer, serve

SAMPLING = Sampling(0.05, 1.0, 24)
OPTIONS = {"batch_size": 16, "progress": False, "llm": "the-backbone", "max_failed": 1.0}


def request(number: int, seed_description: str = "[00:00-00:01] (Heard: Rain)") -> Request:
    user = Message("user", f"<start_audio><|AUDIO|><end_audio>\n\nQuestion {number}?", (AudioRef("a.wav", " "),))
    return Request(str(number), (Message("system", "Be brief."), user), (seed_description,), seed=2**40 + number)


def backend(url: str, **options):
    return OpenAIOptions(base_url=url, model="m", **options).build("llm", None)


def test_the_endpoint_sees_the_seed_description_in_the_place_of_the_clip():
    with serve() as endpoint:
        said = backend(endpoint.url).generate([request(3)], SAMPLING)[0]
    body = endpoint.bodies[0]
    assert [m["role"] for m in body["messages"]] == ["system", "user"]
    assert body["messages"][1]["content"] == "<start_audio>[00:00-00:01] (Heard: Rain)<end_audio>\n\nQuestion 3?"
    assert (body["model"], body["temperature"], body["top_p"], body["max_tokens"]) == ("m", 0.05, 1.0, 24)
    assert (said.text, said.finish_reason, said.num_tokens) == (body["messages"][1]["content"], "stop", 4)


def test_answers_stand_in_the_order_of_the_requests_and_no_more_than_allowed_are_under_way():
    with serve(delay=0.02) as endpoint:
        answers = backend(endpoint.url, concurrency=5).generate([request(i) for i in range(23)], SAMPLING)
    assert [a.text.split()[-1] for a in answers] == [f"{i}?" for i in range(23)]
    assert 2 <= endpoint.busiest <= 5


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_trouble_is_retried(status):
    with serve(lambda body, times: (status, {"error": "busy"}) if times < 2 else answer(body)) as endpoint:
        said = backend(endpoint.url).generate([request(0)], SAMPLING)[0]
    assert said.error is None and len(endpoint.bodies) == 3


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((500, {"error": "broken"}), "answered 500"),
        ((400, {"error": "prompt of 9999 tokens is too long"}), "9999 tokens is too long"),
        ((200, {"choices": []}), "holds no answer"),
        ((200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": None}}]}), "holds no answer"),
        ((200, ["what"]), "holds no answer"),
        ((200, b"<html>gateway</html>"), "endpoint"),
    ],
)
def test_rubbish_fails_its_row_and_no_other(reply, message):
    def behave(body, _):
        return reply if "Question 1?" in body["messages"][-1]["content"] else answer(body)

    with serve(behave) as endpoint:
        answers = backend(endpoint.url, max_retries=1).generate([request(i) for i in range(3)], SAMPLING)
    assert [a.error is None for a in answers] == [True, False, True]
    assert message in answers[1].error


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_unknown_model_ends_the_run_at_once(status):
    with (
        serve(lambda *_: (status, {"error": "no"})) as endpoint,
        pytest.raises(SelfGenError, match=r"backend.model \(m\)"),
    ):
        backend(endpoint.url).generate([request(0)], SAMPLING)
    assert len(endpoint.bodies) == 1


def test_nobody_listening_is_told_with_the_address():
    with serve() as endpoint:
        url = endpoint.url
    assert url in backend(url, max_retries=0, timeout=2.0).generate([request(0)], SAMPLING)[0].error


def test_a_limit_that_only_the_endpoint_could_count_is_refused():
    with pytest.raises(ConfigError, match="max_prompt_tokens=100"):
        OpenAIOptions(base_url="http://localhost").build("llm", 100)


def test_the_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("MY_KEY", "s3cret")
    with serve() as endpoint:
        backend(endpoint.url, api_key_env="MY_KEY").generate([request(0)], SAMPLING)
        backend(endpoint.url, api_key_env="NOT_SET").generate([request(0)], SAMPLING)
    assert endpoint.keys == ["Bearer s3cret", "Bearer none"]


@pytest.mark.parametrize("text", ["<|im_end|>", "</s>", "<start_of_turn>", "<|AUDIO|>"])
def test_what_the_endpoint_would_take_for_a_control_token_is_not_sent(text):
    with serve() as endpoint, pytest.raises(RenderError, match="control token"):
        backend(endpoint.url).prompt_length(request(0, f"[00:00-00:01] so {text} there"))
    assert endpoint.bodies == []


def test_a_spent_budget_stops_the_run_and_keeps_the_rows(tmp_path):
    cuts = write_corpus(tmp_path / "data", 12)
    with serve() as endpoint:
        section = {"name": "openai", "base_url": endpoint.url, "max_total_tokens": 55}
        with pytest.raises(SelfGenError, match="max_total_tokens=55"):
            run_selfgen(cuts, tmp_path / "out", backend=section, **{**OPTIONS, "batch_size": 3})
        spent = len(endpoint.bodies)
        run_selfgen(
            cuts, tmp_path / "out", backend={**section, "max_total_tokens": None}, **{**OPTIONS, "batch_size": 3}
        )
    assert spent == 6, "10 tokens a row: the batch that passes 55 is finished, the next is not begun"
    assert len(endpoint.bodies) == 12, "no row was asked for twice"


def test_failed_rows_are_asked_for_again_when_the_run_goes_on(tmp_path):
    cuts = write_corpus(tmp_path / "data", 6)
    broken = {"on": True}

    def behave(body, _):
        return (500, {"error": "down"}) if broken["on"] else answer(body)

    with serve(behave) as endpoint:
        section = {"name": "openai", "base_url": endpoint.url, "max_retries": 0}
        with pytest.raises(SelfGenError, match="6 of 6 rows failed"):
            run_selfgen(cuts, tmp_path / "out", backend=section, **{**OPTIONS, "max_failed": 0.5})
        broken["on"] = False
        summary = run_selfgen(cuts, tmp_path / "out", backend=section, **OPTIONS)
    assert summary.failed == 0 and summary.total == 6


def test_another_model_on_an_old_directory_is_refused_but_another_address_is_not(tmp_path):
    cuts = write_corpus(tmp_path / "data", 4)
    with serve() as one, serve() as two:
        run_selfgen(cuts, tmp_path / "out", backend={"name": "openai", "base_url": one.url, "model": "a"}, **OPTIONS)
        same = {"name": "openai", "base_url": two.url, "model": "a", "concurrency": 2}
        assert run_selfgen(cuts, tmp_path / "out", backend=same, **OPTIONS).new_rows == 0
        with pytest.raises(SelfGenError, match="backend.model: 'a' -> 'b'"):
            run_selfgen(cuts, tmp_path / "out", backend={**same, "model": "b"}, **OPTIONS)


def test_the_console_chooses_the_endpoint(tmp_path):
    cuts = write_corpus(tmp_path / "data", 4)
    with serve(lambda body, _: answer(body, "I hear rain.")) as endpoint, pytest.raises(SystemExit) as end:
        main(
            [
                "selfgen",
                f"cuts={cuts}",
                f"output_dir={tmp_path / 'out'}",
                "backend=openai",
                f"backend.base_url={endpoint.url}",
                "backend.model=llama",
                "dataset=toy",
                "progress=false",
            ]
        )
    assert end.value.code == 0
    records = list(read_records(tmp_path / "out" / "records.jsonl"))
    assert len(records) == 4 and {r.provenance["backbone"] for r in records} == {"llama"}
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["backend"] == {
        "name": "openai",
        "model": "llama",
    }


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("vlm", "'vlm' is not known"),
        ({"name": "openai"}, "base_url: missing"),
        ({"name": "hf", "divice": "cuda"}, "did you mean 'device'"),
        ({"name": "openai", "base_url": "x", "concurrency": "many"}, "concurrency: must be int"),
    ],
)
def test_wrong_backend_sections_are_refused(section, message):
    with pytest.raises(ConfigError, match=message):
        backend_options(section)
