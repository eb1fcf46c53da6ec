"""A judge's raw reply as one line of JSON, and the key that says to which question it belongs."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.judging import JudgePrompt
from nemo_desta.files import json_bytes, json_value

__all__ = ["Raw", "Recorded", "encode", "parse", "question", "question_key", "read_lines"]

SAMPLING = ("temperature", "top_p", "max_tokens", "n")


@dataclass(frozen=True)
class Raw:
    """What came back for one prompt.

    Attributes:
        texts: raw replies, n of them; empty where there is none.
        error: why there is none; such a prompt is not recorded, it is asked again next time.
        finish_reasons: one a text, as the judge gave them; None where it gave none.
        usage: prompt_tokens, completion_tokens, total_tokens; "estimated": true where the judge does not count.
        served: the model's name in the reply (an alias such as gpt-4o resolves to a dated one).
        seconds: from the first try to the last reply.
    """

    texts: tuple[str, ...] = ()
    error: str | None = None
    finish_reasons: tuple[str | None, ...] = ()
    usage: Mapping[str, Any] = field(default_factory=dict)
    served: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Recorded:
    """A line that has been read.

    Attributes:
        key: see `question_key`; None where the line has none.
        stated: what the line says of the question: model, messages, sampling; a key that is absent is unknown.
        texts: raw replies.
        where: "file:line".
    """

    key: str | None
    stated: Mapping[str, Any]
    texts: tuple[str, ...]
    where: str


def question(model: str, prompt: JudgePrompt, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All that decides a reply, as plain JSON.

    Args:
        model: who is asked.
        prompt: what.
        settings: what else an engine's reply depends on; left out where there is nothing.
    """
    return {
        "model": model,
        "messages": [{"role": role, "content": text} for role, text in prompt.messages],
        "temperature": None if prompt.temperature is None else float(prompt.temperature),
        "top_p": None if prompt.top_p is None else float(prompt.top_p),
        "max_tokens": prompt.max_tokens,
        "n": prompt.n,
        **({"settings": dict(settings)} if settings else {}),
    }


def question_key(asked: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON (keys sorted, ASCII, no spaces) of `question`'s result."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def encode(line: Mapping[str, Any]) -> bytes:
    """One line with its newline, valid UTF-8 even where a text holds half a surrogate pair."""
    payload = json_bytes(line)
    try:
        payload.decode()
    except UnicodeDecodeError:
        payload = json.dumps(line, separators=(",", ":")).encode()
    return payload + b"\n"


def parse(payload: bytes, where: str) -> Recorded:
    """A line of a cache of ours, or of any JSONL of {"messages" or "key", "texts" or "reply"}.

    Raises:
        EvaluationError: it is damaged, or something else.
    """
    try:
        line = json_value(payload)
    except (ValueError, RecursionError) as err:
        raise EvaluationError(
            f"{where}: is no JSON ({err}); the file is damaged: restore it, or delete this line, whose reply will be "
            "asked for again."
        ) from None
    stated = _stated(line, where)
    key = line.get("key")
    if key is not None and not isinstance(key, str):
        raise EvaluationError(f"{where}: key {key!r} is no text; it must be the sha256 of the question.")
    if key is None and "messages" not in stated:
        raise EvaluationError(f"{where}: says neither messages nor key, so it is not known what was asked.")
    if key is not None and {"model", "messages", *SAMPLING} <= stated.keys() and question_key(stated) != key:
        raise EvaluationError(
            f"{where}: the key does not fit the question; the line was changed: restore it, or delete it, and its reply "
            "will be asked for again."
        )
    return Recorded(key, stated, _texts(line, where), where)


def read_lines(content: bytes, name: str, first: int = 1) -> Iterator[Recorded | None]:
    """What each line says; blank ones are passed over, a torn last one is None.

    A last line without its newline counts where it is whole.

    Args:
        content: of the file, or of its end, from the start of a line.
        name: of the file.
        first: number of the first line.

    Raises:
        EvaluationError: a line that ends with a newline is damaged.
    """
    *lines, rest = content.split(b"\n")
    for number, payload in enumerate(lines, start=first):
        if payload.strip():
            yield parse(payload, f"{name}:{number}")
    if rest.strip():
        try:
            yield parse(rest, f"{name}:{first + len(lines)}")
        except EvaluationError:
            yield None


def _stated(line: Any, where: str) -> dict[str, Any]:
    if not isinstance(line, dict):
        raise EvaluationError(f"{where}: is no JSON object; a recorded reply is one.")
    stated = {k: line[k] for k in ("model", *SAMPLING, "settings") if k in line}
    for name in ("temperature", "top_p"):
        value = stated.get(name)
        if isinstance(value, (int, float)):
            stated[name] = float(value)
    if "messages" in line:
        stated["messages"] = _messages(line["messages"], where)
    return stated


def _messages(value: Any, where: str) -> list[dict[str, str]]:
    """From [{"role": ..., "content": ...}, ...] or [[role, text], ...]."""
    found = []
    for entry in value if isinstance(value, list) else [None]:
        pair = (entry.get("role"), entry.get("content")) if isinstance(entry, dict) else entry
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(x, str) for x in pair):
            raise EvaluationError(f'{where}: messages must be a list of {{"role": ..., "content": ...}}.')
        found.append({"role": pair[0], "content": pair[1]})
    return found


def _texts(line: Mapping[str, Any], where: str) -> tuple[str, ...]:
    value = line.get("texts", line.get("reply"))
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise EvaluationError(f"{where}: no replies; texts must be a list of raw replies, or reply one.")
    return tuple(texts)
