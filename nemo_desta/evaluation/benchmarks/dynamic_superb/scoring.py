"""Dynamic-SUPERB's rules: phase 1's exact match and its variants, a judge, and phase 2 as far as it is known."""

from collections.abc import Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

from nemo_desta import __version__
from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import Context, Rule
from nemo_desta.evaluation.benchmarks.dynamic_superb.accuracy import accuracies, macro
from nemo_desta.evaluation.benchmarks.dynamic_superb.answers import LOWERED
from nemo_desta.evaluation.benchmarks.dynamic_superb.instances import listed
from nemo_desta.evaluation.benchmarks.dynamic_superb.judged import ask
from nemo_desta.evaluation.benchmarks.dynamic_superb.marking import READERS, Question, mark, question_of, to_ask
from nemo_desta.evaluation.benchmarks.dynamic_superb.phase2 import figure, relative
from nemo_desta.evaluation.items import Answer
from nemo_desta.evaluation.scores import COUNTS, ItemScore, Metric, Scores, read_scores
from nemo_desta.schema import suggest

__all__ = ["OPTIONS", "RULES", "score"]

OPTIONS = ("baseline",)

RULES = (
    Rule(
        "exact",
        "phase 1's accuracy: the answer is the gold answer but for case; blanks, quotes and full stops count (api/metrics/accuracy.py)",
        "dynamic-superb/dynamic-superb, phase 1, read in a copy of November 2023 (tsaoni/dynamic-superb-hw b53627a)",
    ),
    Rule(
        "exact-strip",
        "as exact, blanks at the answer's ends taken off, as the script of the baseline Whisper-LLM does",
        "dynamic-superb/multimodal-llama 609f683",
    ),
    Rule(
        "judged",
        "ours: a judge is asked whether the answer states the gold answer; papers of DeSTA's line publish such figures, not their prompt",
        f"nemo_desta {__version__}",
        official=False,
        needs_judge=True,
    ),
    Rule(
        "consecutive-words",
        "the gold answer's words stand in the answer one after another: what DeSTA is validated by in training, never a published figure",
        "kehanlu/DeSTA2.5-Audio, desta/utils/metrics.py",
        official=False,
    ),
    Rule(
        "phase2",
        "phase 2 as reviews of its paper describe it, unverified and with prompts of ours: judged classification, regression with N/A, raw "
        "WER, CER and PER, relative score over a baseline",
        f"nemo_desta {__version__}",
        official=False,
    ),
)


def score(answers: Sequence[Answer], context: Context) -> Scores:
    """See `Benchmark.score`. Option `baseline`: scores.json of a baseline, for the relative score of phase2."""
    _check_options(context)
    rule = context.rule.name
    questions = [question_of(a, _stated_metrics(context)) for a in answers]
    wanted = to_ask(questions, rule)
    if rule == "judged":
        _check_judge(wanted, context)
    if context.judge is not None:
        _check_told(wanted)
    replies = ask(wanted, context.judge)
    items = tuple(mark(q, rule, replies) for q in questions)
    metrics, more = _phase2(questions, items, context) if rule == "phase2" else (accuracies(items), [])
    lacking = [
        m.group.removeprefix("instance=") for m in metrics if m.value != m.value and m.group.startswith("instance=")
    ]
    notes = (*_notes(questions, items, context), *more)
    judge = context.judge.describe() if context.judge and rule not in READERS else None
    return Scores("dynamic_superb", {}, tuple(metrics), items, _counts(items, rule, lacking), notes, {}, judge)


def _check_options(context: Context) -> None:
    for name in context.options:
        if name not in OPTIONS:
            raise EvaluationError(f"dynamic_superb: no option {name!r}{suggest(name, OPTIONS)}")
    if "baseline" in context.options and context.rule.name != "phase2":
        raise EvaluationError("dynamic_superb: the option baseline belongs to --rule phase2.")


def _check_told(wanted: Sequence[tuple[Answer, str, str]]) -> None:
    asked = [a for a, _, _ in wanted if a.response is not None and a.judged is None]
    unknown = [a for a in asked if not a.fields.get("instruction")]
    if unknown:
        raise EvaluationError(
            f"{unknown[0].where} (id {unknown[0].id}): the file does not state the instruction, which a judge is shown; score a file "
            "that does, or by --rule exact."
        )


def _check_judge(wanted: Sequence[tuple[Answer, str, str]], context: Context) -> None:
    open_ = sum(a.judged is None and a.response is not None for a, _, _ in wanted)
    if open_ and context.judge is None:
        raise EvaluationError(
            f"{open_} of {len(wanted)} answers have no verdict; give --judge, or score with --rule exact, which is phase 1's own."
        )


def _stated_metrics(context: Context) -> dict[str, Any]:
    items = context.data.items if context.data else ()
    return {i.subset: i.fields["metrics"] for i in items if "metrics" in i.fields}


