"""Scores to a Markdown file: one table a benchmark, ours beside chance and what was published."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from nemo_desta.evaluation.paired import p_text
from nemo_desta.evaluation.published import PublishedRow
from nemo_desta.evaluation.report.figures import figure, interval, number, signed
from nemo_desta.evaluation.report.runs import Run
from nemo_desta.evaluation.report.sections import Section, sections
from nemo_desta.files import whole_file

__all__ = ["write_markdown"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")


def write_markdown(scores_files: Sequence[Path], output: Path) -> Path:
    """Write the tables and return their path.

    Raises:
        EvaluationError: there are no scores, or a file is none.
    """
    text = "\n".join(line for section in sections(scores_files) for line in _section(section))
    with whole_file(Path(output)) as file:
        file.write(text.encode(errors="backslashreplace"))
    return Path(output)


def _section(section: Section) -> Iterator[str]:
    scores = section.main.scores
    yield f"## {_safe(section.title)}\n"
    data = scores.data.get("known_as") or "no published version that is known"
    judge = (scores.judge or {}).get("model") or "none asked"
    rule = f"{scores.rule.get('name')} ({scores.rule.get('version')})"
    yield f"Rule {_safe(rule)}: **{_safe(section.standing_text)}**. Data: {_safe(data)}. Judge: {_safe(judge)}.\n"
    yield from (f"{_safe(line)}\n" for line in section.audio)
    yield from _table(section)
    yield from _paired(section)
    yield from _counts(section)
    yield from (f"{_safe(f.told(name))}\n" for name, f in section.forgetting.items())
    yield from (f"- {_safe(note)}" for note in (*section.loud, *section.notes))
    yield ""


def _table(section: Section) -> Iterator[str]:
    yield _row(["system", *section.columns, "source"])
    yield _row(["---", *["---:"] * len(section.columns), "---"], raw=True)
    for run in section.runs:
        yield _row([run.label, *(_figure(run, c) for c in section.columns), "scored here"])
    if section.chance:
        yield _row(["chance", number(section.chance.value), *["–"] * (len(section.columns) - 1), "guessing"])
    for number_, block in enumerate(section.published, 1):
        for row in block:
            yield _row([row.system, *(number(row.figures.get(c)) for c in section.columns), f"({number_})"])
    yield ""
    yield from (f"({n}) {_safe(_source(block[0]))}  " for n, block in enumerate(section.published, 1))
    yield ""


def _figure(run: Run, name: str) -> str:
    metric = figure(run, name)
    if metric is None:
        return "–"
    ends = interval(metric.low, metric.high)
    return f"{number(metric.value)} ({ends})" if ends else number(metric.value)


def _source(row: PublishedRow) -> str:
    hand = "" if row.verified else "; at second hand, not checked in the source"
    return f"{row.source}; data {row.data_version}; {row.rule}{hand}"


def _paired(section: Section) -> Iterator[str]:
    if not section.versus:
        return
    yield _row([f"{section.main.label} against", "n", "difference", "95 %", "p", "better : worse"])
    yield _row(["---", *["---:"] * 5], raw=True)
    for versus in section.versus:
        if versus.comparison is None:
            yield _row([versus.other.label, "–", versus.problem, "–", "–", "–"])
            continue
        p = versus.comparison.overall
        cells = [str(p.n), signed(p.difference, 2), interval(p.low, p.high, 2), p_text(p.p_value)]
        yield _row([versus.other.label, *cells, f"{p.first_better} : {p.second_better}"])
    yield ""


def _counts(section: Section) -> Iterator[str]:
    yield _row(["run", *section.counts])
    yield _row(["---", *["---:"] * len(section.counts)], raw=True)
    for run in section.runs:
        yield _row([run.label, *(str(run.scores.counts.get(c, 0)) for c in section.counts)])
    yield ""


def _row(cells: Sequence[str], raw: bool = False) -> str:
    return "| " + " | ".join(cells if raw else map(_safe, cells)) + " |"


def _safe(text: str) -> str:
    """On one line, with nothing that Markdown or HTML would read."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))
