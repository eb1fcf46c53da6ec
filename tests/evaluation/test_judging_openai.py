"""A judge behind an endpoint, against a real HTTP server that misbehaves as endpoints do."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest

from nemo_desta.errors import ConfigError, EvaluationError
from nemo_desta.evaluation.judging import JudgePrompt, Reply
from nemo_desta.evaluation.judging.engines import openai as engine_module
from nemo_desta.evaluation.judging.engines import pauses
from nemo_desta.evaluation.judging.options import JudgeOptions, judge_from_spec
from tests.evaluation.judge_server import Response, serve, yes

KEY = "sk-this-is-a-very-secret-key-0123456789"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """No pauses worth the name, no settings of the machine's user."""
    monkeypatch.setattr(pauses, "_FIRST", 0.001)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def prompt(text: str = "Is it right?", **sampling) -> JudgePrompt:
    return JudgePrompt((("system", "You judge."), ("user", text)), **sampling)


def prompts(count: int) -> list[JudgePrompt]:
    return [prompt(f"q{i}") for i in range(count)]


def judge(url: str, folder: Path, **settings):
    settings = {"max_retries": 2, **settings}
    return JudgeOptions.parse({"engine": "openai", "model": "m", "base_url": url, **settings}).build(folder / "r.jsonl")


def lines(folder: Path) -> list[dict]:
    return [json.loads(x) for x in (folder / "r.jsonl").read_text().splitlines()]


def test_what_is_sent_is_what_the_benchmark_publishes(tmp_path):
    with serve() as server:
        reply = judge(server.url, tmp_path).ask([prompt(temperature=0.5, top_p=0.95, max_tokens=1024, n=3)])
    assert server.bodies == [
        {
            "model": "m",
            "messages": [{"role": "system", "content": "You judge."}, {"role": "user", "content": "Is it right?"}],
            "temperature": 0.5,
            "top_p": 0.95,
            "max_tokens": 1024,
            "n": 3,
        }
    ]
    assert reply == [Reply(tuple(f"echo Is it right? #{i}" for i in range(3)))]


def test_sampling_that_is_not_published_is_not_sent_and_zero_is(tmp_path):
    with serve() as server:
        judge(server.url, tmp_path).ask([prompt("a"), prompt("b", temperature=0)])
    assert sorted(set(server.bodies[0]) ^ set(server.bodies[1])) == ["temperature"]
    assert set(server.bodies[0]) & {"top_p", "max_tokens", "n"} == set()


def test_replies_stand_in_the_order_of_the_prompts_and_no_more_than_allowed_are_under_way(tmp_path):
    def behave(body, _):
        response = yes(body)
        response.delay = 0.03 if body["messages"][-1]["content"] in ("q0", "q5") else 0.005
        return response

    with serve(behave) as server:
        replies = judge(server.url, tmp_path, concurrency=4).ask(prompts(13))
    assert [r.texts[0] for r in replies] == [f"echo q{i} #0" for i in range(13)]
    assert 2 <= server.busiest <= 4


def test_the_same_prompt_is_asked_once_and_given_to_all_that_ask_it(tmp_path):
    with serve() as server:
        one = judge(server.url, tmp_path)
        replies = one.ask([prompt("a"), prompt("b"), prompt("a"), prompt("a")])
        again = one.ask([prompt("b"), prompt("a")])
    assert sorted(server.asked) == ["a", "b"]
    assert [r.texts[0] for r in replies] == ["echo a #0", "echo b #0", "echo a #0", "echo a #0"]
    assert [r.texts[0] for r in again] == ["echo b #0", "echo a #0"]
    found = one.describe()
    assert (found["prompts"], found["asked"], found["from_cache"], found["failed"]) == (4, 2, 2, 0)


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"top_p": 0.9}, {"max_tokens": 9}, {"n": 2}])
def test_another_sampling_is_another_question(tmp_path, change):
    with serve() as server:
        judge(server.url, tmp_path).ask([prompt(), prompt(**change)])
    assert len(server.bodies) == 2


