"""VoiceBench's rule: seven ways to score, nine figures, one mean."""

from collections.abc import Sequence

from nemo_desta.evaluation.benchmarks import Context, Rule
from nemo_desta.evaluation.benchmarks.voicebench import ifeval, pedant, verdicts
from nemo_desta.evaluation.benchmarks.voicebench.figures import all_metrics
from nemo_desta.evaluation.benchmarks.voicebench.marking import Tools, mark, overwritten, set_of
from nemo_desta.evaluation.benchmarks.voicebench.sets import SETS
from nemo_desta.evaluation.items import Answer, content_hash, unique
from nemo_desta.evaluation.scores import COUNTS, ItemScore, Scores

__all__ = ["RULES", "score"]

RULES = (
    Rule(
        "official",
        "evaluate.py of every set and the leaderboard's mean of nine; where the official code guesses, its expectation",
        "MatthewCYM/VoiceBench 5338154",
        judge="gpt-4o-mini",
    ),
)


def score(answers: Sequence[Answer], context: Context) -> Scores:
    """See `Benchmark.score`. Options: `pedant` and `pedant_sha256`, see `pedant`. Sets that want a judge are left unscored
    without one, the others are scored."""
    unique(answers, "the answers")
    rules = {a.id: set_of(a).rule for a in answers}
    asked = [a for a in answers if rules[a.id] == "ifeval"]
    tools = Tools(
        verdicts.collect([(a, rules[a.id]) for a in answers if rules[a.id] in ("open", "qa")], context),
        pedant.from_options(context.options),
        ifeval.responses_by_prompt(asked),
        {}
        if context.data is None
        else {i.id: str(i.fields["split"]) for i in context.data.items if "split" in i.fields},
    )
    items = tuple(mark(a, tools) for a in answers)
    judge = context.judge.describe() if context.judge and any(r in ("open", "qa") for r in rules.values()) else None
    notes = (
        *_size_notes(items),
        *_item_notes(items, overwritten(asked, tools.by_prompt)),
        *_tool_notes(answers, context, tools),
    )
    return Scores("voicebench", {}, tuple(all_metrics(items)), items, _counts(items), notes, _gold(answers), judge)


def _counts(items: Sequence[ItemScore]) -> dict[str, int]:
    outcomes = [i.outcome for i in items]
    counts = {k: outcomes.count(k) for k in COUNTS}
    counts |= {"items": len(items), "answered": sum(i.response is not None for i in items)}
    counts["refused"] = sum(i.detail.get("refusal") is not None for i in items)
    counts |= {"ties": sum(bool(i.detail.get("tie")) for i in items), "unjudged": outcomes.count("unjudged")}
    counts["unread_replies"] = sum(i.detail.get("unread", 0) for i in items)
    return counts


def _size_notes(items: Sequence[ItemScore]) -> list[str]:
    notes = []
    for name, questions in SETS.items():
        members = [i for i in items if i.subset == name]
        parts = {i.groups.get("region") for i in members} if questions.group == "region" else {None}
        published = (questions.size or 0) * len(parts)
        if members and published and len(members) != published:
            notes.append(f"{name}: {len(members)} answers where {published} questions were published.")
    return notes


def _item_notes(items: Sequence[ItemScore], lost: int) -> list[str]:
    absent = sum(i.response is None for i in items)
    waiting = {n: sum(i.subset == n and i.outcome == "unjudged" for i in items) for n in SETS}
    guessed = {n: sum(i.subset == n and i.outcome == "fallback" for i in items) for n in SETS}
    ties = sum(bool(i.detail.get("tie")) for i in items)
    notes = []
    if any(waiting.values()):
        notes.append(f"NOT SCORED, for want of a judge (--judge): {_listed(waiting)}.")
    if absent:
        notes.append(
            f"{absent} items have no answer: they count as wrong, as no refusal, as rated 1; the official code stops there."
        )
    if any(guessed.values()):
        notes.append(
            f"No answer can be read out of {_listed(guessed)}: the official code draws one without a seed; here each counts as the "
            "chance of a right draw (1/4, bbh 1/2), and as 0 in the figures called _strict."
        )
    if ties:
        notes.append(
            f"sd-qa: {ties} votes are tied; the official result depends on the run, here it is the expectation."
        )
    unknown = sum(i.subset == "mmsu" and "subject" not in i.groups for i in items)
    if unknown:
        notes.append(
            f"mmsu: the subject of {unknown} answers is not known; the official file does not state it, --data does."
        )
    if lost:
        notes.append(
            f"ifeval: {lost} responses are not checked, since a later one answers the same prompt, as officially."
        )
    return notes


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items() if count)


def _tool_notes(answers: Sequence[Answer], context: Context, tools: Tools) -> list[str]:
    notes, rules = [], {set_of(a).rule for a in answers}
    if context.judge and context.judge.model != context.rule.judge and rules & {"open", "qa"}:
        notes.append(f"The published figures are {context.rule.judge}'s verdicts; here: {context.judge.model}.")
    if "qa" in rules and tools.matcher is None:
        notes.append(
            "sd-qa lacks its half by PEDANT (options pedant, pedant_sha256); gpt is the other half, not sd-qa."
        )
    if "qa" in rules and tools.matcher is not None:
        notes.append(f"PEDANT as in qa_metrics 0.2.17, run by scikit-learn {tools.matcher.version} (made with 1.3.2).")
    read = sum(a.fields.get("modality") == "text" for a in answers)
    if read:
        notes.append(f"{read} answers were made from the text, not from the audio (modality text).")
    return notes


def _gold(answers: Sequence[Answer]) -> dict[str, str]:
    kept = ("audio", "modality", "split")
    return {"gold": content_hash({k: v for k, v in a.fields.items() if k not in kept} for a in answers)}
