"""Closed questions with known answers, read from YAML (conf/closed_questions.yaml)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nemo_desta.errors import ConfigError

__all__ = ["Choice", "ClosedQuestion", "read_questions"]


@dataclass(frozen=True)
class Choice:
    """One possible answer.

    Attributes:
        label: short name for tables.
        answer: the full answer whose probability is measured.
        values: values of the attribute for which this is the right answer, compared without regard to case.
    """

    label: str
    answer: str
    values: frozenset[str]


@dataclass(frozen=True)
class ClosedQuestion:
    """A question about one attribute.

    Attributes:
        name: for tables.
        attribute: of `EvalClip.attributes`.
        question: what the user asks.
        choices: two or more.
        where: attribute -> values; the question is asked of clips that have one of the values of each.
        text_can_tell: the transcript alone gives the answer away (its language, say), so a method without ears can
            be right.
    """

    name: str
    attribute: str
    question: str
    choices: tuple[Choice, ...]
    where: Mapping[str, frozenset[str]] = field(default_factory=dict)
    text_can_tell: bool = False

    def label(self, attributes: Mapping[str, str]) -> int | None:
        """The number of the right choice, or None when the question does not fit such a clip."""
        if any(attributes.get(name, "").casefold() not in values for name, values in self.where.items()):
            return None
        value = attributes.get(self.attribute, "").casefold()
        return next((i for i, c in enumerate(self.choices) if value in c.values), None)


def read_questions(path: str | os.PathLike[str]) -> list[ClosedQuestion]:
    """Read the questions of a YAML file; its head explains the form.

    Raises:
        ConfigError: the file is missing, is no YAML, or a question is wrong; file and question are named.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise ConfigError(f"{path}: not readable as YAML ({err}).") from err
    entries = data.get("questions") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path}: give a non-empty list under 'questions'.")
    questions = [_question(e, f"{path}, question {i}") for i, e in enumerate(entries)]
    names = [q.name for q in questions]
    if len(set(names)) < len(names):
        raise ConfigError(f"{path}: two questions have the same name; names are {', '.join(names)}.")
    return questions


def _question(entry: Any, where: str) -> ClosedQuestion:
    _check(entry, {"name", "question", "choices"}, {"attribute", "where", "text_can_tell"}, where)
    choices = entry["choices"]
    if not isinstance(choices, list) or len(choices) < 2:
        raise ConfigError(f"{where}: give two choices or more.")
    return ClosedQuestion(
        name=str(entry["name"]),
        attribute=str(entry.get("attribute", entry["name"])),
        question=str(entry["question"]),
        choices=tuple(_choice(c, f"{where}, choice {i}") for i, c in enumerate(choices)),
        where={str(k): _values(v) for k, v in (entry.get("where") or {}).items()},
        text_can_tell=bool(entry.get("text_can_tell", False)),
    )


def _choice(entry: Any, where: str) -> Choice:
    _check(entry, {"label", "answer"}, {"values"}, where)
    return Choice(str(entry["label"]), str(entry["answer"]), _values(entry.get("values", entry["label"])))


def _check(entry: Any, needed: set[str], allowed: set[str], where: str) -> None:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: a mapping is expected, this is {entry!r}.")
    missing, unknown = sorted(needed - entry.keys()), sorted(str(k) for k in entry.keys() - needed - allowed)
    if missing or unknown:
        raise ConfigError(
            f"{where}: missing {missing}, unknown {unknown}; keys are {', '.join(sorted(needed | allowed))}."
        )


def _values(value: Any) -> frozenset[str]:
    return frozenset(str(v).casefold() for v in (value if isinstance(value, list) else [value]))
