"""Lhotse metadata to seed descriptions, the text that stands where the audio will be.

Form, after the released DeSTA-AQA5M data (its docs/dataset.md), made uniform here:

    [MM:SS-MM:SS] spoken text (Attribute: value, ...)

One line for each supervision; a cut without any, or one whose supervisions say less than its recording, adds a
line for the whole. The mapping from metadata fields to attributes is data (`conf/seed/*.yaml`), never code.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nemo_desta.errors import ConfigError, SelfGenError
from nemo_desta.selfgen.config import check_keys, load_yaml

__all__ = ["FieldRule", "Seed", "SeedFormatter", "format_span"]

_LINE_BREAKS = re.compile(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
_STANDARD = ("gender", "language")  # supervision fields outside `custom` that are attributes


@dataclass(frozen=True)
class FieldRule:
    """How one metadata field becomes one attribute; see the head of conf/seed/default.yaml."""

    field: str
    name: str
    values: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    digits: int = 1
    drop: frozenset[str] = frozenset()
    keep_case: bool = False

    def render(self, value: Any) -> str | None:
        """The value's words, or None when it says nothing.

        Raises:
            TypeError: the value is of a kind that has no words (a mapping, an object).
        """
        if value is None:
            return None
        if isinstance(value, list | tuple):
            parts = [p for p in (self.render(v) for v in value) if p is not None]
            return ", ".join(parts) or None
        if isinstance(value, bool):
            value = "Yes" if value else "No"
        if isinstance(value, int | float):
            text = _number(float(value), self.digits)
            return None if text is None else self.values.get(text, text + self.unit)
        if not isinstance(value, str):
            raise TypeError(f"a {type(value).__name__}")
        text = _LINE_BREAKS.sub(" ", value).strip()
        if text.casefold() in self.drop:
            return None
        mapped = self.values.get(text.casefold())
        if mapped is not None:
            return mapped if mapped.casefold() not in self.drop else None
        return text if self.keep_case else text[:1].upper() + text[1:]


@dataclass(frozen=True, slots=True)
class Seed:
    """What is known about one cut.

    Attributes:
        text: the seed description, one line or more.
        attributes: field -> words, those that hold for the whole cut (one value in all its lines), for prompt
            conditions and filters; `spoken` and `dialogue` are added where they hold.
        domain: speech, sound or music.
        transcript: what is spoken, lines joined by a space, or " " when nothing is.
    """

    text: str
    attributes: Mapping[str, str]
    domain: str
    transcript: str


def format_span(start: float, end: float, hours: bool = False) -> str:
    """`[MM:SS-MM:SS]`, or `[HH:MM:SS-HH:MM:SS]`; seconds rounded, never an empty span."""
    first = math.floor(start + 0.5)
    last = max(math.floor(end + 0.5), first + 1)
    return f"[{_clock(first, hours)}-{_clock(last, hours)}]"


def _clock(seconds: int, hours: bool) -> str:
    minutes, seconds = divmod(seconds, 60)
    if not hours:
        return f"{minutes:02d}:{seconds:02d}"
    hour, minutes = divmod(minutes, 60)
    return f"{hour:02d}:{minutes:02d}:{seconds:02d}"


def _number(value: float, digits: int) -> str | None:
    if not math.isfinite(value):
        return None
    text = f"{value:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


class SeedFormatter:
    """Turns cuts into seeds by a mapping read from YAML.

    Fields that the mapping does not know are counted in `unknown`, for the caller to show.

    Args:
        config: the parsed mapping (`conf/seed/default.yaml` explains each key).

    Raises:
        ConfigError: naming every wrong key at once.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        check_keys(config, {"domain", "speaker", "duration", "drop_values", "fields", "ignore"}, "seed mapping")
        drop = {str(v).casefold() for v in config.get("drop_values") or ()}
        self.rules = [_rule(entry, drop) for entry in config.get("fields") or ()]
        self._by_field = {rule.field: (i, rule) for i, rule in enumerate(self.rules)}
        domain, speaker = config.get("domain") or {}, config.get("speaker") or {}
        check_keys(domain, {"field", "music_fields"}, "seed mapping, domain")
        check_keys(speaker, {"field", "name"}, "seed mapping, speaker")
        self._domain_field = domain.get("field", "domain")
        self._music_fields = frozenset(domain.get("music_fields") or ())
        self._speaker_name = speaker.get("name", "Speaker")
        duration = config.get("duration") or {}
        check_keys(duration, {"name", "unit", "digits"}, "seed mapping, duration")
        self._duration = (
            FieldRule("duration", duration["name"], unit=duration.get("unit", "s"), digits=duration.get("digits", 1))
            if duration.get("name")
            else None
        )
        self._silent = {self._domain_field, *(config.get("ignore") or ())}
        self.unknown: Counter[str] = Counter()
        self._unused = set(self._by_field)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> "SeedFormatter":
        """Read the mapping from a YAML file."""
        return cls(load_yaml(path))

    @property
    def unused(self) -> list[str]:
        """Fields of the mapping that no cut has had so far, in its order."""
        return [rule.field for rule in self.rules if rule.field in self._unused and rule.field not in _STANDARD]

    def __call__(self, cut: Any) -> Seed:
        """Describe one Lhotse cut.

        Raises:
            SelfGenError: times are not finite, or a field's value has no words; cut and field are named.
        """
        if not (math.isfinite(cut.duration) and cut.duration > 0):
            raise SelfGenError(
                f"cut {cut.id!r}: duration {cut.duration!r} is no positive number of seconds; repair the manifest."
            )
        whole = self._attributes(self._custom_of(cut), cut.id)
        supervisions = sorted(cut.supervisions, key=lambda s: (s.start, s.end, str(s.id)))
        for s in supervisions:
            if not (math.isfinite(s.start) and math.isfinite(s.duration)):
                raise SelfGenError(
                    f"cut {cut.id!r}: supervision {s.id!r} has times {s.start!r}, {s.duration!r}; repair the manifest."
                )
        speakers = {s.speaker for s in supervisions if s.speaker}
        hours = cut.duration >= 3600
        per_line = [self._attributes(self._fields_of(s), cut.id) for s in supervisions]
        texts = [_LINE_BREAKS.sub(" ", s.text or "").strip() for s in supervisions]
        lines = []
        for s, text, own in zip(supervisions, texts, per_line, strict=True):
            attributes = dict(own) if len(supervisions) > 1 else {**whole, **own}
            words = self._words(
                attributes, cut.duration if len(supervisions) == 1 else None, s.speaker if len(speakers) > 1 else None
            )
            span = (
                (0.0, cut.duration)
                if len(supervisions) == 1 and not text
                else (max(s.start, 0.0), min(s.end, cut.duration))
            )
            lines.append(_line(format_span(*span, hours), text, words))
        if len(supervisions) != 1 and (whole or not supervisions):
            lines.append(_line(format_span(0, cut.duration, hours), "", self._words(whole, cut.duration, None)))
        return Seed(
            "\n".join(lines),
            self._shared(whole, per_line, texts, speakers),
            self._domain(cut, texts, whole, per_line),
            " ".join(t for t in texts if t) or " ",
        )

    def _custom_of(self, cut: Any) -> dict[str, Any]:
        recording = getattr(cut, "recording", None)
        fields = {**(getattr(recording, "custom", None) or {}), **(getattr(cut, "custom", None) or {})}
        return {
            k: v for k, v in fields.items() if not hasattr(v, "to_dict")
        }  # manifests attached to a cut are no attributes

    def _fields_of(self, supervision: Any) -> dict[str, Any]:
        return {**{k: getattr(supervision, k) for k in _STANDARD}, **(supervision.custom or {})}

    def _attributes(self, fields: Mapping[str, Any], cut_id: str) -> dict[str, str]:
        known = []
        for name in fields:
            if name in self._by_field:
                known.append(self._by_field[name])
            elif name not in self._silent and name not in _STANDARD:
                self.unknown[name] += 1
        out = {}
        for _, rule in sorted(known):
            self._unused.discard(rule.field)
            try:
                words = rule.render(fields[rule.field])
            except TypeError as err:
                raise SelfGenError(
                    f"cut {cut_id!r}: field {rule.field!r} is {err}, which has no words; map it to text in the recipe or take it out of the seed mapping."
                ) from err
            if words is not None:
                out[rule.field] = words
        return out

    def _words(self, attributes: Mapping[str, str], duration: float | None, speaker: str | None) -> list[str]:
        out = [f"{self._speaker_name}: {_LINE_BREAKS.sub(' ', speaker)}"] if speaker else []
        ordered = sorted(self._by_field[name] for name in attributes)
        out += [f"{rule.name}: {attributes[rule.field]}" for _, rule in ordered]
        if duration is not None and self._duration is not None:
            out.append(f"{self._duration.name}: {self._duration.render(duration)}")
        return out

    def _shared(
        self, whole: Mapping[str, str], per_line: Sequence[Mapping[str, str]], texts: Sequence[str], speakers: set[str]
    ) -> dict[str, str]:
        shared = dict(whole)
        for name in {k for line in per_line for k in line}:
            values = {line.get(name) for line in per_line}
            if len(values) == 1 and None not in values:
                shared[name] = values.pop()
            else:
                shared.pop(name, None)
        if any(texts):
            shared["spoken"] = "Yes"
        if len(speakers) > 1:
            shared["dialogue"] = "Yes"
        return shared

    def _domain(
        self, cut: Any, texts: Sequence[str], whole: Mapping[str, str], per_line: Sequence[Mapping[str, str]]
    ) -> str:
        stated = {
            str(f[self._domain_field]).casefold()
            for f in (self._custom_of(cut), *(s.custom or {} for s in cut.supervisions))
            if f.get(self._domain_field)
        }
        if len(stated) == 1:
            return stated.pop()
        if any(texts):
            return "speech"
        names = {*whole, *(k for line in per_line for k in line)}
        if names & self._music_fields:
            return "music"
        return "speech" if "gender" in names else "sound"


def _line(span: str, text: str, words: Sequence[str]) -> str:
    return " ".join(p for p in (span, text, f"({', '.join(words)})" if words else "") if p)


def _rule(entry: Any, drop: set[str]) -> FieldRule:
    where = f"seed mapping, field {entry!r}"
    check_keys(entry, {"field", "name", "values", "unit", "digits", "drop", "keep_case"}, where)
    if not entry.get("field") or not entry.get("name"):
        raise ConfigError(f"{where}: give both 'field' and 'name'.")
    values = {str(k).casefold(): str(v) for k, v in (entry.get("values") or {}).items()}
    own_drop = {str(v).casefold() for v in entry.get("drop") or ()}
    return FieldRule(
        entry["field"],
        entry["name"],
        values,
        str(entry.get("unit") or ""),
        int(entry.get("digits", 1)),
        frozenset(drop | own_drop),
        bool(entry.get("keep_case", False)),
    )
