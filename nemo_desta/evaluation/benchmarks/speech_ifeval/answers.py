"""Answers as the official scripts leave them: outputs/<model>/*.jsonl, and its reports with verdicts of rules and judge.

<part>.jsonl has the data's rows with `response`; reports/rule_eval@*.jsonl adds follow_instruction_list, reports/llm_eval@*.jsonl
(and reports/tmp/) the judge's raw reply as eval_response. In a folder, what belongs to one question is brought together.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks.speech_ifeval.layout import Names, facts, part_of
from nemo_desta.evaluation.items import Answer, unique
from nemo_desta.evaluation.reading import files_in, read_jsonl

__all__ = ["read"]

_VERDICTS = ("eval_response", "correct", "follow_instruction_list")


def read(path: Path) -> list[Answer]:
    """See `Benchmark.read`.

    Raises:
        EvaluationError: also where two files of a folder hold different responses to one question, or different replies of a
            judge: they are of different runs.
    """
    found: dict[str, Answer] = {}
    for file in files_in(path, (".jsonl",)):
        answers = list(_answers(file))
        unique(answers, str(file))
        for answer in answers:
            known = found.get(answer.id)
            found[answer.id] = answer if known is None else _together(known, answer)
    return list(found.values())


def _answers(file: Path) -> Iterator[Answer]:
    names = Names()
    for where, row in read_jsonl(file):
        fields, part = facts(row, where), part_of(row, where)
        response = row.get("response")
        if response is not None and not isinstance(response, str):
            raise EvaluationError(f"{where}: response must be text, it is {response!r}.")
        verdicts = {k: row[k] for k in _VERDICTS if k in row}
        if not isinstance(verdicts.get("eval_response", ""), str):
            raise EvaluationError(f"{where}: eval_response must be text, it is {verdicts['eval_response']!r}.")
        yield Answer(names.of(part, row), response, fields, part, verdicts or None, where)


def _together(first: Answer, second: Answer) -> Answer:
    if first.response != second.response:
        raise EvaluationError(
            f"{second.where}: another response to {first.id} than {first.where}; the files are of different runs: move one of "
            "them away, or give one file."
        )
    verdicts: Mapping[str, Any] = first.judged or {}
    for key, value in (second.judged or {}).items():
        if verdicts.get(key, value) != value:
            raise EvaluationError(
                f"{second.where}: another {key} for {first.id} than {first.where}; move one of them away, or give one file."
            )
    return replace(first, judged={**verdicts, **(second.judged or {})} or None)