def test_the_line_of_a_reply_says_all_of_it(tmp_path):
    with serve(lambda body, _: yes(body, "Explanation: é.\nJudgement: correct")) as server:
        judge(server.url, tmp_path).ask([prompt(temperature=0, top_p=0.9)])
    line = lines(tmp_path)[0]
    assert line["messages"][1] == {"role": "user", "content": "Is it right?"}
    assert line["texts"] == ["Explanation: é.\nJudgement: correct"] and line["finish_reasons"] == ["stop"]
    assert (line["model"], line["served"], line["temperature"], line["top_p"]) == ("m", "served-model", 0.0, 0.9)
    assert line["usage"] == {"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10}
    assert line["time"].endswith("+00:00") and line["seconds"] > 0 and len(line["key"]) == 64


def test_a_second_scoring_calls_nobody(tmp_path):
    with serve() as server:
        first = judge(server.url, tmp_path).ask(prompts(5))
    again = judge(server.url, tmp_path)
    assert again.ask(prompts(5)) == first and len(server.bodies) == 5
    assert again.describe()["asked"] == 0 and again.describe()["from_cache"] == 5


def test_429_waits_as_long_as_the_endpoint_asks_and_so_do_the_others(tmp_path):
    def behave(body, times):
        busy = body["messages"][-1]["content"] == "q0" and times == 0
        response = Response(429, {"error": "slow down"}, {"Retry-After": "0.4"}) if busy else yes(body)
        response.delay = 0.0 if busy else 0.15
        return response

    with serve(behave) as server:
        replies = judge(server.url, tmp_path, concurrency=2).ask(prompts(4))
    assert all(r.error is None for r in replies) and sorted(server.asked) == ["q0", "q0", "q1", "q2", "q3"]
    assert sum(t - server.times[0] < 0.4 for t in server.times) == 2, "q0, and q1 that was under way"


def test_an_endpoint_that_asks_for_an_hour_ends_the_run_and_says_so(tmp_path):
    with (
        serve(lambda *_: Response(429, {"error": "tomorrow"}, {"Retry-After": "3600"})) as server,
        pytest.raises(EvaluationError, match="left alone for 3600 s"),
    ):
        judge(server.url, tmp_path).ask(prompts(1))


def test_a_spent_quota_ends_the_run_at_once(tmp_path):
    body = {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}
    with serve(lambda *_: Response(429, body)) as server, pytest.raises(EvaluationError, match="quota is spent"):
        judge(server.url, tmp_path, concurrency=1).ask(prompts(9))
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        Response(500, {"error": "oops"}),
        Response(503, b"<html>busy</html>"),
        Response(200, b"<html>gateway</html>"),
        Response(200, b"<html>gateway</html>", {"Content-Type": "text/html"}),
        Response(200, {"choices": []}),
        Response(200, ["what"]),
        Response(200, {"error": {"message": "upstream"}}),
        Response(200, {"choices": [{"index": 0}]}),
        Response(200, {"choices": [{"index": 0, "message": {"content": 7}}]}),
        Response(200, {"choices": "abc"}),
        Response(hang_up=True),
        Response(200, {}, delay=1.2),
        Response(200, {"choices": "x" * 90}, drip=0.1),
    ],
    ids=lambda r: (
        f"{r.status}-{str(r.body)[:24]}{'-hang-up' * r.hang_up}{'-late' * bool(r.delay)}{'-drips' * bool(r.drip)}"
    ),
)
def test_passing_trouble_is_tried_again_and_lasting_trouble_fails_its_prompt_alone(tmp_path, trouble):
    def behave(body, times):
        bad = {"never": True, "later": times < 1, "good": False}[body["messages"][-1]["content"]]
        return trouble if bad else yes(body)

    with serve(behave) as server:
        one = judge(server.url, tmp_path, timeout=0.7 if trouble.delay or trouble.drip else 30.0, max_retries=1)
        never, later, good = one.ask([prompt("never"), prompt("later"), prompt("good")])
    assert never.texts == () and "tried 2 times" in never.error
    assert ("no reply within 0.7 s" in never.error) == bool(trouble.delay or trouble.drip)
    assert later.texts == ("echo later #0",) and good.error is None
    assert sorted(server.asked) == ["good", "later", "later", "never", "never"]
    assert one.describe()["failed"] == 1 and list(one.describe()["errors"].values()) == [1]
    assert len(lines(tmp_path)) == 2, "a prompt without a reply is not remembered"


@pytest.mark.parametrize(
    "message",
    [{"content": ""}, {"content": None}, {"content": None, "refusal": "I cannot"}, {"role": "assistant"}],
    ids=str,
)
def test_empty_content_is_a_raw_reply_of_nothing(tmp_path, message):
    body = {"choices": [{"index": 0, "finish_reason": "content_filter", "message": message}]}
    with serve(lambda *_: Response(200, body)) as server:
        assert judge(server.url, tmp_path).ask([prompt()]) == [Reply(("",))]
        assert judge(server.url, tmp_path).ask([prompt()]) == [Reply(("",))]
    assert len(server.bodies) == 1 and lines(tmp_path)[0]["finish_reasons"] == ["content_filter"]


