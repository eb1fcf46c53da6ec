"""ifeval: Google's checkers as VoiceBench calls them (src/evaluator/ifeval.py)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.ifeval.google import check_loose, check_strict
from nemo_desta.evaluation.items import Answer

__all__ = ["Followed", "cleaned", "follow", "responses_by_prompt"]


@dataclass(frozen=True)
class Followed:
    """Which instructions of one prompt a response follows, in their order.

    Attributes:
        strict: as it is.
        loose: or without its first line, its last line, its asterisks.
    """

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]

    @property
    def value(self) -> float:
        """Mean of the four shares for this prompt alone: all or none and share of instructions, strict and loose."""
        both = (self.strict, self.loose)
        return sum(all(f) + sum(f) / len(f) for f in both) / 4


def cleaned(response: str) -> str:
    """Without one leading <1>, <2> or <3> and one closing <|user|>; nothing else is stripped."""
    if response.startswith(("<1>", "<2>", "<3>")):
        response = response[3:].strip()
    if response.endswith("<|user|>"):
        response = response.removesuffix("<|user|>").strip()
    return response


def responses_by_prompt(answers: Sequence[Answer]) -> dict[str, str]:
    """What the official code checks: the last response to each prompt, cleaned. Two questions of one wording get the same."""
    return {a.fields["prompt"]: cleaned(a.response) for a in answers if a.response is not None}


def follow(fields: Mapping[str, Any], response: str, where: str) -> Followed:
    """Check every instruction of a prompt.

    Arguments of an instruction that are None, 0, False or "" are dropped, as officially: the checker takes its default.

    Raises:
        EvaluationError: instructions and arguments are no lists, or not as many.
    """
    names, arguments = fields["instruction_id_list"], fields["kwargs"]
    if not isinstance(names, list | tuple) or not isinstance(arguments, list | tuple):
        raise EvaluationError(
            f"{where}: instruction_id_list and kwargs must be lists, they are {names!r} and {arguments!r}."
        )
    if not names or len(names) != len(arguments):
        raise EvaluationError(
            f"{where}: {len(names)} instructions and {len(arguments)} sets of arguments; as many are needed, one at least."
        )
    given = [{k: v for k, v in (a or {}).items() if v} for a in arguments]
    pairs = list(zip(names, given, strict=True))
    return Followed(
        tuple(check_strict(name, kwargs, fields["prompt"], response) for name, kwargs in pairs),
        tuple(check_loose(name, kwargs, fields["prompt"], response) for name, kwargs in pairs),
    )
