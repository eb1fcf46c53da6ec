"""A judge that only repeats: raw replies recorded before, by us or by anybody. Nobody is called."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.judging import JudgePrompt, Reply
from nemo_desta.evaluation.judging.recorded import Recorded, question, question_key, read_lines

__all__ = ["NO_REPLY", "ReplayJudge"]

NO_REPLY = "no recorded reply"


class ReplayJudge:
    """Recorded replies, by what was asked.

    A recording fits a prompt when its messages are the same, and each of temperature, top_p, max_tokens and n that it
    states; one with nothing but a key fits where the key does. A cache of ours states them all.

    Args:
        path: a cache of ours, or JSONL of {"messages": ..., "texts": [...]}, with "reply": "..." in place of texts,
            "key" in place of messages, and "model" where it is known.
        model: take its replies only; None: all, which must be of one model.

    Raises:
        EvaluationError: the file cannot be read, a line is damaged, or it holds replies of several models.
    """

    def __init__(self, path: Path, model: str | None = None) -> None:
        self.path = path
        try:
            content = path.read_bytes()
        except OSError as err:
            raise EvaluationError(
                f"{path}: the recorded replies cannot be read ({err}); give the file of a judge's replies."
            ) from err
        lines = list(read_lines(content, str(path)))
        self.torn = lines.count(None)
        recordings = [r for r in lines if r is not None]
        if not recordings:
            raise EvaluationError(f"{path}: holds no replies; give the file of a judge's replies.")
        models = sorted({str(r.stated["model"]) for r in recordings if "model" in r.stated})
        self.model = _one_model(models, model, path)
        chosen = [r for r in recordings if r.stated.get("model", self.model) == self.model]
        self._by_key: dict[str, Recorded] = {}
        self._by_messages: dict[tuple[tuple[str, str], ...], list[Recorded]] = {}
        for recording in chosen:
            if "messages" in recording.stated:
                pairs = tuple((m["role"], m["content"]) for m in recording.stated["messages"])
                self._by_messages.setdefault(pairs, []).append(recording)
            elif recording.key is not None:
                self._by_key.setdefault(recording.key, recording)
        self._counts: Counter[str] = Counter({"prompts": 0, "from_cache": 0, "asked": 0, "failed": 0})

    def ask(self, prompts: Sequence[JudgePrompt]) -> list[Reply]:
        """See `Judge.ask`. Where nothing fits, the reply's error says so."""
        replies = {p: self._reply(p) for p in dict.fromkeys(prompts)}
        failed = sum(r.error is not None for r in replies.values())
        self._counts.update(prompts=len(replies), from_cache=len(replies) - failed, failed=failed)
        return [replies[p] for p in prompts]

    def describe(self) -> dict[str, Any]:
        """See `Judge.describe`."""
        torn = {"torn_lines": self.torn} if self.torn else {}
        return {"engine": "replay", "model": self.model, "file": self.path.name, **self._counts, **torn}

    def _reply(self, prompt: JudgePrompt) -> Reply:
        for found in self._candidates(prompt):
            if len(found.texts) == prompt.n:
                return Reply(found.texts)
        few = list(self._candidates(prompt))
        if few:
            return Reply(
                error=f"{Path(few[0].where).name}: {len(few[0].texts)} replies are recorded, {prompt.n} are asked for"
            )
        return Reply(error=NO_REPLY)

    def _candidates(self, prompt: JudgePrompt) -> Iterator[Recorded]:
        asked = question(self.model, prompt)
        for recording in self._by_messages.get(tuple(prompt.messages), ()):
            if _fits(recording.stated, asked):
                yield recording
        key = question_key(asked)
        if key in self._by_key:
            yield self._by_key[key]


def _one_model(models: Sequence[str], wanted: str | None, path: Path) -> str:
    if wanted is not None:
        if models and wanted not in models:
            raise EvaluationError(f"{path}: holds no replies of {wanted!r}; it holds those of {', '.join(models)}.")
        return wanted
    if len(models) > 1:
        raise EvaluationError(
            f"{path}: holds replies of {', '.join(models)}; say which with replay:FILE@MODEL, such as replay:{path}@{models[0]}."
        )
    return models[0] if models else "unknown"


def _fits(stated: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    return all(stated[k] == asked[k] for k in ("temperature", "top_p", "max_tokens", "n") if k in stated)
