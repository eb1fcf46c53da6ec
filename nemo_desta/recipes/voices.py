"""The voices and sentences of the demo corpus, read from `data/voices.yaml` and `data/sentences.yaml`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import yaml

from nemo_desta.recipes.espeak import variant_definition

__all__ = ["DATA_DIR", "Voice", "load_sentences", "load_voices"]

DATA_DIR = Path(__file__).parent / "data"

_DROPPED = ("breath", "echo", "pitch", "language")
"""Lines of shipped variants left out: not reproducible, reverberant, set clip by clip, fixed to one language."""

_MEDIAN_IN_SPAN = 0.62
"""Where between its low and high fundamental a libespeak-ng voice spends its median frame (measured, 0.51-0.69)."""


@dataclass(frozen=True)
class Voice:
    """One speaker of the corpus: a shipped variant of libespeak-ng, or one defined by its formants."""

    name: str
    gender: str
    """ "male" or "female", by the variant's own definition or by the formants given here."""
    unseen: bool
    """True: speaks only in test_unseen_voices."""
    variant: str | None = None
    """Name of the shipped variant; None for a voice defined here."""
    formants: tuple[int, ...] = ()
    """Percent of the neutral voice's F1, F2, F3 and higher formants."""
    flutter: int = 2
    roughness: int = 2

    def definition(self, f0: float, span: float) -> str:
        """The voice in libespeak-ng's format, with median fundamental `f0` in Hz and intonation of ratio `span`."""
        low = f0 / (1 + _MEDIAN_IN_SPAN * (span - 1))
        return f"language variant\npitch {round(low)} {round(low * span)}\n{self._timbre()}"

    def _timbre(self) -> str:
        if self.variant is not None:
            lines = variant_definition(self.variant).splitlines()
            return "\n".join(line for line in lines if line.strip() and not line.startswith(_DROPPED)) + "\n"
        first, second, third, higher = self.formants
        frequencies = [first, first, second, third] + [higher] * 5
        lines = [f"name {self.name}", f"gender {self.gender}", f"flutter {self.flutter}", f"roughness {self.roughness}"]
        lines += [f"formant {i} {percent} 100 100" for i, percent in enumerate(frequencies)]
        return "\n".join(lines) + "\n"


@functools.cache
def load_voices() -> tuple[Voice, ...]:
    """All voices, in the file's order."""
    table = yaml.safe_load((DATA_DIR / "voices.yaml").read_text(encoding="utf-8"))
    return tuple(_voice(gender, entry) for gender, entries in table.items() for entry in entries)


def _voice(gender: str, entry: dict) -> Voice:
    name = entry.get("name", entry.get("variant"))
    fields = {**entry, "name": name.lower(), "formants": tuple(entry.get("formants", ()))}
    return Voice(gender=gender, **fields)


@functools.cache
def load_sentences() -> dict[str, tuple[str, ...]]:
    """Sentences by language name ("English", ...), in the file's order."""
    table = yaml.safe_load((DATA_DIR / "sentences.yaml").read_text(encoding="utf-8"))
    return {language: tuple(sentences) for language, sentences in table.items()}
