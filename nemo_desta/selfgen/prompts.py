"""Prompt pools, and the choice of a prompt for each draw.

The paper draws each prompt from a large pool of several kinds: descriptive, fine-grained question, role-play or open
conversation; reasoning over what was heard and answers of a given form have kinds of their own here, so that each can be
weighed. Here the choice is a pure function of (seed, cut id, draw number): it depends on no order, worker or
shard, and the draws of one cut differ from each other as long as its pool has enough prompts.
"""

import hashlib
import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random
from typing import Any

from nemo_desta.errors import ConfigError
from nemo_desta.selfgen.config import check_keys, load_yaml

__all__ = ["BETRAYING", "KINDS", "Prompt", "PromptPool", "SystemPrompts", "stable_hash"]

KINDS = ("descriptive", "question", "conversation", "reasoning", "format")
BETRAYING = re.compile(
    r"\b(descriptions?|meta-?data|text(ual)? (above|below|provided)|the text|annotations?|captions?)\b", re.IGNORECASE
)
_GROUP_KEYS = {"kind", "domains", "requires", "when", "about", "weight", "prompts"}


@dataclass(frozen=True)
class Prompt:
    """One prompt and its conditions.

    Attributes:
        id: `<pool>/<kind>/<hash of the text>`, stable when the pool grows or is reordered.
        text: what the user says.
        kind: one of KINDS.
        domains: where it fits; empty: everywhere.
        requires: attributes that the cut must have (names of seed fields, `spoken`, `dialogue`); `!name` must be absent.
        when: attribute -> the values it must have one of.
        about: the attribute it asks for, read by the filters; None for open prompts.
        weight: relative frequency among the prompts that fit.
    """

    id: str
    text: str
    kind: str
    domains: frozenset[str] = frozenset()
    requires: frozenset[str] = frozenset()
    when: Mapping[str, frozenset[str]] = field(default_factory=dict)
    about: str | None = None
    weight: float = 1.0

    def fits(self, domain: str, attributes: Mapping[str, str]) -> bool:
        """Whether the prompt may be asked of such a cut."""
        if self.domains and domain not in self.domains:
            return False
        if any(
            (name[1:] in attributes) if name.startswith("!") else (name not in attributes) for name in self.requires
        ):
            return False
        return all(attributes.get(name, "").casefold() in values for name, values in self.when.items())


class PromptPool:
    """The prompts of one or more pool files.

    Args:
        prompts: ids must differ.
        kind_weights: how often each kind is drawn, whatever the number of its prompts that fit; kinds not named are not
            drawn. None: as often as its prompts' weights say.

    Raises:
        ConfigError: the pool is empty, holds one prompt twice, or a weight is no kind's or not above 0.
    """

    def __init__(self, prompts: Iterable[Prompt], kind_weights: Mapping[str, float] | None = None) -> None:
        self.prompts = sorted(prompts, key=lambda p: p.id)
        if not self.prompts:
            raise ConfigError("the prompt pool is empty; name at least one pool with prompts in it.")
        twice = sorted({a.text for a, b in zip(self.prompts, self.prompts[1:], strict=False) if a.id == b.id})
        if twice:
            raise ConfigError(
                f"prompt(s) given twice in one pool and kind: {'; '.join(map(repr, twice))}; keep one of each."
            )
        self.kind_weights = _checked_weights(kind_weights)
        self._conditions = frozenset(n.removeprefix("!") for p in self.prompts for n in (*p.requires, *p.when))
        self._eligible: dict[tuple, tuple[list[Prompt], list[float]]] = {}

    @classmethod
    def from_yaml(
        cls, paths: Sequence[str | os.PathLike[str]], kind_weights: Mapping[str, float] | None = None
    ) -> "PromptPool":
        """Read pool files (form: head of conf/prompts/speech.yaml).

        Raises:
            ConfigError: naming file and prompt.
        """
        return cls((p for path in paths for p in _read_pool(path)), kind_weights)

    def __len__(self) -> int:
        return len(self.prompts)

    def eligible(self, domain: str, attributes: Mapping[str, str]) -> list[Prompt]:
        """The prompts that fit, in order of id."""
        return self._fitting(domain, attributes)[0]

    def choose(self, seed: int, cut_id: str, draw: int, domain: str, attributes: Mapping[str, str]) -> Prompt | None:
        """The prompt of one draw, or None when none fits. Draw numbers count from 0."""
        prompts, cumulative = self._fitting(domain, attributes)
        if not prompts:
            return None
        rounds, position = divmod(draw, len(prompts))
        rng = Random(stable_hash("prompt", seed, cut_id, rounds))
        taken: set[int] = set()
        while True:
            pick = min(bisect_right(cumulative, rng.random() * cumulative[-1]), len(prompts) - 1)
            if pick in taken:
                continue
            if len(taken) == position:
                return prompts[pick]
            taken.add(pick)

    def _fitting(self, domain: str, attributes: Mapping[str, str]) -> tuple[list[Prompt], list[float]]:
        key = (domain, tuple(sorted((n, v) for n, v in attributes.items() if n in self._conditions)))
        if key not in self._eligible:
            if len(self._eligible) >= 10_000:  # free-form values in conditions: keep memory flat
                self._eligible.clear()
            found = [p for p in self.prompts if p.fits(domain, attributes)]
            if self.kind_weights is not None:
                found = [p for p in found if p.kind in self.kind_weights]
            self._eligible[key] = (found, list(accumulate(self._weights(found))))
        return self._eligible[key]

    def _weights(self, found: Sequence[Prompt]) -> list[float]:
        if self.kind_weights is None:
            return [p.weight for p in found]
        totals: Counter[str] = Counter()
        for prompt in found:
            totals[prompt.kind] += prompt.weight
        return [self.kind_weights[p.kind] * p.weight / totals[p.kind] for p in found]