def test_choices_are_put_in_order_and_parts_together(tmp_path):
    parts = [{"type": "text", "text": "Y"}, {"type": "text", "text": "es"}]
    choices = [{"index": 1, "message": {"content": "No"}}, {"index": 0, "message": {"content": parts}}]
    with serve(lambda *_: Response(200, {"choices": choices})) as server:
        assert judge(server.url, tmp_path).ask([prompt(n=2)]) == [Reply(("Yes", "No"))]


def test_where_n_replies_are_refused_each_is_asked_for_alone(tmp_path):
    def behave(body, times):
        return Response(400, {"error": "n must be 1"}) if body.get("n", 1) > 1 else yes(body, f"reply {times}")

    with serve(behave) as server:
        replies = judge(server.url, tmp_path, concurrency=1).ask([prompt("a", n=3), prompt("b", n=3)])
    assert replies[0].texts == ("reply 1", "reply 2", "reply 3") and replies[1].texts == (
        "reply 0",
        "reply 1",
        "reply 2",
    )
    assert [b.get("n", 1) for b in server.bodies] == [3, 1, 1, 1, 1, 1, 1], "it is tried once, not for every prompt"
    assert lines(tmp_path)[0]["usage"]["total_tokens"] == 30


def test_where_n_is_passed_over_in_silence_the_rest_is_asked_for(tmp_path):
    with serve(lambda body, times: yes(body, f"reply {times}")) as server:
        assert judge(server.url, tmp_path).ask([prompt(n=3)])[0].texts == ("reply 0", "reply 1", "reply 2")
    assert len(server.bodies) == 3


def test_an_endpoint_that_knows_the_length_by_its_newer_name(tmp_path):
    def behave(body, _):
        old = "max_tokens" in body
        return Response(400, {"error": "Use 'max_completion_tokens' instead."}) if old else yes(body)

    with serve(behave) as server:
        replies = judge(server.url, tmp_path, concurrency=2).ask([prompt(f"q{i}", max_tokens=7) for i in range(4)])
    assert all(r.error is None for r in replies) and server.bodies[-1]["max_completion_tokens"] == 7


def test_a_prompt_that_is_refused_fails_alone_and_is_not_tried_again(tmp_path):
    def behave(body, _):
        return (
            Response(400, {"error": "too long: 9999 tokens"}) if "q1" in body["messages"][-1]["content"] else yes(body)
        )

    with serve(behave) as server:
        replies = judge(server.url, tmp_path).ask(prompts(3))
    assert "answered 400" in replies[1].error and "9999 tokens" in replies[1].error
    assert replies[0].error is None and replies[2].error is None and len(server.bodies) == 3


def test_prompts_that_are_always_refused_do_not_bar_the_way_to_a_score(tmp_path):
    def behave(body, _):
        return yes(body) if body["messages"][-1]["content"] == "q70" else Response(400, {"error": "content filter"})

    with serve(behave) as server:
        for kept in (0, 1):
            one = judge(server.url, tmp_path)
            assert sum(r.error is not None for r in one.ask(prompts(71))) == 70
            assert (one.describe()["failed"], one.describe()["from_cache"]) == (70, kept)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_an_unknown_model_ends_the_run_at_once(tmp_path, status):
    with (
        serve(lambda *_: Response(status, {"error": "no"})) as server,
        pytest.raises(EvaluationError, match=rf"answered {status}.*model \(m\).*\$OPENAI_API_KEY.*0 of 9 replies"),
    ):
        judge(server.url, tmp_path, concurrency=1).ask(prompts(9))
    assert len(server.bodies) == 1


def test_nobody_listening_fails_with_a_reason(tmp_path):
    with serve() as server:
        url = server.url
    reply = judge(url, tmp_path, max_retries=1).ask(prompts(1))[0]
    assert "lost connection" in reply.error


