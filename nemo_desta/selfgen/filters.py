"""Which responses are fit to train on: rules, each with a name under which its catch is counted.

The rules on attributes compare a response with the metadata that the LLM was shown. `statements` declares, for an
attribute, the words that state each of its values:

    statements: {gender: {Female: ["woman|female|she|her"], Male: ["man|male|he|his"]}}

A response that uses another value's words, or denies its own ("not loud" of a loud one), contradicts the seed; a
response to a prompt `about` the attribute that uses none of its own value's words is beside the point.
`contradictions` forbids words for single values.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nemo_desta.errors import ConfigError
from nemo_desta.selfgen.config import check_keys

__all__ = ["ResponseFilter"]

_KEYS = {"on_length", "betrays", "refusals", "repetition", "statements", "contradictions", "beside_the_point"}
_WORDS = r"\b(?:%s)\b"
_DENIED = r"(?:\b(?:not|no|never|neither|hardly)|n't)\s+(?:\w+\s+)?(?:%s)\b"
Table = dict[str, dict[str, list[re.Pattern[str]]]]


class ResponseFilter:
    """The rules of conf/filters/*.yaml, compiled.

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
        repetition = config.get("repetition") or {}
        check_keys(repetition, {"ngram", "max_count"}, "filters, repetition")
        self._ngram, self._max_count = int(repetition.get("ngram", 4)), int(repetition.get("max_count", 3))
        self._statements = _table(config.get("statements") or {}, "statements")
        self._denials = _table(config.get("statements") or {}, "statements", _DENIED)
        self._contradictions = _table(config.get("contradictions") or {}, "contradictions")
        self._beside_the_point = bool(config.get("beside_the_point", False))

    def __call__(
        self, response: str, finish_reason: str, attributes: Mapping[str, str], about: str | None = None
    ) -> str | None:
        """The name of the first rule that the response breaks, or None when it is fit.

        Args:
            response: the LLM's answer.
            finish_reason: "stop", or "length" when it was cut at max_new_tokens.
            attributes: of the cut, as in `Seed.attributes`.
            about: the attribute its prompt asks for.
        """
        if not response.strip():
            return "empty"
        if finish_reason == "length" and self.on_length == "drop":
            return "length"
        if any(p.search(response) for p in self._betrays):
            return "betrays_text"
        if any(p.search(response) for p in self._refusals):
            return "refusal"
        if self._repeats(response):
            return "repetition"
        return self._against_attributes(response, attributes, about)

    def _repeats(self, response: str) -> bool:
        words = response.casefold().split()
        counts = Counter(tuple(words[i : i + self._ngram]) for i in range(len(words) - self._ngram + 1))
        return bool(counts) and max(counts.values()) > self._max_count

    def _against_attributes(self, response: str, attributes: Mapping[str, str], about: str | None) -> str | None:
        for name, value in attributes.items():
            value = value.casefold()
            if _any(self._contradictions.get(name, {}).get(value, ()), response):
                return f"contradiction:{name}"
            values = self._statements.get(name, {})
            if value in values and any(_any(words, response) for other, words in values.items() if other != value):
                return f"contradiction:{name}"
            if _any(self._denials.get(name, {}).get(value, ()), response):
                return f"contradiction:{name}"
        if (
            self._beside_the_point
            and about is not None
            and not self._states(response, about, attributes.get(about, ""))
        ):
            return f"beside_the_point:{about}"
        return None

    def _states(self, response: str, name: str, value: str) -> bool:
        own = self._statements.get(name, {}).get(value.casefold())
        if own is not None:
            return _any(own, response)
        return bool(value) and value.casefold() in response.casefold()  # no words declared: the value itself


def _any(patterns: Sequence[re.Pattern[str]], text: str) -> bool:
    return any(p.search(text) for p in patterns)


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
