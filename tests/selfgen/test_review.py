"""Judging and rephrasing, with a scripted LLM."""

import json

import pytest
import yaml

from nemo_desta.errors import ConfigError, RenderError, SelfGenError
from nemo_desta.paths import conf_dir
from nemo_desta.record import read_records
from nemo_desta.selfgen import run_selfgen
from nemo_desta.selfgen.backends import Generation, Sampling
from nemo_desta.selfgen.config import load_yaml
from nemo_desta.selfgen.review import ReviewOptions
from tests.selfgen.corpus import write_corpus
from tests.selfgen.fake import FakeBackend

OPTIONS = {"batch_size": 4, "progress": False, "filter_config": "default"}


class Scripted(FakeBackend):
    """Answers, judges and rephrases; a test replaces what it wants otherwise."""

    verdict = "FIT"
    answer = "A calm voice."
    better = "I hear a calm voice."

    def generate(self, requests, sampling):
        self.requests += requests
        out = []
        for request in requests:
            if request.id.endswith("(judge)"):
                assert sampling == Sampling(0.0, 1.0, 8)
                out.append(self.say(self.verdict, request))
            elif request.id.endswith("(rephrase)"):
                out.append(self.say(self.better, request))
            else:
                out.append(self.say(self.answer, request))
        return out

    def prompt_length(self, request):
        return len(request.messages[-1].content)

    @staticmethod
    def say(what, request):
        what = what(request) if callable(what) else what
        return what if isinstance(what, Generation) else Generation(what, "stop", 3)

    def count(self, task: str) -> int:
        return sum(r.id.endswith(f"({task})") for r in self.requests)


def make(tmp_path, backend, rows=12, max_failed=1.0, **review):
    cuts = write_corpus(tmp_path / "data", rows)
    return run_selfgen(cuts, tmp_path / "out", backend=backend, review=review, max_failed=max_failed, **OPTIONS)


def kept(tmp_path):
    return list(read_records(tmp_path / "out" / "records.jsonl"))


def filtered(tmp_path):
    return [json.loads(line) for line in (tmp_path / "out" / "filtered" / "records.jsonl").read_text().splitlines()]


def test_nothing_is_asked_by_default(tmp_path):
    backend = Scripted()
    make(tmp_path, backend)
    assert len(backend.requests) == 12 and "review" not in kept(tmp_path)[0].provenance


def test_each_fit_row_is_judged_once_and_says_so(tmp_path):
    backend = Scripted()
    backend.answer = lambda r: "The metadata says so." if r.id == "cut3-0" else "A calm voice."
    backend.verdict = lambda r: "wrong." if r.id.startswith("cut5-0") else "**Fit**"
    summary = make(tmp_path, backend, judge=True)
    assert backend.count("judge") == 11, "what the rules took is not judged"
    assert summary.reasons == {"filtered: betrays_text": 1, "filtered: judge:wrong": 1}
    assert {r.provenance["review"]["verdict"] for r in kept(tmp_path)} == {"FIT"}
    request = next(r for r in backend.requests if r.id == "cut0-0 (judge)")
    text, record = request.messages[-1].content, kept(tmp_path)[0]
    assert record.seed_description in text and record.prompt in text and record.response in text
    assert "| FIT | 10 | 100.0% |" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(("unparsable", "ok"), [("keep", 12), ("drop", 0)])
@pytest.mark.parametrize("reply", ["", "I think it fits", "FIT or WRONG", "GOOD", "Verdict: FIT", "FITTING"])
def test_a_verdict_that_cannot_be_read_is_counted(tmp_path, reply, unparsable, ok):
    backend = Scripted()
    backend.verdict = reply
    summary = make(tmp_path, backend, judge=True, unparsable=unparsable)
    assert summary.ok == ok and summary.total == 12
    rows = [r.provenance for r in kept(tmp_path)] + [r["provenance"] for r in filtered(tmp_path)]
    assert {(p["review"]["verdict"], p["review"]["reply"]) for p in rows} == {("unparsable", reply)}
    if unparsable == "drop":
        assert summary.reasons == {"filtered: judge:unparsable": 12}


