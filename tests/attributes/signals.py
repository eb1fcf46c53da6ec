"""Signals whose pitch, level, pauses and noise are known, and small corpora of them."""

from pathlib import Path

import numpy as np
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

RATE = 16000


def voice(f0: float, seconds: float, level: float = 0.1) -> np.ndarray:
    """A pulse train, band-limited (its harmonics up to 4 kHz, falling), float32 (N,): `f0` Hz, `level` its rms."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.cos(2 * np.pi * f0 * k * time) / k for k in range(1, int(4000 / f0) + 1))
    return (wave * level / np.sqrt(np.mean(wave**2))).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def hiss(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def phrases(f0: float, level: float = 0.1) -> np.ndarray:
    """2.4 s of voice in three parts, with 1.2 s of pauses between and around them."""
    part = voice(f0, 0.8, level)
    return np.concatenate([silence(0.3), part, silence(0.3), part, silence(0.3), part, silence(0.3)])


def write_cut(folder: Path, name: str, audio: np.ndarray, rate: int = RATE, **fields) -> MonoCut:
    """A wav of (N,) or (N, channels), and a cut of the whole with one supervision; a path relative to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / f"{name}.wav", audio, rate, subtype="FLOAT")
    recording = Recording.from_file(folder / f"{name}.wav", recording_id=name)
    recording.sources[0].source = f"{name}.wav"
    standard = {k: fields.pop(k) for k in ("text", "gender", "language", "speaker") if k in fields}
    cut = recording.to_cut()
    cut.supervisions = [SupervisionSegment(name, name, 0.0, cut.duration, 0, custom=fields or None, **standard)]
    return cut


def write_corpus(folder: Path) -> Path:
    """12 male voices (90 to 145 Hz), 12 female ones (180 to 290 Hz) and 2 sounds; the path of the manifest."""
    cuts = []
    for i in range(12):
        for gender, f0 in (("male", 90 + 5 * i), ("F", 180 + 10 * i)):
            audio = np.concatenate([hiss(0.2 + 0.02 * i, 1e-4), voice(f0, 0.5, 0.02 + 0.005 * i), hiss(0.2, 1e-4, i)])
            cuts.append(write_cut(folder, f"{gender}{i:02d}", audio, text="Hi there." + " Hi." * i, gender=gender))
    cuts += [write_cut(folder, f"rain{i}", hiss(1.0, 0.05, i), domain="sound", audio_category="rain") for i in (0, 1)]
    CutSet.from_cuts(cuts).to_file(folder / "cuts.jsonl.gz")
    return folder / "cuts.jsonl.gz"
