"""Task level (the paper's Table 4): was the answer right, with and without an output constraint?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import Context
from nemo_desta.evaluation.benchmarks.speech_ifeval.judged import TASK_INSTRUCTION, prompt, transcript, verdict
from nemo_desta.evaluation.items import Answer
from nemo_desta.evaluation.scores import Metric, mean_metric, metric

__all__ = ["Task", "check", "judge", "metrics", "notes"]

_PARTS = {"closed": "with", "closed_woprompt": "without"}


@dataclass(frozen=True)
class Task:
    """The judge's word on one answer.

    Attributes:
        reply: raw; for wer the transcript as the judge cut it out of the response. "" where there is none.
        outcome: right, wrong, unparsed, judge_failed; "scored" for a transcript.
        extracted: whether the transcript stands in the response as it is; None for accuracy.
    """

    reply: str
    outcome: str
    extracted: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """For an item's detail."""
        return {k: v for k, v in asdict(self).items() if v is not None}


def check(options: Mapping[str, str]) -> None:
    """Refuse values that the options do not have.

    Raises:
        EvaluationError: naming those they have.
    """
    for name, known in (("task_instruction", TASK_INSTRUCTION), ("tasks", ("yes", "no"))):
        if options.get(name, known[0]) not in known:
            raise EvaluationError(f"option {name} must be one of {', '.join(known)}, it is {options[name]!r}.")


def judge(answers: Sequence[Answer], context: Context) -> dict[int, Task]:
    """Verdicts by position: those in the file, and with the option tasks=yes the judge's for the rest."""
    rows = {i: a for i, a in enumerate(answers) if a.subset in _PARTS and a.response is not None}
    found = {
        i: _task(a, a.judged["eval_response"]) for i, a in rows.items() if a.judged and "eval_response" in a.judged
    }
    if context.options.get("tasks") != "yes":
        return found
    if context.judge is None:
        raise EvaluationError("option tasks=yes asks a judge; give --judge.")
    open_ = [i for i in rows if i not in found]
    prompts = [_prompt(rows[i], context) for i in open_]
    for i, reply in zip(open_, context.judge.ask(prompts) if prompts else [], strict=True):
        found[i] = Task("", "judge_failed") if reply.error is not None else _task(rows[i], reply.texts[0])
    return found


def _prompt(answer: Answer, context: Context) -> Any:
    """Without a constraint the instruction is shown whole, as officially."""
    shown = context.options.get("task_instruction", TASK_INSTRUCTION[0]) if answer.subset == "closed" else "whole"
    return prompt(answer.fields, answer.response or "", context.protocol, shown)


def _task(answer: Answer, reply: str) -> Task:
    if answer.fields["metric"] == "wer":
        return Task(reply, "scored", transcript(reply) in transcript(answer.response or ""))
    return Task(reply, {True: "right", False: "wrong", None: "unparsed"}[verdict(reply)])


def metrics(answers: Sequence[Answer], tasks: Mapping[int, Task]) -> list[Metric]:
    """Accuracy by dataset, and the word error rate, with and without constraint; over what has a verdict."""
    found = []
    for part, word in _PARTS.items():
        rows = {i: answers[i] for i in tasks if answers[i].subset == part}
        for dataset in dict.fromkeys(str(a.fields.get("dataset")) for a in rows.values()):
            group = f"dataset={dataset}, constraint={word}"
            members = {i: a for i, a in rows.items() if str(a.fields.get("dataset")) == dataset}
            told = [float(tasks[i].outcome == "right") for i, a in members.items() if a.fields["metric"] == "accuracy"]
            heard = {i: a for i, a in members.items() if a.fields["metric"] == "wer" and tasks[i].outcome == "scored"}
            found += [mean_metric("task_accuracy", told, group)] if told else []
            found += _word_errors(heard, tasks, group) if heard else []
    return found


def _word_errors(rows: Mapping[int, Answer], tasks: Mapping[int, Task], group: str) -> list[Metric]:
    """The corpus figure (the official one, for words) and the mean over clips, of words and characters."""
    from nemo_desta.evaluation.word_errors import error_rate

    spoken = [transcript(a.fields["label"]) for a in rows.values()]
    heard = [transcript(tasks[i].reply) for i in rows]
    silent = [a.id for a, text in zip(rows.values(), spoken, strict=True) if not text]
    if silent:
        raise EvaluationError(
            f"{len(silent)} transcripts in the data hold no word (first: {silent[0]}); no rate is defined."
        )
    found = []
    for name, unit in (("task_wer", "word"), ("task_cer", "character")):
        rate = error_rate(spoken, heard, unit)
        for suffix, interval in (("", rate.corpus), ("_mean", rate.mean)):
            found.append(metric(name + suffix, interval, rate.n, group, 100.0, unit="%", better="lower"))
    return found


def notes(tasks: Mapping[int, Task], options: Mapping[str, str]) -> list[str]:
    """What a reader of the task level should know."""
    if not tasks:
        return []
    shown = options.get("task_instruction", TASK_INSTRUCTION[0])
    found = []
    if options.get("tasks") == "yes":
        found.append(
            f"Task level: the judge was shown the {shown} of an instruction with a constraint (first-line: as in the judgements the "
            "authors committed; whole: as their present script does)."
        )
    changed = sum(t.extracted is False for t in tasks.values())
    if changed:
        found.append(
            f"{changed} transcripts of the judge do not stand in the response as they are; they count, as officially."
        )
    unparsed = sum(t.outcome == "unparsed" for t in tasks.values())
    if unparsed:
        found.append(
            f"{unparsed} task verdicts cannot be read and count as wrong; the official script stops with an error there."
        )
    return found
