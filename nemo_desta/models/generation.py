"""Answering: batched generation over conversations with any number of clips."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from nemo_desta.models.scoring import backbone_only, batches_by_kind, load_clip, make_batch
from nemo_desta.modules.transcriber import Transcriber
from nemo_desta.record import AUDIO_LOCATOR, Message, parse_messages

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel

__all__ = ["generate", "transcribe", "transcriber_of", "wrap_audio"]

START, END = "<start_audio>", "<end_audio>"


def wrap_audio(message: Message) -> Message:
    """Put every clip between <start_audio> and <end_audio>, as in training; what is wrapped already stays as it is.

    The official `generate` wraps too, but would wrap twice.
    """
    if not message.audios:
        return message
    wrapped = START + AUDIO_LOCATOR + END
    content = message.content.replace(wrapped, AUDIO_LOCATOR).replace(AUDIO_LOCATOR, wrapped)
    return replace(message, content=content)


def transcribe(
    model: "DeSTAModel", conversations: Sequence[Sequence[Message]], audio_root: str | None
) -> list[tuple[Message, ...]]:
    """Fill in transcripts that are None; what the caller supplied is never touched. Each file is heard once."""
    numbered = [(i, a) for i, c in enumerate(conversations) for m in c for a in m.audios]
    missing = {a.audio: f"conversation {i}" for i, a in reversed(numbered) if a.text is None}
    if not missing:
        return [tuple(c) for c in conversations]
    texts = {}
    for name, where in sorted(missing.items()):
        audio = load_clip(audio_root, name, where)
        texts[name] = transcriber_of(model)(audio)

    def fill(message: Message) -> Message:
        return replace(
            message, audios=tuple(a if a.text is not None else replace(a, text=texts[a.audio]) for a in message.audios)
        )

    return [tuple(fill(m) for m in c) for c in conversations]


def transcriber_of(model: "DeSTAModel") -> Transcriber:
    """The model's transcriber, made when first asked; it shares the model's encoder."""
    if "transcriber" not in model.__dict__:  # not a submodule: it is in no checkpoint and no parameter group
        object.__setattr__(model, "transcriber", Transcriber(model.config.encoder, model.perception.encoder.whisper))
    return model.__dict__["transcriber"]


@torch.inference_mode()
def generate(
    model: "DeSTAModel",
    conversations: Sequence,
    audio_root: str | None,
    max_new_tokens: int,
    do_sample: bool,
    batch_size: int,
    **sampling: Any,
) -> list[str]:
    """Answer conversations. Greedy unless `do_sample`.

    Args:
        conversations: lists of messages as the official `generate` takes them; a clip is a path under
            `audio_root`, its text None for "transcribe it".
        sampling: handed to transformers' generate (temperature, top_p, ...).

    Conversations without audio are answered by the backbone itself: LoRA, where there is one, is off for them.

    Raises:
        RecordError, RenderError, AudioError: naming the conversation.
    """
    model.eval()
    parsed = [parse_messages(c, f"conversation {i}") for i, c in enumerate(conversations)]
    parsed = [tuple(wrap_audio(m) for m in c) for c in parsed]
    parsed = transcribe(model, parsed, audio_root)
    rendered = [model.renderer.render(c, where=f"conversation {i}") for i, c in enumerate(parsed)]
    audios = [[a for m in c for a in m.audios] for c in parsed]
    out = [""] * len(parsed)
    for rows in batches_by_kind([bool(a) for a in audios], [len(r.input_ids) for r in rendered], batch_size):
        names = [f"conversation {i}" for i in rows]
        batch = make_batch(model, [rendered[i] for i in rows], [audios[i] for i in rows], audio_root, names)
        texts = _generate_batch(model, batch, max_new_tokens=max_new_tokens, do_sample=do_sample, **sampling)
        for i, text in zip(rows, texts, strict=True):
            out[i] = text
    return out


def _generate_batch(model: "DeSTAModel", batch: dict, **sampling: Any) -> list[str]:
    eos = model.llm.generation_config.eos_token_id
    stops = {model.renderer.eos_id, model.tokenizer.eos_token_id, *([eos] if isinstance(eos, int) else eos or [])}
    with backbone_only(model, len(batch["audio_index"])):
        ids = model.llm.generate(
            inputs_embeds=model.embed(batch),
            attention_mask=batch["attention_mask"].long(),
            eos_token_id=sorted(stops),
            pad_token_id=model.renderer.eos_id,
            **sampling,
        )
    return model.tokenizer.batch_decode(ids, skip_special_tokens=True)
