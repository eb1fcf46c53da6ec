"""Stages that judge the trained model: held-out losses, closed questions, and answers to read."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from nemo_desta.demo.config import HELD_OUT
from nemo_desta.demo.making import manifest_of, records_of
from nemo_desta.evaluation.clips import EvalClip, conversation, read_clips
from nemo_desta.evaluation.closed import QuestionScores, ask, auc_difference, summarise
from nemo_desta.evaluation.features import AudioFeatures, untrained_state
from nemo_desta.evaluation.heldout import heldout_losses
from nemo_desta.evaluation.questions import ClosedQuestion, read_questions
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.record import read_records
from nemo_desta.selfgen.config import find_config
from nemo_desta.selfgen.prompts import SystemPrompts

__all__ = ["METHODS", "answers", "choose_clips", "evaluation"]

METHODS = {"trained": "audio", "untrained": "audio", "seed": "seed", "cascade": "transcript"}
"""Method -> what stands in the audio's place: the model, the model before training, the backbone that reads the seed
description (the ceiling), and the backbone that reads the transcript."""

_log = logging.getLogger(__name__)


def evaluation(config: Mapping[str, Any], output_dir: Path) -> dict[str, Any]:
    """Held-out losses under ablation, and closed questions by every method, on each held-out split."""
    model, features = _model(config, output_dir)
    root, system = str(output_dir / "corpus"), _system(config)
    out: dict[str, Any] = {"loss": {}, "closed": {}, "questions": []}
    for split in HELD_OUT:
        records = list(islice(read_records(records_of(output_dir, split)), config["max_records"]))
        losses = heldout_losses(features, records, root, seed=config["seed"])
        out["loss"][split] = {
            "num_records": len(records), "num_clips": len({r.audios[0].audio for r in records}),
            "conditions": {k: {"loss": v.loss.to_dict(), "difference": v.difference.to_dict()} for k, v in losses.items()},
        }  # fmt: skip
        _log.info("held-out loss on %s: %s", split, ", ".join(f"{k} {v.loss.value:.3f}" for k, v in losses.items()))
    questions = read_questions(config["questions"])
    out["questions"] = [_told(q) for q in questions]
    clips = {split: _clips(config, output_dir, split) for split in HELD_OUT}
    clips = {split: found[: config["max_clips"]] for split, found in clips.items()}
    clips["validation"] = _clips(config, output_dir, "validation")[: config["calibration_clips"]]
    features.add((c.audio for found in clips.values() for c in found), root)
    raw = {}
    for method, source in METHODS.items():
        if method == "untrained" and not config["untrained"]:
            continue
        with features.use("untrained" if method == "untrained" else "trained"):
            raw[method] = {
                split: ask(model, found, questions, system, source, root, config["batch_size"])
                for split, found in clips.items()
            }
        _log.info("closed questions: %s done", method)
    out["closed"] = {split: _closed(raw, split, questions, config["seed"]) for split in HELD_OUT}
    out["calibration_clips"] = len(clips["validation"])
    out["files"] = {"scores of every choice": _write(output_dir, "evaluation/scores.json", _scores(raw, questions))}
    return out


def answers(config: Mapping[str, Any], output_dir: Path) -> dict[str, Any]:
    """A dozen clips of voices never trained on, with the answers of backbone, untrained and trained model."""
    model, features = _model(config, output_dir)
    root, system = str(output_dir / "corpus"), _system(config)
    clips = choose_clips(_clips(config, output_dir, HELD_OUT[-1]), config["num_clips"])
    features.add((c.audio for c in clips), root)
    asked = [(c, q) for c in clips for q in config["questions"][c.attributes["domain"]]]
    said = {}
    for method in ("seed", "untrained", "trained"):
        turns = [[m.to_dict() for m in conversation(c, q, system, METHODS[method])] for c, q in asked]
        with features.use("untrained" if method == "untrained" else "trained"):
            said[method] = model.generate(
                turns, audio_root=root, max_new_tokens=config["max_new_tokens"], batch_size=12
            )
    shown = [
        {
            "id": c.id, "audio": f"corpus/{c.audio}", "seed_description": c.seed_description, "transcript": c.transcript,
            "attributes": dict(c.attributes),
            "answers": [{"question": q, **{m: said[m][i] for m in said}} for i, (d, q) in enumerate(asked) if d is c],
        }
        for c in clips
    ]  # fmt: skip
    return {"clips": shown, "files": {"answers": _write(output_dir, "answers/answers.json", shown)}}


def choose_clips(clips: Sequence[EvalClip], num_clips: Mapping[str, int]) -> list[EvalClip]:
    """Some clips of each domain, as unlike in their attributes as the first that come can be."""
    return [
        c
        for domain, count in num_clips.items()
        for c in _unlike([c for c in clips if c.attributes["domain"] == domain], count)
    ]


def _unlike(clips: Sequence[EvalClip], count: int) -> Iterator[EvalClip]:
    left, seen = list(clips), set()
    while left and count > 0:
        best = max(left, key=lambda c: len(set(c.attributes.items()) - seen))  # the first of equals
        left.remove(best)
        seen |= set(best.attributes.items())
        if len(seen) and all(not set(c.attributes.items()) - seen for c in left):
            seen = set()
        count -= 1
        yield best


def _model(config: Mapping[str, Any], output_dir: Path) -> tuple[DeSTAModel, AudioFeatures]:
    model = DeSTAModel.from_pretrained(str(output_dir / config["model"]))
    trained = {name: p.clone() for name, p in model.trainable_state_dict().items()}
    return model, AudioFeatures(model, {"trained": trained, "untrained": untrained_state(model, config["seed"])})


def _system(config: Mapping[str, Any]) -> str:
    return SystemPrompts.from_yaml(find_config("prompts", "system"), [config["system_prompt"]]).choose(0, "", 0)[1]


def _clips(config: Mapping[str, Any], output_dir: Path, split: str) -> list[EvalClip]:
    return read_clips([manifest_of(output_dir, split)], config["seed_config"], output_dir / "corpus")


def _told(question: ClosedQuestion) -> dict[str, Any]:
    return {
        "name": question.name, "question": question.question, "text_can_tell": question.text_can_tell,
        "choices": [{"label": c.label, "answer": c.answer} for c in question.choices],
    }  # fmt: skip


def _closed(raw: Mapping[str, Any], split: str, questions: Sequence[ClosedQuestion], seed: int) -> dict[str, Any]:
    out = {}
    for name in (q.name for q in questions):
        fair = {m: asked[split][name].without_prior(asked["validation"][name]) for m, asked in raw.items()}
        out[name] = {
            "methods": {m: summarise(scores, seed).to_dict() for m, scores in fair.items()},
            "above_cascade": auc_difference(fair["trained"], fair["cascade"], seed).to_dict(),
        }
    return out


def _scores(raw: Mapping[str, Any], questions: Sequence[ClosedQuestion]) -> dict[str, Any]:
    def plain(s: QuestionScores) -> dict[str, Any]:
        return {"clips": list(s.clip_ids), "labels": s.labels.tolist(), "scores": s.scores.round(4).tolist()}

    return {
        m: {split: {q.name: plain(found[q.name]) for q in questions} for split, found in asked.items()}
        for m, asked in raw.items()
    }


def _write(output_dir: Path, name: str, value: Any) -> str:
    path = output_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return name
