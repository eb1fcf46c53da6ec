"""The file of raw replies: whole lines only, several writers, damage that is named."""

import fcntl
import json
import multiprocessing
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.judging import JudgePrompt, Reply
from nemo_desta.evaluation.judging.cache import CachedJudge, ReplyFile
from nemo_desta.evaluation.judging.recorded import Raw, encode, question, question_key


class Engine:
    """Says what it is told, or the question backwards; remembers what it was asked."""

    model = "fake"

    def __init__(self, replies=None, fails=(), dies_after=None) -> None:
        self.asked: list[str] = []
        self.replies, self.fails, self.dies_after = replies or {}, fails, dies_after

    def settings(self, prompt):
        return {}

    def answer(self, prompts, keep):
        for number, prompt in enumerate(prompts):
            if number == self.dies_after:
                raise EvaluationError("The engine is gone.")
            text = prompt.messages[-1][1]
            self.asked.append(text)
            keep(
                number, Raw(error="no") if text in self.fails else Raw(self.replies.get(text, (text[::-1],) * prompt.n))
            )

    def describe(self):
        return {"engine": "fake", "model": self.model}


def prompt(text: str, **sampling) -> JudgePrompt:
    return JudgePrompt((("user", text),), **sampling)


def ask(path: Path, *texts: str, **engine) -> tuple[list[Reply], list[str]]:
    one = Engine(**engine)
    judge = CachedJudge(one, path, progress=False)
    try:
        return judge.ask([prompt(t) for t in texts]), one.asked
    finally:
        judge.replies.close()


def line(text: str, *texts: str, **changes) -> dict:
    asked = question("fake", prompt(text, n=len(texts)))
    return {"key": question_key(asked), **asked, "texts": list(texts), **changes}


def test_the_key_is_the_hash_of_the_question_and_anybody_can_compute_it(tmp_path):
    import hashlib

    ask(tmp_path / "r.jsonl", "a")
    found = json.loads((tmp_path / "r.jsonl").read_text())
    names = ("model", "messages", "temperature", "top_p", "max_tokens", "n")
    canonical = json.dumps({k: found[k] for k in names}, sort_keys=True, separators=(",", ":"))
    assert found["key"] == hashlib.sha256(canonical.encode()).hexdigest()


def test_a_temperature_of_0_is_that_of_0_point_0():
    assert question_key(question("m", prompt("a", temperature=0))) == question_key(
        question("m", prompt("a", temperature=0.0))
    )
    assert question_key(question("m", prompt("a"))) != question_key(question("m", prompt("a", temperature=0)))


def test_failed_prompts_are_asked_again_and_only_they(tmp_path):
    replies, _ = ask(tmp_path / "r.jsonl", "ab", "cd", fails=("cd",))
    assert replies == [Reply(("ba",)), Reply(error="no")]
    assert ask(tmp_path / "r.jsonl", "ab", "cd") == ([Reply(("ba",)), Reply(("dc",))], ["cd"])


def test_what_came_before_the_engine_died_is_kept(tmp_path):
    with pytest.raises(
        EvaluationError, match=r"engine is gone\. 2 of 4 replies came in this run, 2 are kept in .*r\.jsonl"
    ):
        ask(tmp_path / "r.jsonl", "a", "b", "c", "d", dies_after=2)
    assert ask(tmp_path / "r.jsonl", "a", "b", "c", "d")[1] == ["c", "d"]


@pytest.mark.parametrize("cut", range(1, 90, 8))
def test_a_torn_last_line_is_cut_off_and_asked_for_again(tmp_path, cut):
    path = tmp_path / "r.jsonl"
    ask(path, "ab", "cd")
    whole = path.read_bytes()
    path.write_bytes(whole[: -cut - 1])
    assert ask(path, "ab", "cd") == ([Reply(("ba",)), Reply(("dc",))], ["cd"])
    assert [json.loads(x)["texts"] for x in path.read_text().splitlines()] == [["ba"], ["dc"]]


def test_a_whole_last_line_without_its_newline_counts(tmp_path):
    path = tmp_path / "r.jsonl"
    ask(path, "ab", "cd")
    path.write_bytes(path.read_bytes()[:-1])
    assert ask(path, "ab", "cd", "ef")[1] == ["ef"]
    assert len([json.loads(x) for x in path.read_text().splitlines()]) == 3


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b'{"key": "abc", "tex\n', r"r\.jsonl:2: is no JSON"),
        (b"\0\0\0\0\n", r"r\.jsonl:2: is no JSON"),
        (b"[1, 2]\n", r"r\.jsonl:2: is no JSON object"),
        (b'{"key": "abc", "texts": []}\n', r"r\.jsonl:2: no replies"),
        (b'{"key": "abc", "texts": [7]}\n', r"r\.jsonl:2: no replies"),
        (b'{"texts": ["a"]}\n', r"r\.jsonl:2: says neither"),
        (b'{"key": 3, "texts": ["a"]}\n', r"r\.jsonl:2: key 3"),
        (b'{"messages": "hello", "texts": ["a"]}\n', r"r\.jsonl:2: messages must be a list"),
        (b'{"messages": [["user", "a"]], "texts": ["a"]}\n', r"r\.jsonl:2: is no line of a judge's cache"),
        (encode(line("q", "a", key="0" * 64)), r"r\.jsonl:2: the key does not fit"),
        (encode(line("q", "a", messages=[{"role": "user", "content": "other"}])), r"r\.jsonl:2: the key does not fit"),
    ],
)
def test_a_damaged_line_in_the_middle_is_named(tmp_path, damage, message):
    path = tmp_path / "r.jsonl"
    ask(path, "ab", "cd")
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + damage + second)
    with pytest.raises(EvaluationError, match=message):
        ask(path, "ab")
    assert path.read_bytes() == first + damage + second, "what is damaged is left as it is"


