"""report.md: what the filters took, with examples, and what is left."""

from collections.abc import Mapping
from typing import Any

from nemo_desta.selfgen.closing.markdown import fenced, plain, shares, table
from nemo_desta.selfgen.closing.tally import Example, Lengths, Tally
from nemo_desta.selfgen.summary import Summary

__all__ = ["report"]

_LONGEST = 600  # characters of one text of an example


def report(summary: Summary, tally: Tally, manifest: Mapping[str, Any], not_searched: int) -> str:
    """The text of report.md.

    Args:
        summary: of the whole directory.
        tally: counted from its files.
        manifest: what the rows depend on.
        not_searched: rows in groups that were too large to look for near duplicates in.
    """
    parts = [f"# Self-generation: {plain(manifest['name'])}", _counts(summary), _filters(summary, tally)]
    if manifest.get("duplicates") is None:
        parts.append("Duplicates were not looked for (no `duplicates` in the filters).")
    elif not_searched:
        parts.append(f"Near duplicates were not looked for among {not_searched:,} rows that answer too few prompts.")
    parts += [_failures(tally), _reviewed(tally), _fit(tally)]
    parts += [_examples(tally)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _counts(summary: Summary) -> str:
    rows = [
        (s, f"{getattr(summary, s):,}", f"{getattr(summary, s) / summary.total:.1%}")
        for s in ("ok", "filtered", "failed")
    ]
    return table(("status", "rows", "share"), [*rows, ("total", f"{summary.total:,}", "")])


def _filters(summary: Summary, tally: Tally) -> str:
    if not tally.reasons:
        return "## What the filters took\n\nNothing."
    rows = [
        (reason, f"{count:,}", f"{count / summary.total:.2%}")
        for reason, count in sorted(tally.reasons.items(), key=lambda x: (-x[1], x[0]))
    ]
    return "## What the filters took\n\n" + table(("reason", "rows", "share of all"), rows)


def _failures(tally: Tally) -> str:
    return "## Why rows failed\n\n" + shares(tally.causes, "cause") if tally.causes else ""


def _reviewed(tally: Tally) -> str:
    parts = []
    if tally.by["verdict"]:
        parts.append("Verdicts of the judge on rows that were kept:\n\n" + shares(tally.by["verdict"], "verdict"))
    if tally.by["rephrased"]["yes"]:
        parts.append(
            f"{tally.by['rephrased']['yes']:,} kept responses were rephrased; provenance holds the first version."
        )
    return "## Review\n\n" + "\n\n".join(parts) if parts else ""


def _fit(tally: Tally) -> str:
    cut = tally.by["finish_reason"]["length"]
    parts = [
        "## Rows fit to train on",
        table(("response length", "mean", "5 %", "50 %", "95 %", "longest"), [_lengths(n, x) for n, x in (("words", tally.words), ("tokens", tally.tokens))]),
        f"{cut:,} of them were cut at the token limit and kept (`finish_reason: length`)." if cut else "",
        *(shares(tally.by[name], title) for name, title in (("finish_reason", "finish reason"), ("kind", "kind of prompt"), ("domain", "domain"), ("about", "about the attribute"), ("system_prompt_id", "system prompt")) if tally.by[name]),
    ]  # fmt: skip
    return "\n\n".join(filter(None, parts))


def _lengths(name: str, lengths: Lengths) -> tuple[str, ...]:
    return (name, f"{lengths.mean:.1f}", *(str(lengths.quantile(q)) for q in (0.05, 0.5, 0.95, 1.0)))


def _examples(tally: Tally) -> str:
    parts = ["## Examples of what was taken"] if tally.examples else []
    for reason, examples in sorted(tally.examples.items(), key=lambda x: (-tally.reasons[x[0]], x[0])):
        parts.append(f"### {plain(reason)} ({tally.reasons[reason]:,})")
        parts += [fenced(_example(e)) for e in examples]
    return "\n\n".join(parts)


def _example(example: Example) -> str:
    lines = [
        f"id:       {example.id}",
        f"seed:     {_short(example.seed_description)}",
        f"prompt:   {_short(example.prompt)}",
        f"response: {_short(example.response)}",
    ]
    return "\n".join([*lines, f"matched:  {_short(example.matched)}"] if example.matched else lines)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