def test_a_server_that_dies_midway_ends_the_run_and_the_next_one_asks_only_the_rest(tmp_path):
    dead = {"now": False}

    def behave(body, _):
        return Response(hang_up=True) if dead["now"] else yes(body)

    with serve(behave) as server:
        one = judge(server.url, tmp_path, max_retries=0, concurrency=4)
        one.ask(prompts(20))
        dead["now"] = True
        with pytest.raises(EvaluationError, match=r"25 prompts in a row.*0 of 180 replies came.*20 are kept") as caught:
            one.ask(prompts(200))
        assert 20 + 25 <= len(server.bodies) <= 20 + 25 + 4, "it does not go through all that is left"
        dead["now"] = False
        before = len(server.bodies)
        replies = judge(server.url, tmp_path, max_retries=0).ask(prompts(200))
    assert [r.error for r in replies if r.error is not None] == []
    assert len(server.bodies) - before == 180
    assert "run the same command again" in str(caught.value)
    assert f"replay:{tmp_path / 'r.jsonl'}" in str(caught.value)


def test_trouble_here_and_there_does_not_end_the_run(tmp_path):
    def behave(body, _):
        return yes(body) if body["messages"][-1]["content"].endswith("0") else Response(500, {})

    with serve(behave) as server:
        replies = judge(server.url, tmp_path, max_retries=0, concurrency=1).ask(prompts(61))
    assert sum(r.error is None for r in replies) == 7


@pytest.mark.parametrize(("limit", "sent"), [({"max_calls": 7}, 7), ({"max_total_tokens": 65}, 7)], ids=str)
def test_a_spent_budget_stops_and_a_rerun_goes_on(tmp_path, limit, sent):
    with serve() as server:
        with pytest.raises(EvaluationError, match=r"budget is spent.*7 of 10 replies came.*7 are kept"):
            judge(server.url, tmp_path, concurrency=1, **limit).ask(prompts(10))
        assert len(server.bodies) == sent
        replies = judge(server.url, tmp_path, concurrency=1, **limit).ask(prompts(10))
    assert len(server.bodies) == 10 and all(r.error is None for r in replies)


def test_what_is_under_way_when_the_budget_is_spent_is_finished_and_kept(tmp_path):
    def behave(body, _):
        response = yes(body)
        response.delay = 0.05
        return response

    with serve(behave) as server, pytest.raises(EvaluationError, match="6 are kept"):
        judge(server.url, tmp_path, concurrency=4, max_calls=6).ask(prompts(10))
    assert len(server.bodies) == 6 and len(lines(tmp_path)) == 6


def test_retries_are_paid_for_too(tmp_path):
    with serve(lambda *_: Response(500, {})) as server, pytest.raises(EvaluationError, match="3 of max_calls=3"):
        judge(server.url, tmp_path, concurrency=1, max_calls=3).ask(prompts(2))
    assert len(server.bodies) == 3


def test_a_budget_in_tokens_holds_where_the_endpoint_does_not_count(tmp_path):
    with serve(lambda body, _: yes(body, "x" * 400, usage={})) as server:
        one = judge(server.url, tmp_path, concurrency=1, max_total_tokens=250)
        with pytest.raises(EvaluationError, match="max_total_tokens=250"):
            one.ask(prompts(9))
    assert len(server.bodies) == 3, "a little more than 100 tokens each: 400 bytes of reply, 12 of prompt"
    assert one.describe()["tokens"]["replies_with_estimated_tokens"] == 3


def test_half_a_surrogate_pair_fails_its_prompt_and_no_other(tmp_path):
    with serve() as server:
        bad, good = judge(server.url, tmp_path).ask([prompt("\ud800"), prompt("fine")])
    assert "cannot be sent" in bad.error and good.error is None and server.asked == ["fine"]


def test_a_notebook_has_a_loop_of_its_own(tmp_path):
    async def cell(url):
        return judge(url, tmp_path).ask(prompts(2))

    with serve() as server:
        assert all(r.error is None for r in asyncio.run(cell(server.url)))


