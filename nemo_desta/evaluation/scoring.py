"""Scoring: our predictions or files of others, by one of a benchmark's rules, into scores.json and a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import Benchmark, Context, Rule, get_benchmark, get_rule
from nemo_desta.evaluation.items import Answer, Data, content_hash
from nemo_desta.evaluation.judging import Judge
from nemo_desta.evaluation.matching import match
from nemo_desta.evaluation.predictions import predictor_of, read_predictions
from nemo_desta.evaluation.scores import Metric, Scores

__all__ = ["check_judged", "score_answers", "score_file", "table"]


def score_file(
    name: str,
    path: Path,
    rule: str | None = None,
    judge: Judge | None = None,
    data: Data | None = None,
    protocol: Path | None = None,
    options: Mapping[str, str] | None = None,
    max_judge_failed: int = 0,
) -> Scores:
    """Score a file, or a folder, of answers.

    Args:
        name: of the benchmark.
        path: predictions of ours, or what the benchmark's own code writes.
        rule: name; None: the benchmark's first.
        judge: for rules that ask one.
        data: the questions; None: what is missing is not known.
        protocol: clone of the benchmark's repository, where its judge prompts do not lie beside the data.
        options: settings of the benchmark's scorer.
        max_judge_failed: replies of the judge that may be lacking.

    Raises:
        EvaluationError: the file is of no known format, damaged, or of other questions; the judge failed too often.
        ConfigError: no such benchmark or rule.
    """
    benchmark = get_benchmark(name)
    if not path.exists():
        raise EvaluationError(f"{path}: does not exist; give a file of answers, or a folder of them.")
    answers = read_predictions(path, name)
    if answers is None:
        answers = benchmark.read(path)
    if not answers:
        raise EvaluationError(f"{path}: holds no answers.")
    texts = benchmark.protocol(protocol) if protocol else dict(data.protocol) if data else {}
    context = Context(get_rule(benchmark, rule), judge, data, texts, options or {})
    scores = score_answers(benchmark, answers, context)
    scores = replace(scores, predictor=predictor_of(path))
    check_judged(scores, max_judge_failed)
    return scores


def score_answers(benchmark: Benchmark, answers: Sequence[Answer], context: Context) -> Scores:
    """Score answers beside the questions they belong to."""
    matched = match(answers, context.data)
    scores = benchmark.score(matched.answers, context)
    gold = content_hash(a.fields for a in answers)
    data = {"version": None, "known_as": None, "gold": gold, **scores.data}
    if context.data is not None:
        data |= {"version": context.data.version, "known_as": context.data.known_as}
    data |= {
        "answers": content_hash({"id": a.id, "response": a.response} for a in answers),
        "differing": len(matched.differing),
    }
    told = tuple(n for n in context.data.notes if n not in scores.notes) if context.data else ()
    notes = (*_rule_notes(context.rule), *scores.notes, *matched.notes, *told)
    return replace(scores, rule=asdict(context.rule), data=data, notes=notes)


def _rule_notes(rule: Rule) -> tuple[str, ...]:
    return () if rule.official else (f"NOT THE OFFICIAL FIGURE: rule {rule.name}: {rule.what}.",)


def check_judged(scores: Scores, max_failed: int) -> None:
    """Refuse scores for which the judge gave too few replies; those it gave are kept in its cache.

    Raises:
        EvaluationError: saying how many and why.
    """
    failed = [i for i in scores.items if i.outcome == "judge_failed"]
    if len(failed) > max_failed:
        reason = failed[0].detail.get("judge_error", "no reply")
        raise EvaluationError(
            f"the judge gave no reply for {len(failed)} of {len(scores.items)} answers (first: {failed[0].id}: {reason}); the replies "
            f"it gave are kept: start again and only these are asked, or allow for them with --max-judge-failed {len(failed)}."
        )


def table(scores: Scores) -> str:
    """The metrics for a terminal."""
    rows = [("metric", "group", "value", "95 % interval", "n", "chance")]
    rows += [(m.name, m.group, _value(m, m.value), _interval(m), str(m.n), _value(m, m.chance)) for m in scores.metrics]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(_cell(cell, widths[i], i) for i, cell in enumerate(row)).rstrip() for row in rows]
    counts = ", ".join(f"{k} {v}" for k, v in scores.counts.items() if v or k in ("items", "answered"))
    title = f"{scores.benchmark}, rule {scores.rule.get('name')} ({scores.rule.get('version')})"
    return "\n".join([title, *lines, counts, *(f"note: {n}" for n in scores.notes)])


def _cell(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column < 2 else text.rjust(width)


def _value(metric: Metric, value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.2f}" if metric.unit else f"{value:.4f}"


def _interval(metric: Metric) -> str:
    return f"{_value(metric, metric.low)} to {_value(metric, metric.high)}" if not np.isnan(metric.low) else "-"
