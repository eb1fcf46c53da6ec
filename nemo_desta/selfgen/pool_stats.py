"""What a prompt pool is made of: kinds, duplicates, lengths, vocabulary."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasketch import MinHash, MinHashLSH

from nemo_desta.errors import ConfigError
from nemo_desta.record import read_records
from nemo_desta.selfgen.prompts import BETRAYING, PromptPool

__all__ = ["KindStats", "PoolStats", "import_pool", "near_duplicates", "pool_stats", "similarity"]

NEAR = 0.7
"""Jaccard similarity of word trigrams from which two prompts count as near duplicates."""
_PERMUTATIONS = 128
_CANDIDATE = 0.5  # the hashes only propose; low enough that a pair at NEAR is hardly ever missed


@dataclass(frozen=True)
class KindStats:
    """One kind of prompts.

    Attributes:
        prompts: how many.
        near_pairs: pairs of near duplicates among them, exact ones too.
        words: 5 %, 50 % and 95 % quantile of the number of words.
        vocabulary: distinct words.
        distinct_openings: share of prompts whose first three words open no other prompt of the kind.
        commonest_opening: the most frequent first two words, and how many prompts begin so.
    """

    prompts: int
    near_pairs: int
    words: tuple[int, int, int]
    vocabulary: int
    distinct_openings: float
    commonest_opening: tuple[str, int]

    @property
    def near_share(self) -> float:
        """Near-duplicate pairs for each prompt."""
        return self.near_pairs / self.prompts


@dataclass(frozen=True)
class PoolStats:
    """All kinds of a pool.

    Attributes:
        kinds: by name.
        exact: prompts that say word for word what another says, in any kind; case and punctuation aside.
        betraying: prompts with a word that betrays that no audio was there. Pools with one are refused when read.
        near_examples: a few near-duplicate pairs.
    """

    kinds: dict[str, KindStats]
    exact: int
    betraying: int
    near_examples: list[tuple[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        total = sum(k.prompts for k in self.kinds.values())
        lines = [f"{'kind':14}{'prompts':>8}{'near-duplicate pairs':>22}{'words 5/50/95 %':>18}{'vocabulary':>12}"]
        for name, k in self.kinds.items():
            lengths = "/".join(map(str, k.words))
            pairs = f"{k.near_pairs} ({k.near_share:.2%})"
            lines.append(f"{name:14}{k.prompts:8d}{pairs:>22}{lengths:>18}{k.vocabulary:12d}")
        lines.append(f"{total} prompts, {self.exact} exact duplicates, {self.betraying} with betraying words")
        lines += [
            f"commonest opening of {n}: {k.commonest_opening[0]!r}, {k.commonest_opening[1]} times; "
            f"{k.distinct_openings:.0%} open with three words of their own"
            for n, k in self.kinds.items()
        ]
        lines += [f"near: {a!r} ~ {b!r}" for a, b in self.near_examples]
        return "\n".join(lines)


def pool_stats(pool: PromptPool) -> PoolStats:
    """Measure a pool; near duplicates are looked for within each kind."""
    kinds, examples = {}, []
    for kind in dict.fromkeys(p.kind for p in pool.prompts):
        texts = [p.text for p in pool.prompts if p.kind == kind]
        pairs = near_duplicates(texts)
        examples += [(texts[a], texts[b]) for a, b in pairs[:3]]
        kinds[kind] = _kind_stats(texts, len(pairs))
    normal = [" ".join(_words(p.text)) for p in pool.prompts]
    betraying = sum(bool(BETRAYING.search(p.text)) for p in pool.prompts)
    return PoolStats(kinds, len(normal) - len(set(normal)), betraying, examples)


def _kind_stats(texts: Sequence[str], near_pairs: int) -> KindStats:
    words = [_words(t) for t in texts]
    first = Counter(" ".join(w[:3]) for w in words)
    opening = Counter(" ".join(w[:2]) for w in words).most_common(1)[0]
    low, middle, high = np.quantile([len(w) for w in words], (0.05, 0.5, 0.95))
    return KindStats(
        prompts=len(texts),
        near_pairs=near_pairs,
        words=(round(low), round(middle), round(high)),
        vocabulary=len({w for ws in words for w in ws}),
        distinct_openings=sum(n == 1 for n in first.values()) / len(texts),
        commonest_opening=opening,
    )


def near_duplicates(texts: Sequence[str], threshold: float = NEAR) -> list[tuple[int, int]]:
    """Pairs of numbers of texts whose word trigrams have a Jaccard similarity of at least `threshold`.

    MinHash with locality-sensitive hashing proposes pairs, the exact similarity decides.
    """
    grams = [_trigrams(t) for t in texts]
    index = MinHashLSH(threshold=min(_CANDIDATE, threshold), num_perm=_PERMUTATIONS)
    found = []
    for number, own in enumerate(grams):
        digest = MinHash(num_perm=_PERMUTATIONS)
        digest.update_batch([" ".join(g).encode() for g in own])
        found += [(o, number) for o in sorted(index.query(digest)) if _jaccard(grams[o], own) >= threshold]
        index.insert(number, digest)
    return sorted(found)


def similarity(a: str, b: str) -> float:
    """Jaccard similarity of the word trigrams of two texts; texts under three words count as one gram."""
    return _jaccard(_trigrams(a), _trigrams(b))


def _jaccard(a: set, b: set) -> float:
    return len(a & b) / len(a | b)


def _trigrams(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def import_pool(records: str | Path, output: str | Path, name: str, kind: str, domains: Iterable[str] = ()) -> dict:
    """Make a pool file of the distinct prompts of a DeSTA-format JSONL.

    Args:
        records: JSONL whose records have a `prompt`, such as DeSTA-AQA5M's.
        output: the YAML to write.
        name: of the pool.
        kind: one of prompts.KINDS, for all of them; sort them by hand where it matters.
        domains: where they fit; none: everywhere.

    Returns:
        Counts: `records`, `prompts` written, `betraying` left out, `without` a prompt.

    Raises:
        ConfigError: no record has a usable prompt.
    """
    counts = dict.fromkeys(("records", "prompts", "betraying", "without"), 0)
    kept: dict[str, None] = {}
    for record in read_records(records):
        counts["records"] += 1
        text = " ".join((record.prompt or "").split())
        if not text:
            counts["without"] += 1
        elif text not in kept:
            kept[text] = None
    texts = [t for t in kept if not BETRAYING.search(t)]
    counts["betraying"] = len(kept) - len(texts)
    counts["prompts"] = len(texts)
    if not texts:
        raise ConfigError(f"{records}: none of its {counts['records']} records has a usable prompt.")
    pool = {"pool": name, "domains": list(domains), "groups": [{"kind": kind, "prompts": texts}]}
    text = yaml.safe_dump(pool, sort_keys=False, allow_unicode=True, width=10_000)
    Path(output).write_text(f"# Prompts of {Path(records).name}\n{text}", encoding="utf-8")
    return counts