def test_a_damaged_last_line_that_ends_with_a_newline_is_no_torn_one(tmp_path):
    path = tmp_path / "r.jsonl"
    ask(path, "ab")
    path.write_bytes(path.read_bytes() + b"{damaged\n")
    with pytest.raises(EvaluationError, match=r"r\.jsonl:2"):
        ask(path, "ab")


def test_blank_lines_and_carriage_returns_are_passed_over(tmp_path):
    path = tmp_path / "r.jsonl"
    ask(path, "ab", "cd")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert ask(path, "ab", "cd")[1] == []


def test_two_judges_on_one_file_see_each_other_and_the_first_reply_counts(tmp_path):
    path = tmp_path / "r.jsonl"
    one, two = (CachedJudge(Engine({"a": (name,)}), path, progress=False) for name in ("one", "two"))
    assert one.ask([prompt("a")]) == two.ask([prompt("a")]) == [Reply(("one",))]
    assert two.engine.asked == []
    two.replies.append(line("b", "two"))
    one.replies.append(line("b", "one"))  # both had asked before either had a reply
    assert one.ask([prompt("b")]) == two.ask([prompt("b")]) == ask(path, "b")[0] == [Reply(("two",))]
    assert path.read_bytes().count(b"\n") == 3, "a raw reply is kept even where it does not count"


def test_what_another_process_has_torn_does_not_spoil_the_next_line(tmp_path):
    path = tmp_path / "r.jsonl"
    one = CachedJudge(Engine(), path, progress=False)
    one.ask([prompt("ab")])
    with path.open("ab") as other:
        other.write(b'{"key": "abc", "te')  # killed here
    one.ask([prompt("cd")])
    assert [json.loads(x)["texts"] for x in path.read_text().splitlines()] == [["ba"], ["dc"]]
    assert ask(path, "ab", "cd")[1] == []


def test_a_file_that_loses_lines_while_it_is_used_is_an_error(tmp_path):
    path = tmp_path / "r.jsonl"
    one = CachedJudge(Engine(), path, progress=False)
    one.ask([prompt("ab")])
    path.write_bytes(b"")
    with pytest.raises(EvaluationError, match="become shorter"):
        one.ask([prompt("cd")])


def _write(path: Path, name: str) -> None:
    replies = ReplyFile(path)
    for i in range(60):
        replies.append(line(f"{name} {i}", "x" * 5000))
    replies.close()


def test_processes_that_write_at_once_lose_no_line(tmp_path):
    path = tmp_path / "r.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, name)) for name in "abc"]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert [p.exitcode for p in writers] == [0, 0, 0]
    assert len(ReplyFile(path)) == 180 and path.read_bytes().count(b"\n") == 180


def test_nobody_writes_while_another_holds_the_file(tmp_path):
    path = tmp_path / "r.jsonl"
    replies = ReplyFile(path)
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writer = threading.Thread(target=replies.append, args=(line("q", "a"),))
        writer.start()
        writer.join(0.2)
        assert writer.is_alive() and path.read_bytes() == b""
    writer.join()
    assert path.read_bytes().count(b"\n") == 1


def test_a_place_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match="replay:"):
        ReplyFile(tmp_path / "file" / "r.jsonl")


def test_a_full_disk_is_told_and_costs_nothing_that_was_kept(tmp_path):
    class Full(ReplyFile):
        def _write(self, payload):
            if b"full" in payload:
                self._file.write(payload[:20])
                raise OSError(28, "No space left on device")
            super()._write(payload)

    path = tmp_path / "r.jsonl"
    judge = CachedJudge(Engine(), path, progress=False)
    judge.replies = Full(path)
    with pytest.raises(EvaluationError, match=r"No space left.*1 of 2 replies"):
        judge.ask([prompt("ab"), prompt("full")])
    assert ask(path, "ab", "full") == ([Reply(("ba",)), Reply(("lluf",))], ["full"])


texts = st.text(st.characters(exclude_categories=()), max_size=40)


@given(st.lists(st.tuples(texts, texts, texts), max_size=6, unique_by=lambda t: t[0]), st.integers(0, 60))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back_as_it_was_and_any_cut_costs_one_line(tmp_path_factory, rows, cut):
    path = tmp_path_factory.mktemp("any") / "r.jsonl"
    replies = {q: (a, b) for q, a, b in rows}
    asked = [prompt(q, n=2) for q in replies]
    expected = [Reply(r) for r in replies.values()]
    assert CachedJudge(Engine(replies), path, progress=False).ask(asked) == expected
    path.read_text(encoding="utf-8")
    again = Engine()
    assert CachedJudge(again, path, progress=False).ask(asked) == expected and again.asked == []
    content = path.read_bytes()
    path.write_bytes(content[: max(0, len(content) - cut)])
    cut_off = Engine(replies)
    assert CachedJudge(cut_off, path, progress=False).ask(asked) == expected
    assert len(cut_off.asked) == (1 if cut > 1 and rows else 0)
