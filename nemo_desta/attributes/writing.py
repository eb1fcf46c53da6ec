"""The last pass: cuts with their measures, labels and words to a manifest, and what could not be measured beside it."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nemo_desta.attributes.config import AttributesConfig, WordRule
from nemo_desta.attributes.spans import Fields, annotate, digest_of, spans_of
from nemo_desta.attributes.words import Group, Learner, Thresholds
from nemo_desta.errors import SelfGenError
from nemo_desta.files import whole_file
from nemo_desta.selfgen.plan import CutSource
from nemo_desta.selfgen.writer import WorkLog

__all__ = ["Tally", "learn", "write_cuts"]


class Tally:
    """What became of cuts and spans.

    Attributes:
        cuts: by status.
        words: field -> word -> spans that got it; `(stated)` by the corpus, `(none)` without number or limits.
    """

    def __init__(self, rules: Mapping[str, WordRule]) -> None:
        self.cuts: Counter[str] = Counter(ok=0, failed=0)
        self.words: dict[str, Counter[str]] = {name: Counter() for name in rules}


def learn(config: AttributesConfig, source: CutSource, log: WorkLog, fields: Fields) -> Thresholds:
    """The limits of this corpus, or those that `config.thresholds` names."""
    if config.thresholds is not None:
        return Thresholds.from_file(config.thresholds, config.words)
    learner = Learner(config.words)
    for cut, row in _measured(source, log):
        if row["status"] == "ok":
            for supervision, span in zip(spans_of(cut), row["spans"], strict=True):
                known = {**fields.stated(cut, supervision), **span["labels"]}
                learner.add(span["measures"], _groups(config.words, fields, known, span["domain"]))
    return learner.thresholds(config.min_values)


def write_cuts(
    config: AttributesConfig, source: CutSource, log: WorkLog, fields: Fields, thresholds: Thresholds
) -> Tally:
    """Write `<name>_cuts.jsonl.gz` and `failed.jsonl`, each whole or not at all.

    Raises:
        SelfGenError: the disk refuses, or the manifest changed since it was measured.
    """
    tally, folder = Tally(config.words), Path(config.output_dir)
    writer = _Writer(config, fields, thresholds, tally)
    with ExitStack() as stack:
        failed = stack.enter_context(whole_file(folder / "failed.jsonl"))
        packed = stack.enter_context(whole_file(folder / f"{config.name}_cuts.jsonl.gz"))
        good = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=packed, mtime=0))
        for cut, row in _measured(source, log):
            tally.cuts[row["status"]] += 1
            if row["status"] == "ok":
                good.write(_line(writer(cut, row).to_dict()))
            else:
                failed.write(_line({"id": row["id"], "reason": row["reason"], "cut": cut.to_dict()}))
    return tally


class _Writer:
    """Adds to a cut what was measured, unless the corpus states it."""

    def __init__(self, config: AttributesConfig, fields: Fields, thresholds: Thresholds, tally: Tally) -> None:
        self.rules, self.overwrite = config.words, config.overwrite
        self.fields, self.thresholds, self.tally = fields, thresholds, tally

    def __call__(self, cut: Any, row: Mapping[str, Any]) -> Any:
        return annotate(
            cut, [self._additions(cut, s, span) for s, span in zip(spans_of(cut), row["spans"], strict=True)]
        )

    def _additions(self, cut: Any, supervision: Any, span: Mapping[str, Any]) -> dict[str, Any]:
        stated = {} if self.overwrite else self.fields.stated(cut, supervision)
        known = {**self.fields.stated(cut, supervision), **span["labels"]}
        groups = _groups(self.rules, self.fields, known, span["domain"])
        new = {**span["labels"], **span["measures"]}
        for name, group in groups.items():
            word = self.thresholds.word(name, span["measures"], group)
            if name in stated or name in span["labels"]:
                self.tally.words[name]["(stated)"] += 1
            elif word is None:
                self.tally.words[name]["(none)"] += 1
            else:
                self.tally.words[name][word] += 1
                new[name] = word
        return {k: v for k, v in new.items() if k not in stated}


def _groups(rules: Mapping[str, WordRule], fields: Fields, known: Mapping[str, Any], domain: str) -> dict[str, Group]:
    """Field -> the group of a span in its rule: the known ones of the rule's `per` fields, in the mapping's words."""
    words = {name: domain if name == fields.domain_field else None for rule in rules.values() for name in rule.per}
    words = {name: word or fields.word(name, known.get(name)) for name, word in words.items()}
    return {field: tuple((n, words[n]) for n in rule.per if words[n]) for field, rule in rules.items()}


def _measured(source: CutSource, log: WorkLog) -> Iterator[tuple[Any, dict[str, Any]]]:
    """(cut, row) in input order."""
    for (name, cut), row in zip(source, log.rows(source.names), strict=True):
        if row["digest"] != digest_of(cut):
            raise SelfGenError(
                f"cut {name!r}: its line in the manifest changed since it was measured; use a new output directory."
            )
        yield cut, row


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
