"""Which responses are fit to train on: rules, each with a name under which its catch is counted.

The rules on attributes compare a response with the metadata that the LLM was shown. `statements` declares, for an
attribute, the words that state each of its values:

    statements: {gender: {Female: ["woman|female|she|her"], Male: ["man|male|he|his"]}}

A response that uses another value's words, or denies its own ("not loud" of a loud one), contradicts the seed; a
response to a prompt `about` the attribute that uses none of its own value's words is beside the point.
`contradictions` forbids words for single values.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nemo_desta.errors import ConfigError
from nemo_desta.selfgen.config import check_keys
from nemo_desta.selfgen.language import LanguageRule
from nemo_desta.selfgen.repetition import RepetitionRule

__all__ = ["BETRAYS", "ResponseFilter", "Verdict"]

BETRAYS = "betrays_text"
"""Name of the rule that finds responses which speak of a text where they should seem to have heard."""

_KEYS = {
    "on_length", "betrays", "refusals", "repetition", "language", "statements", "contradictions", "beside_the_point",
    "duplicates",
}  # fmt: skip
_WORDS = r"\b(?:%s)\b"
_DENIED = r"(?:\b(?:not|no|never|neither|hardly)|n't)\s+(?:\w+\s+)?(?:%s)\b"
Table = dict[str, dict[str, list[re.Pattern[str]]]]


@dataclass(frozen=True)
class Verdict:
    """Why a response is not fit.

    Attributes:
        reason: the rule's name, under which it is counted.
        matched: the words of the response that the rule found, or what else it went by.
    """

    reason: str
    matched: str = ""


class ResponseFilter:
    """The rules of conf/filters/*.yaml on single responses, compiled. (`duplicates` needs all rows: see `closing`.)

    Args:
        config: the parsed file.

    Raises:
        ConfigError: an unknown key, or a pattern that is no regular expression.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        check_keys(config, _KEYS, "filters")
        self.on_length = config.get("on_length", "drop")
        if self.on_length not in ("drop", "keep"):
            raise ConfigError(f"filters: on_length is {self.on_length!r}; use drop or keep.")
        self._betrays = _compile(config.get("betrays") or (), "betrays")
        self._refusals = _compile(config.get("refusals") or (), "refusals")
        self._repetition = RepetitionRule(config.get("repetition") or {})
        language = config.get("language")
        self._language = None if language is None else LanguageRule(language)
        self._statements = _table(config.get("statements") or {}, "statements")
        self._denials = _table(config.get("statements") or {}, "statements", _DENIED)
        self._contradictions = _table(config.get("contradictions") or {}, "contradictions")
        self._beside_the_point = bool(config.get("beside_the_point", False))

    def __call__(
        self,
        response: str,
        finish_reason: str,
        attributes: Mapping[str, str],
        about: str | None = None,
        prompt: str = "",
        spoken: str = "",
    ) -> Verdict | None:
        """The first rule that the response breaks, or None when it is fit.

        Args:
            response: the LLM's answer.
            finish_reason: "stop", or "length" when it was cut at max_new_tokens.
            attributes: of the cut, as in `Seed.attributes`.
            about: the attribute its prompt asks for.
            prompt: what it answers.
            spoken: the words of the clip.
        """
        if not response.strip():
            return Verdict("empty")
        if finish_reason == "length" and self.on_length == "drop":
            return Verdict("length", response[-40:])
        for reason, patterns in ((BETRAYS, self._betrays), ("refusal", self._refusals)):
            if found := _first(patterns, response):
                return Verdict(reason, found)
        if found := self._repetition(response):
            return Verdict("repetition", found)
        if self._language is not None and (found := self._language(response, prompt, spoken)):
            return Verdict("wrong_language", found)
        return self._against_attributes(response, attributes, about)

    def _against_attributes(self, response: str, attributes: Mapping[str, str], about: str | None) -> Verdict | None:
        for name, value in attributes.items():
            value = value.casefold()
            values = self._statements.get(name, {})
            other = [p for v, words in values.items() if v != value for p in words] if value in values else []
            denied = self._denials.get(name, {}).get(value, ())
            found = _first([*self._contradictions.get(name, {}).get(value, ()), *other, *denied], response)
            if found:
                return Verdict(f"contradiction:{name}", found)
        if (
            self._beside_the_point
            and about is not None
            and not self._states(response, about, attributes.get(about, ""))
        ):
            return Verdict(f"beside_the_point:{about}", f"{attributes.get(about, '')!r} is not in it")
        return None

    def _states(self, response: str, name: str, value: str) -> bool:
        own = self._statements.get(name, {}).get(value.casefold())
        if own is not None:
            return bool(_first(own, response))
        return bool(value) and value.casefold() in response.casefold()  # no words declared: the value itself


def _first(patterns: Sequence[re.Pattern[str]], text: str) -> str:
    """What the first pattern that matches has found; empty when none does."""
    return next((m.group() for p in patterns if (m := p.search(text))), "")


def _compile(patterns: Sequence[str] | str, where: str, form: str = _WORDS) -> list[re.Pattern[str]]:
    out = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        try:
            out.append(re.compile(form % pattern, re.IGNORECASE))
        except re.error as err:
            raise ConfigError(f"filters, {where}: {pattern!r} is no regular expression ({err}).") from err
    return out


def _table(config: Any, where: str, form: str = _WORDS) -> Table:
    if not isinstance(config, Mapping) or not all(isinstance(v, Mapping) for v in config.values()):
        raise ConfigError(f"filters, {where}: write {{attribute: {{value: [words]}}}}, this is {config!r}.")
    return {
        str(name): {
            str(value).casefold(): _compile(words, f"{where}, {name}, {value}", form) for value, words in values.items()
        }
        for name, values in config.items()
    }
