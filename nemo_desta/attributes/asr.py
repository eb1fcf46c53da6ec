"""The labeller `asr`: transcripts by Whisper for speech that has none."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from nemo_desta.audio import MAX_DURATION, SAMPLING_RATE

if TYPE_CHECKING:
    from nemo_desta.attributes.labellers import Clip
    from nemo_desta.modules.transcriber import Transcriber

__all__ = ["label", "windows"]

_WINDOW = round(MAX_DURATION * SAMPLING_RATE)


def label(clips: Sequence["Clip"], encoder: str = "pypi:whisper-tiny.en", device: str = "cpu") -> list[dict[str, Any]]:
    """`text` and `text_source: asr` for clips without text that are speech or may be; nothing for the others.

    Args:
        encoder: a Whisper with its decoder: path, hub id or pypi: name. The default knows English only.
        device: torch device.
    """
    return [_transcribe(clip, encoder, device) if _needs_text(clip) else {} for clip in clips]


def _needs_text(clip: "Clip") -> bool:
    return not clip.text and clip.domain in ("speech", None)


def _transcribe(clip: "Clip", encoder: str, device: str) -> dict[str, Any]:
    transcriber = _transcriber(encoder, device)
    texts = [transcriber(clip.audio[start:end]).strip() for start, end in windows(clip.audio)]
    text = " ".join(t for t in texts if t)
    return {"text": text, "text_source": "asr"} if text else {}


def windows(audio: np.ndarray) -> list[tuple[int, int]]:
    """Parts of 16 kHz mono float32 (N,) that Whisper can hear at once: [(first sample, end sample)], in all everything.

    Audio of up to 30 s is one part; a longer one is divided in pauses, or every 30 s where nobody pauses.
    """
    if len(audio) <= _WINDOW:
        return [(0, len(audio))]
    from nemo_desta.modules.transcriber import speech_spans

    spans = speech_spans(audio)
    pauses = [(end + start) // 2 for (_, end), (start, _) in pairwise(spans)]
    parts, begin = [], 0
    while len(audio) - begin > _WINDOW:
        cut = max((p for p in pauses if begin < p <= begin + _WINDOW), default=begin + _WINDOW)
        parts.append((begin, cut))
        begin = cut
    return [*parts, (begin, len(audio))]


@lru_cache(maxsize=1)
def _transcriber(encoder: str, device: str) -> "Transcriber":
    import torch

    from nemo_desta.models.frozen import load_encoder
    from nemo_desta.modules.transcriber import Transcriber

    whisper, _ = load_encoder(encoder, torch.float32)
    return Transcriber(encoder, whisper.to(device))