def _phase2(
    questions: Sequence[Question], items: Sequence[ItemScore], context: Context
) -> tuple[list[Metric], list[str]]:
    members: dict[str, list[tuple[Question, ItemScore]]] = {}
    for question, item in zip(questions, items, strict=True):
        members.setdefault(question.about.name, []).append((question, item))
    figures = [figure([q for q, _ in pairs], [i for _, i in pairs]) for pairs in members.values()]
    gains, notes = [], []
    if "baseline" in context.options:
        baseline = _baseline(Path(context.options["baseline"]))
        gains, notes = relative(figures, baseline)
        version = context.data.version if context.data else None
        if version and baseline.data.get("version") not in (None, version):
            notes.append("ANOTHER VERSION: the baseline's answers were scored beside other questions than these.")
    lacking = [m.group.removeprefix("instance=") for m in figures if m.value != m.value]
    if lacking:
        notes.append(f"NOT SCORED: {', '.join(lacking)}; the reasons stand beside their figures.")
    return [*gains, *_overall(figures, items), *figures], notes


def _baseline(path: Path) -> Scores:
    baseline = read_scores(path)
    if (baseline.benchmark, baseline.rule.get("name")) != ("dynamic_superb", "phase2"):
        raise EvaluationError(
            f"{path}: holds scores of {baseline.benchmark}, rule {baseline.rule.get('name')}; a baseline is scored by dynamic_superb's "
            "rule phase2."
        )
    return baseline


def _overall(figures: Sequence[Metric], items: Sequence[ItemScore]) -> list[Metric]:
    """Of each metric its mean over the instances that have it, accuracy first."""
    known = {m.group.removeprefix("instance="): m.name for m in figures if m.value == m.value}
    made = []
    for name in sorted(set(known.values()), key=lambda n: (n != "accuracy", n)):
        if name == "accuracy":
            made.append(macro(name, "all", [i for i in items if known.get(i.subset) == name]))
            continue
        same = [m for m in figures if m.name == name and m.value == m.value]
        if len(same) == 1:
            made.append(replace(same[0], group="all"))
        else:
            value, n = sum(m.value for m in same) / len(same), sum(m.n for m in same)
            note = f"mean of {len(same)} instances; no interval"
            made.append(replace(same[0], group="all", value=value, low=nan, high=nan, n=n, note=note))
    return made


def _counts(items: Sequence[ItemScore], rule: str, lacking: Sequence[str]) -> dict[str, int]:
    outcomes = [i.outcome for i in items]
    counts = {k: outcomes.count(k) for k in COUNTS if k not in ("items", "answered")}
    counts |= {"items": len(items), "answered": sum(i.response is not None for i in items)}
    if rule == "phase2":
        counts["unscored"] = sum(i.subset in lacking for i in items)
    counts["chance_unknown"] = sum(i.chance is None and (rule != "phase2" or i.value is not None) for i in items)
    if rule in READERS:
        counts["holds_label"] = sum(bool(i.detail.get("holds_label")) for i in items)
    return counts


def _notes(questions: Sequence[Question], items: Sequence[ItemScore], context: Context) -> list[str]:
    rule = context.rule.name
    notes = [
        "Every item is in the denominator: one without an answer, or with one that cannot be read, counts as wrong."
    ]
    holds = sum(bool(i.detail.get("holds_label")) for i in items)
    if holds:
        notes.append(
            f"{holds} of {len(items)} answers are wrong by this rule and hold the gold answer's words (rule consecutive-words)."
        )
    other = sorted({q.about.name for q in questions if q.kind != "classification"})
    if other and rule != "phase2":
        notes.append(f"NOT CLASSIFICATION, and compared as if it were: {listed(other)}; rule phase2 scores these.")
    unknown = sum(i.chance is None for i in items)
    if unknown and rule != "phase2":
        notes.append(
            f"The options of {unknown} of {len(items)} questions cannot be read; what guessing gives is not known for these."
        )
    lowered = sum(LOWERED in q.answer.fields for q in questions)
    if lowered:
        notes.append(
            f"{lowered} gold answers are those of the file, which has them in lower case."
            + _against_data(questions, context)
        )
    if context.judge is not None and rule not in READERS:
        notes.append(f"The judge's prompts are ours (judge.yaml); the judge: {context.judge.model}.")
    return notes


def _against_data(questions: Sequence[Question], context: Context) -> str:
    known = {i.id: str(i.fields["label"]) for i in context.data.items} if context.data else {}
    differing = [
        q.answer.id for q in questions if q.answer.id in known and known[q.answer.id].lower() != q.label.lower()
    ]
    return (
        f" ANOTHER VERSION: {len(differing)} of them differ from the data's (first: {differing[0]})."
        if differing
        else ""
    )
