"""Log-probability of a record's target, and the batches that scoring and generation share."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nemo_desta.audio import load_audio
from nemo_desta.data.batch import collate, to_device
from nemo_desta.errors import AudioError, RecordError
from nemo_desta.record import AudioRef, Record, resolve_audio
from nemo_desta.rendering import Rendered

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel

__all__ = ["backbone_only", "batches_by_kind", "batches_by_length", "load_clip", "log_probs", "make_batch", "score"]


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
        chosen = log_probs(logits, labels)
        for i, part in zip(rows, chosen.split([sum(rendered[i].target_mask) for i in rows]), strict=True):
            out[i] = part
    return out


def log_probs(logits: Tensor, labels: Tensor) -> Tensor:
    """(M, V) and (M,) to float32 (M,) on the CPU."""
    logits = logits.float()
    return (logits.gather(-1, labels[:, None])[:, 0] - logits.logsumexp(-1)).cpu()
