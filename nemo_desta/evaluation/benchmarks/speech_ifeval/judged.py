"""What Speech-IFEval asks a judge (script/llm_evaluation.py), and how it reads the reply.

Three questions, by the row's metric: cot: does the response reason at all?; accuracy: does it agree with the gold answer?;
wer: which part of it is the transcript? The last two are the task level (the paper's Table 4) and no part of IFrate.
"""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.judging import JudgePrompt

__all__ = ["JUDGE", "QUESTIONS", "TASK_INSTRUCTION", "prompt", "protocol", "transcript", "verdict"]

JUDGE = "gpt-4o-2024-11-20"
QUESTIONS = ("cot", "accuracy", "wer")
TASK_INSTRUCTION = ("first-line", "whole")
_TEXTS = {"system_prompt": "system", "content": "user"}
_PLACES = re.compile(r"\{(instruction|label|model_response)\}")
_RESULT = re.compile(r"(?i)(?<=result:\s)(yes|no)")


def protocol(clone: Path) -> dict[str, str]:
    """System prompts and user templates, "<metric>_system" and "<metric>_user", out of script/llm_evaluation.py.

    Nothing is executed: the strings assigned below `if data["metric"] == "<metric>"` are read, with {instruction}, {label} and
    {model_response} for the values that the script puts in.

    Raises:
        EvaluationError: no such file, no Python, or a text is not there.
    """
    path = clone / "script" / "llm_evaluation.py"
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError) as err:
        raise EvaluationError(f"{path}: cannot be read ({err}); give a clone of the benchmark's repository.") from err
    texts: dict[str, str] = {}
    for node in ast.walk(tree):
        metric = _compared(node) if isinstance(node, ast.If) else None
        if metric in QUESTIONS:
            for name, text in _assigned(node):
                texts.setdefault(f"{metric}_{_TEXTS[name]}", text)
    lacking = [f"{q}_{t}" for q in QUESTIONS for t in _TEXTS.values() if f"{q}_{t}" not in texts]
    if lacking:
        raise EvaluationError(f"{path}: the texts {', '.join(lacking)} are not there; is the clone of another version?")
    return texts


def _compared(node: ast.If) -> str | None:
    """The constant of `if data["metric"] == constant`."""
    test = node.test
    if not (isinstance(test, ast.Compare) and isinstance(test.left, ast.Subscript) and len(test.comparators) == 1):
        return None
    key, value = test.left.slice, test.comparators[0]
    if isinstance(key, ast.Constant) and key.value == "metric" and isinstance(value, ast.Constant):
        return value.value
    return None


def _assigned(node: ast.If) -> list[tuple[str, str]]:
    found = []
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name, text = statement.targets[0].id, _template(statement.value)
            if name in _TEXTS and text is not None:
                found.append((name, text))
    return found


def _template(value: ast.expr) -> str | None:
    """A string, or an f-string of names with the names in braces."""
    if isinstance(value, ast.Constant):
        return value.value if isinstance(value.value, str) else None
    if not isinstance(value, ast.JoinedStr):
        return None
    parts = [
        f"{{{v.value.id}}}"
        if isinstance(v, ast.FormattedValue) and isinstance(v.value, ast.Name)
        else getattr(v, "value", None)
        for v in value.values
    ]
    return "".join(parts) if all(isinstance(p, str) for p in parts) else None


def prompt(fields: Mapping[str, Any], response: str, texts: Mapping[str, str], instruction: str) -> JudgePrompt:
    """The question to the judge, with its default sampling, as officially.

    Args:
        fields: of the item: metric, instruction, label.
        texts: what `protocol` found.
        instruction: "whole", or "first-line": the constraint is left out, as in the judgements that the authors committed.

    Raises:
        EvaluationError: the texts are not there.
    """
    metric, asked = fields["metric"], fields["instruction"]
    try:
        system, user = texts[f"{metric}_system"], texts[f"{metric}_user"]
    except KeyError as err:
        raise EvaluationError(
            "the judge's prompts stand in Speech-IFEval's repository (script/llm_evaluation.py); give --data or --protocol with "
            "a clone."
        ) from err
    values = {
        "instruction": asked.split("\n")[0] if instruction == "first-line" else asked,
        "label": str(fields.get("label")),
        "model_response": response,
    }
    filled = _PLACES.sub(lambda found: values[found[1]], user)
    return JudgePrompt((("system", system), ("user", filled)))


def verdict(reply: str) -> bool | None:
    """The first YES or NO right after "Result:" and one blank, case ignored; None where there is none.

    "Result:**YES**" and "Result:  YES" (two blanks) have none: the official script stops with an error at such a reply.
    """
    found = _RESULT.search(reply)
    return None if found is None else found[0].lower() == "yes"


def transcript(text: str) -> str:
    """A transcript as the word error rate compares it: < and > deleted, then Whisper's basic normaliser."""
    from nemo_desta.evaluation.word_errors import normalize_basic

    return normalize_basic(text.replace("<", "").replace(">", "")).strip()
