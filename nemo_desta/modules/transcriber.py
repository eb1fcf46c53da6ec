"""Transcripts at inference: voice activity detection, then Whisper's own decoder. Offline."""

import logging
import warnings
from functools import lru_cache

import numpy as np
import torch
from torch import nn
from transformers import WhisperForConditionalGeneration, WhisperProcessor
from transformers.utils import logging as hf_logging

from nemo_desta.audio import SAMPLING_RATE
from nemo_desta.errors import ConfigError
from nemo_desta.pypi_models import resolve

__all__ = ["NO_SPEECH", "Transcriber", "speech_spans"]

NO_SPEECH = " "
"""What stands for a transcript when nobody speaks."""

log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def _silero():
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from silero_vad import get_speech_timestamps, load_silero_vad

        vad = load_silero_vad(onnx=False)
    torch.set_num_threads(threads)  # importing silero_vad sets the whole process to one thread
    return vad, get_speech_timestamps


def speech_spans(audio: np.ndarray) -> list[tuple[int, int]]:
    """Where somebody speaks in 16 kHz mono float32 (num_samples,): [(first sample, end sample)], by silero-vad."""
    vad, timestamps = _silero()
    with torch.inference_mode():
        spans = timestamps(torch.from_numpy(audio), vad, sampling_rate=SAMPLING_RATE)
    return [(s["start"], s["end"]) for s in spans]


class Transcriber:
    """Whisper's decoder behind a voice activity detector.

    Args:
        encoder: name of the Whisper whose decoder is loaded.
        whisper_encoder: the encoder in memory, shared with the decoder.
        max_new_tokens: 128 in the official code.

    Raises:
        ConfigError: the folder holds no decoder or no tokenizer.
    """

    def __init__(self, encoder: str, whisper_encoder: nn.Module, max_new_tokens: int = 128) -> None:
        path = resolve(encoder)
        try:
            self.processor = WhisperProcessor.from_pretrained(path)
            dtype = next(whisper_encoder.parameters()).dtype
            model = WhisperForConditionalGeneration.from_pretrained(path, dtype=dtype).eval()
        except (OSError, ValueError, TypeError) as err:
            raise ConfigError(
                f"encoder={encoder!r} cannot transcribe ({err}); give the transcripts, or a full Whisper."
            ) from err
        words, outputs = len(self.processor.tokenizer), model.config.vocab_size
        if words < outputs // 2:  # transformers makes up an empty tokenizer where the files are missing
            raise ConfigError(
                f"encoder={encoder!r} cannot transcribe (its tokenizer has {words} tokens for {outputs} outputs); "
                "give the transcripts, or a full Whisper."
            )
        model.model.encoder = whisper_encoder
        self.model = model.to(next(whisper_encoder.parameters()).device)
        self.max_new_tokens = max_new_tokens

    @torch.inference_mode()
    def __call__(self, audio: np.ndarray) -> str:
        """Transcript of 16 kHz mono float32 (num_samples,) of at most 30 s; " " when nobody speaks."""
        if not speech_spans(audio):
            return NO_SPEECH
        features = self.processor(audio, sampling_rate=SAMPLING_RATE, return_tensors="pt").input_features
        self.model.to(next(self.model.model.encoder.parameters()).device)  # the encoder may have moved
        weight = self.model.proj_out.weight
        verbosity = hf_logging.get_verbosity()
        hf_logging.set_verbosity_error()  # transformers warns of what its own Whisper code does
        try:
            ids = self.model.generate(
                features.to(weight.device, weight.dtype), max_new_tokens=self.max_new_tokens, do_sample=False
            )
        finally:
            hf_logging.set_verbosity(verbosity)
        text = self.processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
        return text or NO_SPEECH