def test_the_key_is_sent_and_stands_nowhere(tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    replies = {
        "q0": Response(400, {"error": "x" * 150 + f"wrong key {KEY} and more"}),  # the cut falls into the key
        "q1": Response(200, f"<b>{KEY}</b>".encode()),
    }

    def behave(body, _):
        return replies.get(body["messages"][-1]["content"], yes(body, f"your key is {KEY}"))

    with serve(behave) as server:
        one = judge(server.url, tmp_path, api_key_env="MY_KEY", max_retries=0)
        said = one.ask(prompts(3))
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    with (
        serve(lambda *_: Response(401, {"error": f"Incorrect API key provided: {KEY}"})) as server,
        pytest.raises(EvaluationError) as caught,
    ):
        judge(server.url, tmp_path, api_key_env="MY_KEY").ask([prompt("other")])
    traces = "".join(traceback.format_exception(caught.value))
    everything = [said, one.describe(), one, one.engine, one.engine.address, capsys.readouterr(), caplog.text]
    shown = "\n".join(map(repr, everything)) + (tmp_path / "r.jsonl").read_text() + traces
    assert KEY not in shown and KEY[:12] not in shown and "***" in shown


def test_an_address_with_a_password_and_a_query_is_used_whole_and_shown_without(tmp_path):
    with serve(lambda body, _: yes(body) if body["messages"][-1]["content"] == "q0" else Response(404, {})) as server:
        url = server.url.replace("//", "//someone:pass%40word-1@") + "/?api-version=2024-06-01&sig=abcdefgh123"
        options = JudgeOptions.from_spec(f"openai:m@{url}")
        one = options.build(tmp_path / "r.jsonl")
        one.ask(prompts(1))
        with pytest.raises(EvaluationError) as caught:
            one.ask(prompts(2))
    assert server.paths[0] == "/v1/chat/completions?api-version=2024-06-01&sig=abcdefgh123"
    assert server.headers[0]["Authorization"].startswith("Basic ")
    assert one.describe()["base_url"] == server.url + "/"
    shown = str(caught.value) + repr(one.describe()) + repr(options) + repr(one.engine.address)
    assert not any(s in shown for s in ("pass%40", "pass@", "word-1", "someone", "abcdefgh123", "api-version"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "OPENAI_API_KEY"),
        ({"api_key_env": "NOT_SET"}, "NOT_SET"),
        ({"base_url": "localhost:1"}, "http://HOST:PORT/v1"),
    ],
    ids=str,
)
def test_what_is_missing_is_told_before_anything_is_sent(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        JudgeOptions.parse({"engine": "openai", "model": "m", **settings}).build(tmp_path / "r.jsonl")


def test_a_second_scoring_needs_no_key(tmp_path, monkeypatch):
    with serve() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        first = judge_from_spec("openai:m", tmp_path / "r.jsonl").ask(prompts(2))
    monkeypatch.delenv("OPENAI_BASE_URL")
    again = judge_from_spec("openai:m", tmp_path / "r.jsonl")
    assert again.ask(prompts(2)) == first
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        again.ask(prompts(3))


def test_the_address_may_come_from_the_environment(tmp_path, monkeypatch):
    with serve() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert judge_from_spec("openai:m", tmp_path).ask(prompts(1))[0].error is None
    assert (tmp_path / "judge_replies.jsonl").exists(), "a folder is given, so the file stands in it"


SCRIPT = """
import sys
from pathlib import Path
from nemo_desta.evaluation.judging import JudgePrompt
from nemo_desta.evaluation.judging.options import JudgeOptions
one = JudgeOptions.parse({"engine": "openai", "model": "m", "base_url": sys.argv[1], "concurrency": 4})
one.build(Path(sys.argv[2])).ask([JudgePrompt((("system", "You judge."), ("user", f"q{i}"))) for i in range(60)])
"""


def test_kill_9_in_the_middle_loses_no_line_and_what_is_kept_is_not_asked_again(tmp_path):
    def behave(body, _):
        response = yes(body)
        response.delay = 0.02
        return response

    path = tmp_path / "r.jsonl"
    with serve(behave) as server:
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, server.url, str(path)], cwd=Path(__file__).parents[2])
        while not path.exists() or path.read_bytes().count(b"\n") < 12:
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kept = path.read_bytes()
        known = {json.loads(x)["messages"][1]["content"] for x in kept.splitlines() if x.endswith(b"}")}
        time.sleep(0.1)
        before = len(server.bodies)
        replies = judge(server.url, tmp_path).ask(prompts(60))
    assert 12 <= len(known) < 60 and before - len(known) <= 4, "only what was under way is lost"
    assert set(server.asked[before:]) == {f"q{i}" for i in range(60)} - known
    assert len(server.bodies) - before == 60 - len(known)
    assert [r.texts[0] for r in replies] == [f"echo q{i} #0" for i in range(60)]
    assert path.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])


def test_the_longest_wait_is_longer_than_any_pause():
    assert all(0 <= pauses.pause_after(i) <= 30 for i in range(1, 2000)) and engine_module.LONGEST_WAIT > 30


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after-ms": "50", "retry-after": "2"}, 0.05),
        ({"retry-after": "0"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_how_long_an_endpoint_asks_to_wait(headers, seconds):
    assert pauses.wanted_pause(headers) == seconds


def test_a_date_to_wait_for():
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    assert 55 < pauses.wanted_pause({"retry-after": later}) <= 60
