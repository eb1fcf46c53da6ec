"""Log-probabilities: of a record's target, and of several possible answers to one conversation."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nemo_desta.audio import load_audio
from nemo_desta.data.batch import collate, to_device
from nemo_desta.errors import AudioError, RecordError
from nemo_desta.record import AudioRef, Message, Record, parse_messages, resolve_audio
from nemo_desta.rendering import Rendered

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel

__all__ = ["backbone_only", "batches_by_kind", "batches_by_length", "load_clip", "make_batch", "score", "score_choices"]


def batches_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Indices in batches of like length, longest first, so that padding and peak memory show at once."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def make_batch(
    model: "DeSTAModel",
    rendered: Sequence[Rendered],
    audios: Sequence[Sequence[AudioRef]],
    audio_root: str | None,
    ids: Sequence[str] | None = None,
) -> dict:
    """Load the clips of rendered conversations, each distinct file once, and collate on the model's device.

    Raises:
        AudioError, RecordError: a clip cannot be read; the conversation is named by `ids`, else by its number.
    """
    ids = [f"conversation {i}" for i in range(len(rendered))] if ids is None else ids
    files: dict[str, int] = {}
    clips: list[np.ndarray] = []
    for where, refs in zip(ids, audios, strict=True):
        for name in (a.audio for a in refs):
            if name not in files:
                files[name] = len(clips)
                clips.append(load_clip(audio_root, name, where))
    index = [[files[a.audio] for a in refs] for refs in audios]
    return to_device(collate(rendered, clips, index, ids, model.renderer.eos_id), model.device)


def load_clip(audio_root: str | None, name: str, where: str) -> np.ndarray:
    """The samples of a clip; errors begin with `where`."""
    try:
        return load_audio(resolve_audio(audio_root, name))
    except (AudioError, RecordError) as err:
        raise type(err)(f"{where}: {err}") from err


def backbone_only(model: "DeSTAModel", num_clips: int) -> AbstractContextManager:
    """Turns LoRA off where no clip is spoken of: there the model is its backbone."""
    return nullcontext() if num_clips or model.config.lora is None else model.llm.disable_adapter()


def batches_by_kind(has_audio: Sequence[bool], lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """As batches_by_length, conversations with and without audio kept apart."""
    out = []
    for kind in (True, False):
        members = [i for i, audio in enumerate(has_audio) if audio == kind]
        out += [[members[r] for r in rows] for rows in batches_by_length([lengths[i] for i in members], batch_size)]
    return out


@torch.inference_mode()
def score(
    model: "DeSTAModel", records: Sequence[Record | dict], audio_root: str | None, batch_size: int
) -> list[Tensor]:
    """See DeSTAModel.score. Transcripts must be in the records; the model is put in eval mode.

    Raises:
        RecordError, RenderError, AudioError: naming the record.
    """
    model.eval()
    parsed = [
        r if isinstance(r, Record) else Record.from_dict({"id": str(i), **r}, f"record {i}")
        for i, r in enumerate(records)
    ]
    rendered = [model.renderer.render(r.messages, r.response, where=f"record {r.id}") for r in parsed]
    out: list[Tensor | None] = [None] * len(parsed)
    for rows in batches_by_kind([bool(r.audios) for r in parsed], [len(r.input_ids) for r in rendered], batch_size):
        names = [f"record {parsed[i].id}" for i in rows]
        batch = make_batch(model, [rendered[i] for i in rows], [parsed[i].audios for i in rows], audio_root, names)
        with backbone_only(model, len(batch["audio_index"])):
            logits, labels = model(batch)
        chosen = _log_probs(logits, labels)
        for i, part in zip(rows, chosen.split([sum(rendered[i].target_mask) for i in rows]), strict=True):
            out[i] = part
    return out


def _log_probs(logits: Tensor, labels: Tensor) -> Tensor:
    """(M, V) and (M,) to float32 (M,) on the CPU."""
    logits = logits.float()
    return (logits.gather(-1, labels[:, None])[:, 0] - logits.logsumexp(-1)).cpu()


@torch.inference_mode()
def score_choices(
    model: "DeSTAModel",
    conversations: Sequence,
    choices: Sequence[Sequence[str]],
    audio_root: str | None,
    batch_size: int,
) -> list[Tensor]:
    """See DeSTAModel.score_choices: sums over a choice's tokens, end of sequence included.

    All choices of a conversation stand behind its context in one row; each sees the context and itself, at the
    positions it would have alone, so the context is computed once.

    Raises:
        RecordError: the numbers of conversations and of choice lists differ, or a list is empty.
    """
    if len(conversations) != len(choices) or not all(choices):
        raise RecordError(
            f"{len(conversations)} conversations and {len(choices)} lists of choices; give each a non-empty list."
        )
    model.eval()
    parsed: list[tuple[Message, ...]] = [parse_messages(c, f"conversation {i}") for i, c in enumerate(conversations)]
    contexts = [model.renderer.render(m, where=f"conversation {i}") for i, m in enumerate(parsed)]
    answers = [[[*model.renderer.encode_text(c), model.renderer.eos_id] for c in group] for group in choices]
    lengths = [len(c.input_ids) + sum(map(len, a)) for c, a in zip(contexts, answers, strict=True)]
    out: list[Tensor | None] = [None] * len(parsed)
    audios = [[a for m in c for a in m.audios] for c in parsed]
    for rows in batches_by_kind([bool(a) for a in audios], lengths, batch_size):
        packed = [_append(contexts[i], answers[i]) for i in rows]
        batch = make_batch(model, packed, [audios[i] for i in rows], audio_root, [f"conversation {i}" for i in rows])
        sizes = [[len(a) for a in answers[i]] for i in rows]
        with backbone_only(model, len(batch["audio_index"])):
            scores = _score_packed(model, batch, [len(contexts[i].input_ids) for i in rows], sizes)
        for i, part in zip(rows, scores, strict=True):
            out[i] = part
    return out


def _append(context: Rendered, answers: list[list[int]]) -> Rendered:
    tail = [token for answer in answers for token in answer]
    return Rendered(
        context.input_ids + tail,
        [False] * len(context.input_ids) + [True] * len(tail),
        context.audio_positions,
        context.transcript_lengths,
    )


def _score_packed(
    model: "DeSTAModel", batch: dict, context_lengths: list[int], answer_lengths: list[list[int]]
) -> list[Tensor]:
    ids, width = batch["input_ids"], batch["input_ids"].shape[1]
    attend = torch.zeros((len(ids), 1, width, width), dtype=torch.bool, device=ids.device)
    attend |= torch.eye(width, dtype=torch.bool, device=ids.device)  # padding attends itself: no row of only -inf
    positions = torch.zeros_like(ids)
    before = torch.zeros_like(ids)  # the place that predicts this one
    causal = torch.ones((width, width), dtype=torch.bool, device=ids.device).tril()
    for row, (context, answers) in enumerate(zip(context_lengths, answer_lengths, strict=True)):
        start = width - context - sum(answers)
        end = start + context
        attend[row, 0, start:end, start:end] = causal[:context, :context]
        positions[row, start:end] = torch.arange(context)
        for size in answers:
            place = slice(end, end + size)
            attend[row, 0, place, start : start + context] = True
            attend[row, 0, place, place] = causal[:size, :size]
            positions[row, place] = context + torch.arange(size)
            before[row, place] = torch.tensor([start + context - 1, *range(end, end + size - 1)])
            end += size
    keep = max(map(sum, answer_lengths)) + 1
    logits = model.llm(
        inputs_embeds=model.embed(batch),
        attention_mask=attend,
        position_ids=positions,
        logits_to_keep=keep,
        use_cache=False,
    ).logits
    offset = width - keep
    out = []
    for row, answers in enumerate(answer_lengths):
        place = slice(width - sum(answers), width)
        chosen = _log_probs(logits[row, before[row, place] - offset], ids[row, place])
        out.append(torch.stack([part.sum() for part in chosen.split(answers)]))
    return out
