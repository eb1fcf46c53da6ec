"""The spans of a cut that have attributes of their own, what the corpus states about each, and writing more to it.

A cut with supervisions has one span for each of them; a cut without has one, the whole.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lhotse import SupervisionSegment
from lhotse.utils import fastcopy

from nemo_desta.errors import SelfGenError
from nemo_desta.selfgen.config import find_config, load_yaml
from nemo_desta.selfgen.seed import SeedFormatter

__all__ = ["STANDARD", "Fields", "annotate", "digest_of", "spans_of"]

STANDARD = ("text", "gender", "language", "speaker")
"""Fields of a supervision that stand outside its `custom`."""


def spans_of(cut: Any) -> list[SupervisionSegment | None]:
    """The supervisions of a cut in the manifest's order; [None] for a cut without."""
    return list(cut.supervisions) or [None]


def digest_of(cut: Any) -> str:
    """Tells whether a cut's line in the manifest is the one that was measured."""
    line = json.dumps(cut.to_dict(), sort_keys=True, default=str)
    return hashlib.blake2b(line.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Fields:
    """What a corpus states, read with the vocabulary of a seed mapping, as self-generation will read it.

    Args:
        seed_config: name or path of the mapping.

    Raises:
        ConfigError: the mapping is missing or wrong.
    """

    def __init__(self, seed_config: str) -> None:
        mapping = load_yaml(find_config("seed", seed_config))
        self._formatter = SeedFormatter(mapping)
        self._rules = {rule.field: rule for rule in self._formatter.rules}
        self.domain_field: str = (mapping.get("domain") or {}).get("field", "domain")

    def stated(self, cut: Any, span: SupervisionSegment | None) -> dict[str, Any]:
        """The fields of a span that say something: the recording's, the cut's, and its own above them."""
        recording = getattr(cut, "recording", None)
        fields = {**(getattr(recording, "custom", None) or {}), **(cut.custom or {})}
        if span is not None:
            fields |= {**{k: getattr(span, k) for k in STANDARD}, **(span.custom or {})}
        return {k: v for k, v in fields.items() if self._says(k, v)}

    def domain(self, cut: Any, span: SupervisionSegment | None) -> str:
        """Speech, sound or music, as self-generation finds it for this span alone.

        Raises:
            SelfGenError: times are not finite, or a field's value has no words.
        """
        return self._formatter(fastcopy(cut, supervisions=[] if span is None else [span])).domain

    def word(self, field: str, value: Any) -> str | None:
        """A field's value in the mapping's words (`F` is Female); None where it says nothing."""
        rule = self._rules.get(field)
        try:
            text = rule.render(value) if rule else str(value).strip() if value is not None else None
        except TypeError:
            return None
        return text or None

    def _says(self, field: str, value: Any) -> bool:
        if value is None or (isinstance(value, str) and not value.strip()):
            return False
        rule = self._rules.get(field)
        try:
            return rule is None or rule.render(value) is not None
        except TypeError:
            return True


def annotate(cut: Any, additions: Sequence[Mapping[str, Any]]) -> Any:
    """A cut with new fields, one mapping for each of `spans_of(cut)`, in that order.

    Fields go to the supervision, those outside `STANDARD` to its `custom`; of a cut without supervisions, to the cut's
    `custom`, unless they need a supervision (text, gender, ...), which then is made for the whole cut.

    Raises:
        SelfGenError: the numbers differ; the cut is not the one that was measured.
    """
    spans = spans_of(cut)
    if len(spans) != len(additions):
        raise SelfGenError(f"cut {cut.id!r}: {len(spans)} spans, but {len(additions)} were measured.")
    if spans == [None]:
        (fields,) = additions
        if not fields.keys() & set(STANDARD):
            return fastcopy(cut, custom={**(cut.custom or {}), **fields} or None)
        whole = SupervisionSegment(cut.id, cut.recording.id, 0.0, cut.duration, cut.channel)
        return fastcopy(cut, supervisions=[_with(whole, fields)])
    return fastcopy(cut, supervisions=[_with(s, f) for s, f in zip(spans, additions, strict=True)])


def _with(span: SupervisionSegment, fields: Mapping[str, Any]) -> SupervisionSegment:
    own = {k: v for k, v in fields.items() if k in STANDARD}
    custom = {**(span.custom or {}), **{k: v for k, v in fields.items() if k not in STANDARD}}
    return fastcopy(span, **own, custom=custom or None)
