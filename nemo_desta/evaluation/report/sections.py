"""What the report says of one benchmark: who is compared with whom, what was published, what was left out."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.baselines import AudioHelped, audio_helped, chance
from nemo_desta.evaluation.comparing import Comparison, compare
from nemo_desta.evaluation.forgetting import Forgetting
from nemo_desta.evaluation.published import PublishedRow, figure_name, published_rows
from nemo_desta.evaluation.report.runs import TITLES, Run, read_runs
from nemo_desta.evaluation.scores import ALL, COUNTS, Metric

__all__ = ["Section", "Versus", "sections"]

_MOST_COLUMNS = 12
_LOUD = re.compile(r"\b[A-Z]{3,} [A-Z]+ [A-Z]{3,}\b|\bINCOMPLETE\b")


@dataclass(frozen=True)
class Versus:
    """The section's main run against another.

    Attributes:
        other: the run.
        comparison: main - other; None where it cannot be made.
        problem: why not.
    """

    other: Run
    comparison: Comparison | None
    problem: str = ""


@dataclass(frozen=True)
class Section:
    """One benchmark under one rule.

    Attributes:
        key: for anchors.
        title: of the benchmark.
        runs: the first is the main one.
        standing: whether the figures may be held against published ones: "official", "judge" (official rule, another judge),
            "data" (official rule, not known to be on published data), or "ours"; `standing_text` says it in words.
        chance: what guessing gives; None where not all items can be guessed.
        columns: figure names of the main table, the headline first.
        published: rows by source.
        counts: names of counts that are not zero in some run.
        versus: the main run against each other one.
        audio: what hearing was worth, one sentence a run that hears.
        forgetting: by name, as `eval run` left it.
        loud, notes: notes of the runs, those that begin in capitals first; of several runs with the label.
    """

    key: str
    title: str
    runs: tuple[Run, ...]
    standing: str
    standing_text: str
    chance: Metric | None
    columns: tuple[str, ...]
    published: tuple[tuple[PublishedRow, ...], ...]
    counts: tuple[str, ...]
    versus: tuple[Versus, ...]
    audio: tuple[str, ...]
    forgetting: Mapping[str, Forgetting]
    loud: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def paired_notes(self) -> list[str]:
        """Notes of the comparisons, each once, with the labels of those it is of."""
        found = [(v.other.label, n) for v in self.versus if v.comparison for n in v.comparison.notes]
        return [
            f"{note} ({', '.join(label for label, n in found if n == note)})"
            for note in dict.fromkeys(n for _, n in found)
        ]

    @property
    def main(self) -> Run:
        """The run that the section is about."""
        return self.runs[0]


def sections(files: Sequence[Path]) -> list[Section]:
    """Read scores and put them into sections.

    Raises:
        EvaluationError: see `read_runs`.
    """
    return [_section(*key, runs) for key, runs in read_runs(files).items()]


def _section(benchmark: str, rule: str, runs: Sequence[Run]) -> Section:
    main = runs[0]
    standing, text = _standing(main)
    versus = tuple(_versus(main, other) for other in runs[1:])
    known = published_rows(benchmark) if benchmark in TITLES else []
    columns = _columns(main, known)
    rows = [r for r in known if set(columns) & set(r.figures)]
    blocks = tuple(
        tuple(block) for _, block in groupby(rows, key=lambda r: (r.source, r.rule, r.data_version, r.verified))
    )
    guess = chance(main.scores)
    notes = _notes(runs)
    return Section(
        re.sub(r"\W+", "-", f"{benchmark}-{rule}"), TITLES.get(benchmark, benchmark), tuple(runs), standing, text,
        guess if guess and guess.n == len(main.scores.items) else None, columns, blocks, _counts(runs), versus,
        tuple(_audio(runs, versus)), _forgetting(runs), tuple(n for n in notes if _is_loud(n)),
        tuple(n for n in notes if not _is_loud(n)),
    )  # fmt: skip


def _standing(run: Run) -> tuple[str, str]:
    rule, judge = run.scores.rule, (run.scores.judge or {}).get("model")
    if not rule.get("official", True):
        return "ours", "NOT the official rule: not comparable with published figures"
    if rule.get("judge") and judge and judge != rule["judge"]:
        return "judge", f"official rule, but judged by {judge} where the authors ask {rule['judge']}"
    if not run.scores.data.get("known_as"):
        return "data", "official rule, but the questions are not known to be a published version of the benchmark"
    return "official", "official rule: what the authors' code gives on the same answers"


def _columns(main: Run, known: Sequence[PublishedRow]) -> tuple[str, ...]:
    """The headline, then figures that were published, else all those over all items."""
    names = [figure_name(m) for m in main.scores.metrics]
    published = {name for row in known for name in row.figures}
    wanted = [n for n in names[1:] if n in published]
    if not wanted:
        wanted = [figure_name(m) for m in main.scores.metrics[1:] if m.group == ALL]
    return tuple(dict.fromkeys([names[0], *wanted[: _MOST_COLUMNS - 1]]))


def _versus(main: Run, other: Run) -> Versus:
    try:
        return Versus(other, compare(main.scores, other.scores, allow_partial=True))
    except EvaluationError as err:
        return Versus(other, None, str(err))


def _audio(runs: Sequence[Run], versus: Sequence[Versus]) -> list[str]:
    cascade = next((r for r in runs if r.name == "cascade"), None)
    hearing = [r for r in runs if r.hears]
    if cascade is None or not hearing:
        lacking = "No cascade was run" if hearing else "No run hears the audio"
        return [f"{lacking}, so that it is not known whether audio helps beyond the transcript."]
    known = {v.other.label: v.comparison for v in versus}
    return [
        _label(r, hearing, _helped(r, cascade, known.get(cascade.label) if r is runs[0] else None)) for r in hearing
    ]


def _helped(run: Run, cascade: Run, known: Comparison | None) -> AudioHelped | str:
    try:
        return audio_helped(run.scores, cascade.scores, known)
    except EvaluationError as err:
        return f"Not compared with the cascade: {err}"


def _label(run: Run, runs: Sequence[Run], text: object) -> str:
    other = " (its language model may be another than the cascade's)" if run.name == "endpoint" else ""
    return f"{run.label}{other}: {text}" if len(runs) > 1 or other else str(text)


def _forgetting(runs: Sequence[Run]) -> dict[str, Forgetting]:
    """What `eval run` left in forgetting/forgetting.json beside the predictors' folders.

    Raises:
        EvaluationError: the file is damaged.
    """
    folders = dict.fromkeys(r.path.resolve().parent.parent for r in runs)
    path = next((p for f in folders if (p := f / "forgetting" / "forgetting.json").is_file()), None)
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: Forgetting.from_dict(value) for name, value in found.items()}
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as err:
        raise EvaluationError(f"{path}: cannot be read ({err}); remove it, or run the evaluation again.") from err


def _counts(runs: Sequence[Run]) -> tuple[str, ...]:
    names = dict.fromkeys([*COUNTS, *(k for r in runs for k in r.scores.counts)])
    return tuple(n for n in names if n in ("items", "answered") or any(r.scores.counts.get(n) for r in runs))


def _notes(runs: Sequence[Run]) -> list[str]:
    """Each note once; of several runs with the labels of those that have it, unless all have."""
    whose: dict[str, list[str]] = {}
    for run in runs:
        metrics = [f"{figure_name(m)}: {m.note}." for m in run.scores.metrics if m.note and m.group == ALL]
        for note in (*run.scores.notes, *metrics):
            whose.setdefault(note, []).append(run.label)
    return [n if len(w) == len(runs) else f"{n} ({', '.join(w)})" for n, w in whose.items()]


def _is_loud(note: str) -> bool:
    return bool(_LOUD.search(note))
