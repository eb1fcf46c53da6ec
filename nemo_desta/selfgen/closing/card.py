"""README.md of a self-generation's output: a dataset card in the form that model hubs read."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from nemo_desta.selfgen.closing.markdown import plain, shares, table
from nemo_desta.selfgen.closing.tally import Tally
from nemo_desta.selfgen.summary import Summary

__all__ = ["card", "hub_license", "size_category"]

_NOT_STATED = "licence not stated"
# How the hub calls the licences that audio corpora come under; the longer names first.
_LICENSES = [
    (r"cc[ -]by[ -]nc[ -]nd[ -](\d\.\d)", "cc-by-nc-nd-{}"), (r"cc[ -]by[ -]nc[ -]sa[ -](\d\.\d)", "cc-by-nc-sa-{}"),
    (r"cc[ -]by[ -]nc[ -](\d\.\d)", "cc-by-nc-{}"), (r"cc[ -]by[ -]nd[ -](\d\.\d)", "cc-by-nd-{}"),
    (r"cc[ -]by[ -]sa[ -](\d\.\d)", "cc-by-sa-{}"), (r"cc[ -]by[ -](\d\.\d)", "cc-by-{}"), (r"cc0|public domain", "cc0-1.0"),
    (r"apache[ -]?(license|licence)?,?( version)?[ -]?2(\.0)?", "apache-2.0"), (r"\bmit\b", "mit"), (r"odbl", "odbl"), (r"odc[ -]by", "odc-by"),
]  # fmt: skip
_LIMITS = [(10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M"), (10**8, "100M")]


def hub_license(text: str) -> str | None:
    """The hub's identifier of a licence that a recipe names in words, or None."""
    spelled = text.casefold().replace("creative commons attribution", "cc by").replace("noncommercial", "nc")
    spelled = re.sub(r"non[ -]commercial", "nc", spelled).replace("sharealike", "sa").replace("share alike", "sa")
    for pattern, identifier in _LICENSES:
        if found := re.search(pattern, spelled):
            return identifier.format(*found.groups()[:1])
    return None


def size_category(rows: int) -> str:
    """The hub's `size_categories`: `n<1K`, `1K<n<10K`, ... `n>100M`."""
    lower = ""
    for limit, name in _LIMITS:
        if rows < limit:
            return f"{lower}<n<{name}" if lower else f"n<{name}"
        lower = name
    return f"n>{lower}"


def card(summary: Summary, tally: Tally, manifest: Mapping[str, Any], corpora: Sequence[Mapping[str, str]]) -> str:
    """The text of README.md.

    Args:
        summary: of the whole directory.
        tally: counted from its files.
        manifest: what the rows depend on.
        corpora: what the recipes say, see `corpora_of`.
    """
    title = manifest["dataset"] or ", ".join(c["name"] for c in corpora) or manifest["name"]
    parts = [
        f"# {plain(title)}: DeSTA self-generated targets",
        _intro(tally, manifest),
        _counts(summary, tally),
        _corpora(corpora),
        "## Prompts\n\n" + shares(tally.by["kind"], "kind") + f"\n\n{len(tally.by['prompt_id']):,} distinct prompts, {len(tally.by['system_prompt_id']):,} system prompts."
        if tally.rows["ok"] else "",
        _attributes(tally),
        _settings(tally, manifest),
        _form(manifest),
    ]  # fmt: skip
    return _front_matter(title, tally, manifest, corpora) + "\n\n".join(filter(None, parts)) + "\n"


def _front_matter(title: str, tally: Tally, manifest: Mapping[str, Any], corpora: Sequence[Mapping[str, str]]) -> str:
    licenses = {hub_license(c["license"]) for c in corpora}
    known = licenses.pop() if len(licenses) == 1 else None
    data = {
        "license": known or "other",
        **({} if known else {"license_name": "see-corpora"}),
        "pretty_name": f"{title}: DeSTA self-generated targets",
        "size_categories": [size_category(tally.rows["ok"])],
        "task_categories": ["audio-text-to-text"],
        "tags": ["audio", "instruction-tuning", "desta", "self-generated", "synthetic"],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": f"{manifest['name']}.jsonl"}]}
        ],
    }
    return "---\n" + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000) + "---\n\n"


