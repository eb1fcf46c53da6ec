"""Let predictors answer the questions of benchmarks."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemo_desta.errors import AudioError, EvaluationError, RecordError
from nemo_desta.evaluation.benchmarks import Benchmark
from nemo_desta.evaluation.items import Data, Item
from nemo_desta.evaluation.predicting.answering import Answerer, Asked, Said
from nemo_desta.evaluation.predicting.clips import ClipStore
from nemo_desta.evaluation.predicting.config import BenchmarkConfig, EvalConfig
from nemo_desta.evaluation.predicting.prompts import Templates
from nemo_desta.evaluation.predicting.store import PredictionStore
from nemo_desta.evaluation.predictions import prediction
from nemo_desta.files import check_manifest, lock_directory
from nemo_desta.models.generation import wrap_audio
from nemo_desta.modules.transcriber import NO_SPEECH
from nemo_desta.record import AudioRef, Message

__all__ = ["Questions", "chosen_items", "predict", "transcribe_all", "why_not"]

_log = logging.getLogger(__name__)
_CHUNK = 4
"""Batches of an endpoint that are sent together."""


@dataclass(frozen=True)
class Questions:
    """One benchmark of an evaluation, ready to be asked.

    Attributes:
        items: those that are asked.
    """

    benchmark: Benchmark
    section: BenchmarkConfig
    data: Data
    items: tuple[Item, ...]
    templates: Templates
    clips: ClipStore


def chosen_items(data: Data, subsets: Sequence[str], limit: int | None) -> tuple[Item, ...]:
    """The items of some subsets (empty: all), of each subset the first `limit`."""
    counts: dict[str, int] = {}
    out = []
    for item in data.items:
        counts[item.subset] = counts.get(item.subset, 0) + 1
        if (not subsets or item.subset in subsets) and (limit is None or counts[item.subset] <= limit):
            out.append(item)
    return tuple(out)


def why_not(predictor: str, items: Sequence[Item]) -> str | None:
    """Why a predictor cannot answer these questions at all; None when it can."""
    if predictor == "backbone" and not any(i.instruction.strip() for i in items):
        return "the questions are spoken: without audio nothing is asked"
    if predictor == "oracle" and not any(i.text for i in items):
        return "the data states no reference text or description of its audio"
    return None


def predict(questions: Questions, predictor: str, answerer: Answerer, folder: Path, config: EvalConfig) -> Path:
    """Answer all questions by one predictor; a second call goes on where the first was stopped.

    Args:
        predictor: one of `PREDICTORS`.
        folder: gets manifest.json and predictions.jsonl.

    Returns:
        The predictions.

    Raises:
        EvaluationError: more than `config.max_failed` questions failed (the file is in place by then).
        SelfGenError: another process writes there, or the folder was begun with other settings.
    """
    name, items = questions.benchmark.name, questions.items
    with lock_directory(folder):
        check_manifest(folder / "manifest.json", _settings(questions, predictor, answerer, config))
        store = PredictionStore(folder, [i.id for i in items])
        store.forget_failures()
        if not store.finished:
            _answer_all(questions, predictor, answerer, store, config)
        path = store.publish()
    failed = [row for row in store.rows.values() if "response" not in row]
    for row in failed[:5]:
        _log.warning("%s %s: %s: %s", name, predictor, row["id"], row["error"])
    if len(failed) > config.max_failed:
        raise EvaluationError(
            f"{name}, {predictor}: {len(failed)} of {len(items)} questions failed (first: {failed[0]['id']}: {failed[0]['error']}); "
            f"the others are in {path}. Mend them and start again: only these are asked; or allow for them with max_failed={len(failed)}."
        )
    return path


def _settings(questions: Questions, predictor: str, answerer: Answerer, config: EvalConfig) -> dict[str, Any]:
    data, section = questions.data, questions.section
    return {
        "made_by": "eval predict", "benchmark": questions.benchmark.name, "predictor": {"name": predictor, **answerer.describe()},
        "data": {"version": data.version, "known_as": data.known_as},
        "subsets": list(section.subsets), "limit": section.limit, "max_new_tokens": section.max_new_tokens,
        "batch_size": config.batch_size, "long_audio": config.long_audio, "prompts": questions.templates.to_dict(),
    }  # fmt: skip


def _answer_all(
    questions: Questions, predictor: str, answerer: Answerer, store: PredictionStore, config: EvalConfig
) -> None:
    from tqdm import tqdm

    name = questions.benchmark.name
    asked, failed = _ask(questions, predictor)
    store.add(
        prediction(name, predictor, item, (), 0.0, None, error) for item, error in failed if item.id not in store.rows
    )
    size = config.batch_size * (_CHUNK if predictor == "endpoint" else 1)
    with tqdm(
        total=len(questions.items), initial=len(store.rows), desc=f"{name} {predictor}", unit="item", disable=None
    ) as bar:
        for batch in _batches(asked, size):
            todo = [a for a in batch if a.item.id not in store.rows]
            if not todo:
                continue
            started = time.monotonic()
            sent = todo if predictor == "endpoint" else batch  # in memory the whole batch: a resumed run says the same
            said = answerer.answer(sent, questions.section.max_new_tokens)
            seconds = (time.monotonic() - started) / len(sent)
            rows = [_row(name, predictor, a, s, seconds) for a, s in zip(sent, said, strict=True)]
            store.add(rows)
            bar.update(len(todo))


def _row(benchmark: str, predictor: str, asked: Asked, said: Said, seconds: float) -> dict[str, Any]:
    return prediction(benchmark, predictor, asked.item, asked.messages, seconds, said.text, said.error)


def _batches(asked: Sequence[Asked], size: int) -> Iterator[list[Asked]]:
    """Batches of like length, with and without audio apart, longest first; which questions stand together depends on the
    questions alone, not on what is answered already."""
    for audio in (True, False):
        same = [a for a in asked if bool(a.files) == audio]
        same.sort(key=lambda a: (-len(a.files), -sum(len(m.content) for m in a.messages), a.item.id))
        yield from (same[i : i + size] for i in range(0, len(same), size))


def _ask(questions: Questions, predictor: str) -> tuple[list[Asked], list[tuple[Item, str]]]:
    """What is sent for each question, and the questions for which nothing can be sent."""
    asked, failed = [], []
    for item in questions.items:
        try:
            asked.append(_asked(questions, predictor, item))
        except (AudioError, RecordError, EvaluationError) as err:
            failed.append((item, str(err)))
    return asked, failed


def _asked(questions: Questions, predictor: str, item: Item) -> Asked:
    templates, clips = questions.templates, questions.clips
    if predictor == "backbone":
        return Asked(item, templates.alone(item))
    if predictor == "oracle":
        if not item.text:
            raise EvaluationError("there is no reference text or description of its audio.")
        return Asked(item, templates.read(item, item.text))
    pieces = [(audio, piece) for audio in item.audios for piece in clips.pieces(audio)]
    texts = [clips.transcript(piece) for _, piece in pieces]
    if predictor == "cascade":
        if None in texts:
            raise EvaluationError("there is no transcript of its audio.")
        return Asked(item, templates.read(item, "\n".join(t.strip() for t in texts if t)))
    refs = [AudioRef(_shown(audio, piece, clips), text) for (audio, piece), text in zip(pieces, texts, strict=True)]
    return Asked(item, _heard(templates, item, refs, predictor), tuple(piece for _, piece in pieces))


def _heard(templates: Templates, item: Item, refs: Sequence[AudioRef], predictor: str) -> tuple[Message, ...]:
    if predictor == "endpoint":  # it hears only; transcripts are not sent
        return templates.heard(item, [AudioRef(r.audio, NO_SPEECH) for r in refs])
    return tuple(map(wrap_audio, templates.heard(item, refs)))


def _shown(audio: str, piece: str, clips: ClipStore) -> str:
    """The clip's path in predictions.jsonl: relative to the data's root; of a piece, relative to the work folder."""
    return audio if audio not in clips.long_clips else str(Path(piece).relative_to(clips.work))


def transcribe_all(questions: Questions, transcribe: Any) -> None:
    """Transcripts of all clips, kept for the model and the cascade alike."""
    from tqdm import tqdm

    audios = list(dict.fromkeys(a for i in questions.items for a in i.audios))
    with tqdm(total=len(audios), desc=f"{questions.benchmark.name} transcripts", unit="clip", disable=None) as bar:
        questions.clips.transcripts(audios, transcribe, bar.update)
