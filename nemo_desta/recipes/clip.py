"""From the plan of a clip to its samples, and to its wav file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from nemo_desta.recipes.draw import Draw
from nemo_desta.recipes.espeak import ESPEAK_RATE, speak
from nemo_desta.recipes.music import compose, play
from nemo_desta.recipes.noise import NOISES, SAMPLING_RATE, at_snr, coloured
from nemo_desta.recipes.plan import UNSEEN, ClipPlan
from nemo_desta.recipes.sounds import SOUNDS
from nemo_desta.recipes.voices import load_voices

__all__ = ["RenderedClip", "audio_path", "render_clip", "write_clip"]

_PEAKS = (0.4, 0.9)
"""Lowest and highest peak level of a clip, full scale 1."""
_ROOM_SNR_DB = (48.0, 60.0)
"""How far below the signal the faint noise of a clean recording lies; no clip is digitally silent anywhere."""
_FADE = 0.01
"""Fade-in and fade-out of sound and music, in seconds."""


@dataclass(frozen=True)
class RenderedClip:
    """Signal and noise apart, both (N,) float64 at 16 kHz; the clip is their sum, within -1 and 1."""

    signal: np.ndarray
    noise: np.ndarray


def render_clip(plan: ClipPlan) -> RenderedClip:
    """Make the sound of `plan`; a pure function of it."""
    draw = Draw(np.random.default_rng(plan.seed), plan.split == UNSEEN)
    signal = {"speech": _speech, "sound": _sound, "music": _music}[plan.domain](draw, plan)
    if plan.custom.get("noise") == "noisy":
        noise = at_snr(signal, NOISES[plan.custom["noise_type"]](draw.rng, len(signal)), plan.custom["snr_db"])
    else:
        noise = at_snr(signal, coloured(draw.rng, len(signal), 0.8), draw.uniform(*_ROOM_SNR_DB))
    gain = draw.uniform(*_PEAKS) / np.max(np.abs(signal + noise))
    return RenderedClip(gain * signal, gain * noise)


def audio_path(plan: ClipPlan) -> str:
    """Where the clip lies, relative to the corpus folder."""
    return f"audio/{plan.split}/{plan.id}.wav"


def write_clip(plan: ClipPlan, corpus_dir: Path) -> None:
    """Write the clip as 16-bit wav under `corpus_dir`, whole or not at all; one that is already there is kept."""
    path = corpus_dir / audio_path(plan)
    if path.exists():
        return
    clip = render_clip(plan)
    part = path.with_suffix(f".{os.getpid()}.part")
    samples = np.round((clip.signal + clip.noise) * 32767).astype(np.int16)
    soundfile.write(part, samples, SAMPLING_RATE, subtype="PCM_16", format="WAV")
    os.replace(part, path)


def _speech(draw: Draw, plan: ClipPlan) -> np.ndarray:
    voice = next(voice for voice in load_voices() if voice.name == plan.speaker)
    definition = voice.definition(plan.recipe["f0"], draw.uniform(1.25, 1.5))
    spoken = speak(plan.text, definition, plan.recipe["espeak_language"], plan.recipe["rate"])
    wave = resample_poly(np.trim_zeros(spoken / 32768.0), SAMPLING_RATE, ESPEAK_RATE)
    lead, tail = (int(draw.uniform(0.1, 0.35) * SAMPLING_RATE) for _ in range(2))
    return np.pad(wave, (lead, tail))


def _sound(draw: Draw, plan: ClipPlan) -> np.ndarray:
    return _faded(SOUNDS[plan.custom["audio_category"]](draw))


def _music(draw: Draw, plan: ClipPlan) -> np.ndarray:
    instrument, bpm = plan.custom["instrument"], plan.custom["tempo_bpm"]
    return _faded(play(draw, instrument, bpm, compose(draw, instrument, bpm, plan.custom.get("mode"))))


def _faded(wave: np.ndarray) -> np.ndarray:
    ramp = np.minimum(np.arange(len(wave)) / (_FADE * SAMPLING_RATE), 1.0)
    return wave * ramp * ramp[::-1]