def _intro(tally: Tally, manifest: Mapping[str, Any]) -> str:
    return (
        f"Responses that {plain(manifest['llm'])} wrote to {tally.rows['ok']:,} prompts about {tally.clips:,} audio clips. The LLM did not hear "
        "them: it was shown a description of each clip made from the corpus' metadata. An audio model built around the same LLM is trained on these "
        "responses with the audio in place of the description (DeSTA2.5-Audio, Lu et al., 2025, arXiv:2507.02768).\n\n"
        "**The audio is not part of this data set.** Each record names its file by a path relative to the corpus folder; get the audio from the corpora below, "
        "under their own terms. Transcripts and metadata in the seed descriptions are theirs, too."
    )  # fmt: skip


def _counts(summary: Summary, tally: Tally) -> str:
    hours = f"{tally.seconds / 3600:,.2f}" if tally.clips_of_known_length else "not known"
    if 0 < tally.clips_of_known_length < tally.clips:
        hours += f" (of {tally.clips_of_known_length:,} clips; the length of the others is not known)"
    rows = [
        ("rows fit to train on", f"{tally.rows['ok']:,}"),
        ("rows set apart by filters (filtered/, with reasons; see report.md)", f"{summary.filtered:,}"),
        ("rows without a response (failed/)", f"{summary.failed:,}"),
        ("clips, each once", f"{tally.clips:,}"),
        ("hours of audio, each clip once", hours),
        ("words a response, mean", f"{tally.words.mean:.1f}"),
        ("tokens of responses", f"{sum(n * c for n, c in tally.tokens.counts.items()):,}"),
    ]
    return "## Counts\n\n" + table(("what", "number"), rows)


def _corpora(corpora: Sequence[Mapping[str, str]]) -> str:
    lines = []
    for corpus in corpora:
        facts = [plain(corpus["license"]) if corpus["license"] else _NOT_STATED]
        facts += [plain(corpus[k]) for k in ("domain", "homepage") if corpus[k]]
        lines.append(f"- **{plain(corpus['name'])}**: " + "; ".join(facts))
        lines += [f"  Citation: {plain(corpus['citation'])}"] if corpus["citation"] else []
    return "## Corpora\n\n" + ("\n".join(lines) or f"Not named by a recipe: {_NOT_STATED}.")


def _attributes(tally: Tally) -> str:
    rows = []
    for name, values in sorted(tally.attributes.items(), key=lambda x: (-x[1].total(), x[0])):
        common = ", ".join(
            f"{value[:40]} {count:,}" for value, count in sorted(values.items(), key=lambda x: (-x[1], x[0]))[:6]
        )
        rows.append((name, f"{values.total():,}", common + (", ..." if len(values) > 6 else "")))
    return "## Attributes in the seed descriptions\n\n" + table(("attribute", "rows", "values"), rows) if rows else ""


def _settings(tally: Tally, manifest: Mapping[str, Any]) -> str:
    rows = [
        ("backbone", "; ".join(sorted(tally.by["backbone"])) or manifest["llm"]),
        ("engine", ", ".join(f"{k} {v}" for k, v in manifest["backend"].items() if v is not None)),
        ("sampling", ", ".join(f"{k} {v}" for k, v in manifest["sampling"].items())),
        ("seed", manifest["seed"]),
        ("prompts a cut", manifest["prompts_per_cut"]),
        ("prompt pools", ", ".join(manifest["pools"])),
        ("weights of kinds", manifest["kind_weights"] or "by number of prompts"),
        ("system prompts", ", ".join(manifest["system_prompts"])),
        ("files (hash)", ", ".join(f"{_name(k)} {int(v):016x}" for k, v in manifest["files"].items())),
        ("input", f"{manifest['input']['cuts']:,} cuts, fingerprint {manifest['input']['fingerprint']}"),
        ("nemo_desta", manifest["version"]),
    ]
    return "## Settings\n\n" + table(("setting", "value"), rows)


def _name(key: str) -> str:
    """`prompts:/home/me/pool.yaml` without the machine's folders."""
    kind, _, path = key.partition(":")
    return f"{kind}:{path.rpartition('/')[2]}"


def _form(manifest: Mapping[str, Any]) -> str:
    return (
        f"## Form\n\n`{manifest['name']}.jsonl` holds one record a line: `id`, `dataset`, `seed_description`, `prompt`, `messages` (with `audios`: path and "
        "transcript of each clip), `response`, and `provenance`: backbone and revision, engine, sampling, seed, pool, prompt and system prompt by id, kind, domain, "
        "cut and its length, recipe, package version, finish reason, tokens."
    )  # fmt: skip
