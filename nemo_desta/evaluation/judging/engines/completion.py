"""What an endpoint answered, read with distrust: a body is a chat completion, or `NonsenseError`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Completion", "NonsenseError", "read_completion", "short"]


class NonsenseError(Exception):
    """A body that is no chat completion. The message holds all of it: who shows it takes secrets out and shortens it."""


@dataclass(frozen=True)
class Completion:
    """One reply of an endpoint.

    Attributes:
        texts: of the choices; "" where a choice has no content.
        finish_reasons: of the choices.
        usage: prompt_tokens, completion_tokens, total_tokens; {} where the endpoint does not count.
        served: the model's name as the endpoint gives it.
    """

    texts: tuple[str, ...]
    finish_reasons: tuple[str | None, ...]
    usage: Mapping[str, int]
    served: str | None


def read_completion(body: bytes) -> Completion:
    """Of a response with status 200.

    Raises:
        NonsenseError: it is no JSON, has no choices, or a choice has no message.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise NonsenseError(f"the body is no JSON: {body.decode(errors='replace')}") from None
    choices = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(choices, list) or not choices:
        raise NonsenseError(f"the body has no choices: {data}")
    ordered = sorted(choices, key=lambda c: c["index"]) if all(map(_numbered, choices)) else choices
    return Completion(
        tuple(_text(c) for c in ordered),
        tuple(_str(c.get("finish_reason")) for c in ordered),
        _usage(data.get("usage")),
        _str(data.get("model")),
    )


def short(value: object, limit: int = 200) -> str:
    """For messages: one line."""
    text = " ".join(str(value).split()) or type(value).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _numbered(choice: Any) -> bool:
    return isinstance(choice, dict) and type(choice.get("index")) is int


def _text(choice: Any) -> str:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise NonsenseError(f"a choice has no message: {choice}")
    content = message.get("content")
    if isinstance(content, list):  # parts, as some endpoints give them
        content = "".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    if content is not None and not isinstance(content, str):
        raise NonsenseError(f"a message's content is no text: {content}")
    return content or ""


def _usage(usage: Any) -> dict[str, int]:
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    found = usage if isinstance(usage, dict) else {}
    return {n: found[n] for n in names if type(found.get(n)) is int and found[n] >= 0}


def _str(value: Any) -> str | None:
    return value if isinstance(value, str) else None