class SystemPrompts:
    """The system prompts to draw from (`conf/prompts/system.yaml`).

    Args:
        texts: id -> text; an empty text stands for no system message.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        if not texts:
            raise ConfigError("no system prompt to choose from; name at least one of conf/prompts/system.yaml.")
        self.texts = dict(sorted(texts.items()))

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], ids: Sequence[str] | None = None) -> "SystemPrompts":
        """Read the file, and keep the prompts named in `ids` (None: all).

        Raises:
            ConfigError: an id is not in the file.
        """
        config = load_yaml(path)
        check_keys(config, {"prompts"}, str(path))
        texts = {str(k): str(v or "") for k, v in (config.get("prompts") or {}).items()}
        missing = [i for i in ids or () if i not in texts]
        if missing:
            raise ConfigError(f"{path}: no system prompt {', '.join(missing)}; there are {', '.join(texts)}.")
        return cls(texts if ids is None else {i: texts[i] for i in ids})

    def choose(self, seed: int, cut_id: str, draw: int) -> tuple[str, str]:
        """(id, text) of one draw."""
        ids = list(self.texts)
        chosen = ids[stable_hash("system", seed, cut_id, draw) % len(ids)]
        return chosen, self.texts[chosen]


def _checked_weights(weights: Mapping[str, float] | None) -> dict[str, float] | None:
    if weights is None:
        return None
    wrong = [f"{k}: {w}" for k, w in weights.items() if k not in KINDS or not w > 0]
    if wrong or not weights:
        raise ConfigError(
            f"kind_weights {', '.join(wrong) or 'are empty'}: name some of {', '.join(KINDS)}, each with a number above 0."
        )
    return dict(weights)


def stable_hash(*parts: Any) -> int:
    """A 64-bit number that depends on nothing but the parts (not on process, machine, or PYTHONHASHSEED)."""
    data = "\x1f".join(f"{type(p).__name__}:{p}" for p in parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _read_pool(path: str | os.PathLike[str]) -> list[Prompt]:
    config = load_yaml(path)
    check_keys(config, {"pool", "domains", "groups"}, str(path))
    if not config.get("pool"):
        raise ConfigError(f"{path}: give the pool a name under 'pool'; prompt ids begin with it.")
    out: list[Prompt] = []
    for number, group in enumerate(config.get("groups") or ()):
        out += _read_group(group, str(config["pool"]), config.get("domains") or (), f"{path}, group {number}")
    if not out:
        raise ConfigError(f"{path}: the pool has no prompts.")
    return out


def _read_group(group: Any, pool: str, domains: Sequence[str], where: str) -> list[Prompt]:
    check_keys(group, _GROUP_KEYS, where)
    if group.get("kind") not in KINDS:
        raise ConfigError(f"{where}: kind is {group.get('kind')!r}; use one of {', '.join(KINDS)}.")
    texts = group.get("prompts") or []
    if not texts:
        raise ConfigError(f"{where}: it has no prompts.")
    shared = {
        "kind": group["kind"],
        "domains": frozenset(group.get("domains") or domains),
        "requires": frozenset(map(str, group.get("requires") or ())),
        "when": {
            str(k): frozenset(str(v).casefold() for v in _listed(vs)) for k, vs in (group.get("when") or {}).items()
        },
        "about": group.get("about"),
        "weight": float(group.get("weight", len(texts))) / len(texts),
    }
    if not shared["weight"] > 0:
        raise ConfigError(f"{where}: weight must be above 0; take the group out to leave it unused.")
    return [_prompt(text, pool, shared, where) for text in texts]


def _prompt(text: Any, pool: str, shared: Mapping[str, Any], where: str) -> Prompt:
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"{where}: a prompt must be text, this is {text!r} (quote it if it holds a colon).")
    text = text.strip()
    betrays = BETRAYING.search(text)
    if betrays:
        raise ConfigError(
            f"{where}: prompt {text!r} says {betrays.group()!r}, which betrays that no audio is there; reword it."
        )
    return Prompt(id=f"{pool}/{shared['kind']}/{stable_hash(shared['kind'], text):016x}", text=text, **shared)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]
