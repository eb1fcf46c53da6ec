"""The settings of computed attributes; conf/attributes.yaml holds them with comments."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from nemo_desta.attributes.measure import DIGITS
from nemo_desta.errors import ConfigError
from nemo_desta.schema import suggest

__all__ = ["DOMAINS", "AttributesConfig", "WordRule", "default_words"]

DOMAINS = ("speech", "sound", "music")
_SCALE = ["very low", "low", "normal", "high", "very high"]


@dataclass(frozen=True)
class WordRule:
    """How one measured number becomes a word."""

    measures: list[str]
    """The numbers it is taken from, the first that a clip has; each has thresholds of its own."""
    words: list[str] = field(default_factory=lambda: list(_SCALE))
    """From the lowest number to the highest."""
    quantiles: list[float] | None = None
    """Shares of the corpus between two words, one fewer than words; None with `edges`."""
    edges: list[float] | None = None
    """Fixed limits between two words, in the measure's unit, instead of quantiles."""
    per: list[str] = field(default_factory=list)
    """Fields whose values have thresholds of their own (gender, language, domain, ...); where a clip lacks one of
    them, it is compared with all clips, whatever theirs."""

    def problems(self, name: str) -> list[str]:
        """What is wrong with it, one message each."""
        wrong = [
            f"words.{name}.measures: there is no measure {m!r}{suggest(m, DIGITS)}"
            for m in self.measures
            if m not in DIGITS
        ]
        limits = self.edges if self.edges is not None else self.quantiles
        if not self.measures:
            wrong.append(f"words.{name}.measures: is empty")
        if (self.edges is None) == (self.quantiles is None):
            wrong.append(f"words.{name}: give either quantiles or edges")
        elif len(limits) != len(self.words) - 1:
            wrong.append(f"words.{name}: {len(self.words)} words need {len(self.words) - 1} limits, not {len(limits)}")
        elif not all(math.isfinite(x) for x in limits) or any(a >= b for a, b in pairwise(limits)):
            wrong.append(f"words.{name}: limits must ascend, {limits} do not")
        elif self.edges is None and not all(0 < q < 1 for q in limits):
            wrong.append(f"words.{name}.quantiles: must lie between 0 and 1, {limits} do not")
        if self.edges is not None and self.per:
            wrong.append(f"words.{name}: edges are the same for all clips; leave per out")
        if len(set(self.words)) != len(self.words):
            wrong.append(f"words.{name}.words: one stands there twice")
        return wrong


def default_words() -> dict[str, WordRule]:
    """Pitch, volume, speaking speed, silence and noise; the same as in conf/attributes.yaml."""
    usual = [0.1, 0.3, 0.7, 0.9]
    speeds = ["very slow", "slow", "normal", "fast", "very fast"]
    noises = ["very noisy", "noisy", "moderate", "clean", "very clean"]
    return {
        "pitch": WordRule(["pitch_hz"], quantiles=usual, per=["gender"]),
        "volume": WordRule(["volume_db"], quantiles=usual, per=["domain"]),
        "speaking_speed": WordRule(["letters_per_second", "characters_per_second"], speeds, usual, per=["language"]),
        "silence": WordRule(["silence_share"], quantiles=usual, per=["domain"]),
        "noise": WordRule(["snr_db_estimate"], noises, edges=[5.0, 12.0, 18.0, 30.0]),
    }


@dataclass(frozen=True)
class AttributesConfig:
    """Settings of one run."""

    cuts: str | list[str]
    """Manifest(s): cuts, recordings with their supervisions beside them."""
    output_dir: str
    """Gets <name>_cuts.jsonl.gz, failed.jsonl, thresholds.json, summary.json; one that was begun is continued."""
    name: str = "attributes"
    """Stem of the manifest."""
    audio_root: str | None = None
    """Audio paths are relative to it and cannot leave it. None: the folder of the first manifest."""
    num_jobs: int = 1
    """Processes; does not change a byte of the result."""
    batch_size: int = 32
    """Cuts read and labelled together; costs memory."""
    labellers: list[Any] = field(default_factory=list)
    """Models that label: `asr`, `package.module:function`, or a mapping of `name` and that function's options."""
    domain: str | None = None
    """Of clips that state none: speech, sound or music; it is written to them. None: as self-generation finds it."""
    overwrite: bool = False
    """True: replace fields that the corpus states itself."""
    seed_config: str = "default"
    """The seed mapping, for the values of fields (F is Female, unknown is none): a name in conf/seed/ or a path."""
    words: dict[str, WordRule] = field(default_factory=default_words)
    """Field -> how its word is found."""
    thresholds: str | None = None
    """A thresholds.json of another run, whose words are to be the same; None: learn from this corpus."""
    min_values: int = 50
    """Clips that quantiles need; groups with fewer get no words."""
    max_failed: float = 0.05
    """Share of cuts that may fail before the run stops."""
    sync_every: int = 64
    """Cuts between two fsyncs."""
    progress: bool = True
    """Show a bar with the time left."""

    def checked(self) -> "AttributesConfig":
        """Itself.

        Raises:
            ConfigError: naming every value that is out of range.
        """
        wrong = [
            f"{k}={getattr(self, k)!r} must be at least 1"
            for k in ("num_jobs", "batch_size", "min_values", "sync_every")
            if getattr(self, k) < 1
        ]
        if not 0 <= self.max_failed <= 1:
            wrong.append(f"max_failed={self.max_failed} is a share, from 0 to 1")
        if not self.name or "/" in self.name or self.name.startswith("."):
            wrong.append(f"name={self.name!r} must be a plain file stem")
        if self.domain is not None and self.domain not in DOMAINS:
            wrong.append(f"domain={self.domain!r} must be one of {', '.join(DOMAINS)}")
        wrong += [problem for name, rule in self.words.items() for problem in rule.problems(name)]
        if wrong:
            raise ConfigError("computed attributes: " + "; ".join(wrong) + ".")
        return self