def test_betraying_responses_are_rephrased_and_the_first_version_is_kept_in_provenance(tmp_path):
    backend = Scripted()
    backend.answer = lambda r: "The metadata says calm." if r.id in ("cut3-0", "cut4-0") else "A calm voice."
    backend.better = lambda r: "The description says calm." if r.id.startswith("cut4-0") else "I hear a calm voice."
    summary = make(tmp_path, backend, rephrase=True)
    assert backend.count("rephrase") == 2 and summary.reasons == {"filtered: betrays_text": 1}
    record = next(r for r in kept(tmp_path) if r.id == "cut3-0")
    assert record.response == "I hear a calm voice."
    assert record.provenance["rephrased"] == {
        "response": "The metadata says calm.",
        "reason": "betrays_text",
        "by": "fake",
    }
    still = filtered(tmp_path)[0]
    assert still["response"] == "The metadata says calm."
    assert still["provenance"]["rephrasing_failed"]["response"] == "The description says calm."


def test_what_the_judge_finds_betraying_is_rephrased_and_judged_again(tmp_path):
    backend = Scripted()
    backend.verdict = lambda r: "FIT" if "I hear" in r.messages[-1].content else "BETRAYS"
    summary = make(tmp_path, backend, judge=True, rephrase=True)
    assert summary.ok == 12 and backend.count("judge") == 24 and backend.count("rephrase") == 12
    assert {r.provenance["rephrased"]["reason"] for r in kept(tmp_path)} == {"judge:betrays"}


def test_a_row_that_cannot_be_judged_fails_and_is_tried_again(tmp_path):
    backend = Scripted()
    backend.verdict = lambda r: Generation(error="endpoint gone") if r.id.startswith("cut2-0") else "FIT"
    with pytest.raises(SelfGenError, match="judge: endpoint gone"):
        make(tmp_path, backend, max_failed=0.0, judge=True)
    backend = Scripted()
    summary = make(tmp_path, backend, max_failed=0.0, judge=True)
    assert summary.ok == 12 and summary.failed == 0


def test_a_row_too_long_for_the_judge_fails_alone(tmp_path):
    class Short(Scripted):
        def prompt_length(self, request):
            if request.id == "cut1-0 (judge)":
                raise RenderError("too long")
            return super().prompt_length(request)

    assert make(tmp_path, Short(), judge=True).reasons == {"failed": 1}


def test_data_that_looks_like_a_place_to_fill_stays_text(tmp_path):
    backend = Scripted()
    backend.answer = "A voice says {prompt} and {response}."
    make(tmp_path, backend, judge=True)
    text = next(r for r in backend.requests if r.id == "cut0-0 (judge)").messages[-1].content
    assert "A voice says {prompt} and {response}." in text


def test_another_review_in_a_directory_that_was_begun_is_refused(tmp_path):
    make(tmp_path, Scripted())
    with pytest.raises(SelfGenError, match="review.judge: False -> True"):
        make(tmp_path, Scripted(), judge=True)


@pytest.mark.parametrize(
    "section", [{"judges": True}, {"judge": "yes"}, {"unparsable": "guess"}, {"llm": "x"}, {"backend": {"name": "hf"}}]
)
def test_mistakes_in_the_section_are_refused(section):
    with pytest.raises(ConfigError, match="review"):
        ReviewOptions.parse(section)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("judge", "verdicts"), {"FIT": "keep"}),
        (("judge", "user"), "Is it good?"),
        (("rephrase", "users"), "x"),
        (("judge",), None),
    ],
)
def test_mistakes_in_the_template_are_refused(tmp_path, where, value):
    template = load_yaml(conf_dir() / "judge" / "default.yaml")
    place = template
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(template))
    with pytest.raises(ConfigError, match="judge"):
        make(tmp_path, Scripted(), judge=True, template=str(tmp_path / "t.yaml"))
