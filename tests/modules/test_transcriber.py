"""Transcripts: words where somebody speaks, " " where nobody does, with real Whisper and silero weights."""

import re
from functools import cache

import numpy as np
import pytest
import torch

from nemo_desta.errors import ConfigError
from nemo_desta.models.frozen import load_encoder
from nemo_desta.modules import transcriber as module
from nemo_desta.modules.transcriber import NO_SPEECH, Transcriber, speech_spans
from tests import tiny

SENTENCES = [
    ("m3", "Please open the window before the train leaves."),
    ("f2", "Please open the window before the train leaves."),
]


@cache
def real() -> Transcriber:
    encoder, _ = load_encoder("pypi:whisper-tiny.en", torch.float32)
    return Transcriber("pypi:whisper-tiny.en", encoder)


def speech(variant: str, text: str) -> np.ndarray:
    import soxr

    from nemo_desta.recipes.espeak import ESPEAK_RATE, speak, variant_definition

    definition = re.sub(r"^breath.*\n", "", variant_definition(variant), flags=re.MULTILINE)
    samples = speak(text, definition, rate=150)
    return soxr.resample(samples.astype(np.float32) / 32_768, ESPEAK_RATE, 16_000)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


@pytest.mark.parametrize(("variant", "text"), SENTENCES)
def test_spoken_words_are_found(variant, text):
    audio = speech(variant, text)
    assert speech_spans(audio)
    found, wanted = words(real()(audio)), words(text)
    assert sum(w in found for w in wanted) >= 0.7 * len(wanted), found


def test_silence_and_noise_have_no_speech():
    rng = np.random.default_rng(0)
    for audio in (
        np.zeros(16_000, np.float32),
        np.zeros(100, np.float32),
        rng.normal(0, 0.05, 32_000).astype(np.float32),
    ):
        assert speech_spans(audio) == []
        assert real()(audio) == NO_SPEECH == " "


def test_the_decoder_is_not_asked_where_nobody_speaks(monkeypatch):
    monkeypatch.setattr(real().model, "generate", lambda *_, **__: pytest.fail("it was asked"))
    assert real()(np.zeros(16_000, np.float32)) == " "


def test_nothing_heard_is_a_space(monkeypatch):
    monkeypatch.setattr(module, "speech_spans", lambda _: [(0, 100)])
    monkeypatch.setattr(real().processor, "batch_decode", lambda *_, **__: ["  "])
    assert real()(np.zeros(16_000, np.float32)) == " "


def test_the_encoder_in_memory_is_shared():
    encoder, _ = load_encoder("pypi:whisper-tiny.en", torch.float32)
    assert Transcriber("pypi:whisper-tiny.en", encoder).model.model.encoder is encoder


def test_threads_are_left_as_they_were():
    threads = torch.get_num_threads()
    module._silero.cache_clear()
    speech_spans(np.zeros(1_600, np.float32))
    assert torch.get_num_threads() == threads


def test_an_encoder_without_tokenizer_cannot_transcribe():
    encoder, _ = load_encoder(str(tiny.ENCODER), torch.float32)
    with pytest.raises(ConfigError, match="cannot transcribe .* give the transcripts"):
        Transcriber(str(tiny.ENCODER), encoder)
