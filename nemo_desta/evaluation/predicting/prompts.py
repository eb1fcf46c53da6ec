"""Prompt templates: from a question to the messages that are sent."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from nemo_desta.errors import ConfigError
from nemo_desta.evaluation.items import Item
from nemo_desta.record import AUDIO_LOCATOR, AudioRef, Message
from nemo_desta.schema import from_dict, suggest

__all__ = ["PromptTemplate", "Templates"]

_PLACES = re.compile(r"\{(instruction|text|options|choices)\}")
DEFAULT = "default"


@dataclass(frozen=True)
class PromptTemplate:
    """What is sent for one kind of question.

    `{instruction}` is the question's text, `{text}` what stands for the audio, `{options}` the choices as
    "a", "b" or "c", `{choices}` the choices as a list in brackets. `<|AUDIO|>` is where the audio goes, all of it if
    there are several clips.
    """

    system: str = ""
    """System prompt; empty for none."""
    audio: str = AUDIO_LOCATOR + "\n\n{instruction}"
    """User's turn of a model that hears."""
    text: str = "{text}\n\n{instruction}"
    """User's turn of the LLM that reads what stands for the audio: transcript (cascade) or reference (oracle)."""
    text_system: str | None = None
    """System prompt of that LLM; null: `system`."""
    alone: str = "{instruction}"
    """User's turn of the LLM that is told nothing of the audio."""


class Templates:
    """The templates of a benchmark by kind of question.

    Args:
        section: kind -> keys of `PromptTemplate`; what a kind leaves out is that of `default`.

    Raises:
        ConfigError: an unknown key, or no `<|AUDIO|>` in an `audio` template.
    """

    def __init__(self, section: Mapping[str, Mapping[str, str]]) -> None:
        base = section.get(DEFAULT) or {}
        self._by_kind = {k: from_dict(PromptTemplate, {**base, **(v or {})}) for k, v in section.items()}
        self._default = from_dict(PromptTemplate, dict(base))
        for kind, template in self._by_kind.items():
            if template.audio.count(AUDIO_LOCATOR) != 1:
                raise ConfigError(f"prompts.{kind}.audio: must hold {AUDIO_LOCATOR} once, it is {template.audio!r}.")

    def check_kinds(self, kinds: Sequence[str]) -> None:
        """Refuse templates for kinds that the questions do not have.

        Raises:
            ConfigError: naming the first.
        """
        for kind in self._by_kind:
            if kind not in kinds and kind != DEFAULT:
                raise ConfigError(f"prompts.{kind}: no question is of this kind{suggest(kind, kinds)}")

    def of(self, item: Item) -> PromptTemplate:
        """The template of a question."""
        return self._by_kind.get(item.kind, self._default)

    def heard(self, item: Item, audios: Sequence[AudioRef]) -> tuple[Message, ...]:
        """The conversation of a model that hears `audios`."""
        template = self.of(item)
        places = "\n".join([AUDIO_LOCATOR] * len(audios))
        before, after = template.audio.split(AUDIO_LOCATOR)
        content = _fill(before, item, "") + places + _fill(after, item, "")
        return _conversation(template.system, content.strip(), tuple(audios))

    def read(self, item: Item, text: str) -> tuple[Message, ...]:
        """The conversation of the LLM that reads `text` in the audio's place."""
        template = self.of(item)
        system = template.system if template.text_system is None else template.text_system
        return _conversation(system, _fill(template.text, item, text).strip())

    def alone(self, item: Item) -> tuple[Message, ...]:
        """The conversation of the LLM that gets the question alone."""
        template = self.of(item)
        return _conversation(template.system, _fill(template.alone, item, "").strip())

    def to_dict(self) -> dict[str, dict[str, str | None]]:
        """For manifests."""
        known = {DEFAULT: self._default, **self._by_kind}
        return {k: {f.name: getattr(t, f.name) for f in fields(t)} for k, t in known.items()}


def _conversation(system: str, content: str, audios: tuple[AudioRef, ...] = ()) -> tuple[Message, ...]:
    user = Message("user", content, audios)
    return (Message("system", system), user) if system else (user,)


def _fill(template: str, item: Item, text: str) -> str:
    values = {"instruction": item.instruction, "text": text}
    if "{options}" in template or "{choices}" in template:
        choices = item.fields.get("choices")
        if not isinstance(choices, (list, tuple)) or not choices:
            raise ConfigError(f"the prompt asks for the choices of question {item.id}, which has none.")
        quoted = [f'"{c}"' for c in choices]
        values["options"] = " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))
        values["choices"] = str(list(choices))
    return _PLACES.sub(lambda found: values[found[1]], template)
