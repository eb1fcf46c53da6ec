"""Short melodies on synthesised instruments: additive, FM and Karplus-Strong synthesis, (N,) float64 at 16 kHz."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from nemo_desta.recipes.draw import Draw
from nemo_desta.recipes.noise import SAMPLING_RATE, band

__all__ = ["DRUMS", "INSTRUMENTS", "MODES", "Note", "compose", "play"]

DRUMS = "drums"
MODES = {"major": (0, 2, 4, 5, 7, 9, 11, 12), "minor": (0, 2, 3, 5, 7, 8, 10, 12)}
"""Scale steps in semitones above the tonic."""


@dataclass(frozen=True)
class Note:
    """One note of a melody or stroke of a drum."""

    beat: float
    """Onset, in beats from the start."""
    pitch: int
    """MIDI number; for drums 0 kick, 1 snare, 2 cymbal."""
    beats: float
    """Length in beats."""
    gain: float = 1.0


def compose(draw: Draw, instrument: str, tempo_bpm: int, mode: str | None) -> list[Note]:
    """A phrase of 3 to 5 seconds at `tempo_bpm`, one note a beat, in `mode` (None for drums), from and to its tonic."""
    seconds = draw.uniform(3.4, 4.8)
    num_beats = max(4, int(seconds * tempo_bpm / 60))
    if instrument == DRUMS:
        return _rhythm(num_beats)
    scale = MODES[mode]
    tonic = draw.integer(*_TONICS[instrument])
    degree, notes = 0, []
    for beat in range(num_beats - 1):
        notes.append(Note(beat, tonic + scale[degree], 1.0))
        degree = 2 if beat == 0 else int(np.clip(degree + draw.choice((-2, -1, -1, 1, 1, 2)), 0, 7))
    notes.append(Note(num_beats - 1, tonic, 1.5))
    if instrument in _CHORDAL:
        for beat in range(0, num_beats, 4):
            notes += [Note(beat, tonic - 12 + scale[step], 3.0, 0.45) for step in (0, 2, 4)]
    return notes


def play(draw: Draw, instrument: str, tempo_bpm: int, notes: list[Note]) -> np.ndarray:
    """The sound of `notes` on `instrument` at `tempo_bpm` beats a minute."""
    beat = 60 / tempo_bpm
    voice = INSTRUMENTS[instrument]
    colour = draw.uniform(0.0, 1.0)
    wave = np.zeros(int((max(note.beat + note.beats for note in notes) * beat + 0.3) * SAMPLING_RATE))
    for note in notes:
        tone = note.gain * voice(draw, note.pitch, note.beats * beat, colour)
        first = int(note.beat * beat * SAMPLING_RATE)
        part = tone[: len(wave) - first]
        wave[first : first + len(part)] += part
    return wave


def _rhythm(num_beats: int) -> list[Note]:
    """Kick on odd beats, snare on even ones, cymbal on each."""
    notes = [Note(beat, beat % 2, 1.0) for beat in range(num_beats)]
    return notes + [Note(beat, 2, 0.5, 0.4) for beat in range(num_beats)]


def _time(duration: float) -> np.ndarray:
    return np.arange(int(duration * SAMPLING_RATE)) / SAMPLING_RATE


def _hertz(pitch: int) -> float:
    return 440.0 * 2 ** ((pitch - 69) / 12)


def _held(time: np.ndarray, attack: float, release: float) -> np.ndarray:
    """Envelope of a blown or bowed note."""
    return np.minimum(np.minimum(time / attack, 1.0), np.maximum((time[-1] - time) / release, 0.0))


def _harmonics(frequency: float, time: np.ndarray, gains: list[float], phase: np.ndarray | float = 0.0) -> np.ndarray:
    """Sum of harmonics below the Nyquist frequency."""
    pairs = enumerate(gains, start=1)
    kept = [(k, gain) for k, gain in pairs if k * frequency < 0.47 * SAMPLING_RATE]
    return sum(gain * np.sin(k * (2 * np.pi * frequency * time + phase)) for k, gain in kept)


def piano(draw: Draw, pitch: int, duration: float, colour: float) -> np.ndarray:
    """Struck strings: slightly stretched partials, the high ones dying first."""
    time, base = _time(duration + 0.25), _hertz(pitch)
    wave = np.zeros(len(time))
    for k in range(1, 13):
        frequency = base * k * np.sqrt(1 + 0.0006 * k * k)
        if frequency < 7500:
            wave += k ** -(1.1 + 0.5 * colour) * np.sin(2 * np.pi * frequency * time) * np.exp(-time * (1.2 + 0.9 * k))
    return wave * np.minimum(time / 0.004, 1.0)


def guitar(draw: Draw, pitch: int, duration: float, colour: float) -> np.ndarray:
    """A plucked string, after Karplus and Strong (1983): noise round a delay line that averages its neighbours."""
    num_samples = int((duration + 0.25) * SAMPLING_RATE)
    period = SAMPLING_RATE / _hertz(pitch) - 0.5
    delay = int(period)
    fraction = period - delay
    pluck = np.zeros(num_samples)
    pluck[:delay] = lfilter([1 - 0.6 * colour], [1, -0.6 * colour], draw.rng.uniform(-1, 1, delay))
    loss = 0.996 - 0.004 * colour
    feedback = np.zeros(delay + 3)
    feedback[0] = 1.0
    averaging = np.convolve([0.5, 0.5], [1 - fraction, fraction])
    feedback[delay : delay + 3] = -loss * averaging
    return lfilter([1.0], feedback, pluck)


def flute(draw: Draw, pitch: int, duration: float, colour: float) -> np.ndarray:
    """Few harmonics, vibrato, and breath."""
    time, base = _time(duration), _hertz(pitch)
    vibrato = 0.25 * np.sin(2 * np.pi * 5.2 * time) * np.minimum(time / 0.3, 1.0)
    tone = _harmonics(base, time, [1.0, 0.35 - 0.2 * colour, 0.12, 0.04], vibrato)
    breath = band(draw.rng.standard_normal(len(time)), 0.8 * base, 3.5 * base, 1)
    return (tone + 0.08 * breath) * _held(time, 0.07, 0.06)


def organ(draw: Draw, pitch: int, duration: float, colour: float) -> np.ndarray:
    """Drawbars: octaves and fifths at a constant level."""
    time = _time(duration)
    gains = [1.0, 0.8, 0.5 * colour + 0.2, 0.6, 0.0, 0.35, 0.0, 0.4]
    return _harmonics(_hertz(pitch), time, gains) * _held(time, 0.015, 0.03)


def violin(draw: Draw, pitch: int, duration: float, colour: float) -> np.ndarray:
    """A bowed string: many harmonics shaped by the body, with vibrato."""
    time, base = _time(duration), _hertz(pitch)
    vibrato = 0.9 * np.sin(2 * np.pi * 6.0 * time) * np.minimum(time / 0.25, 1.0)
    body = [(1 + 1.5 * np.exp(-(((k * base - 2800) / 900) ** 2))) / k ** (0.8 + 0.3 * colour) for k in range(1, 22)]
    return _harmonics(base, time, body, vibrato) * _held(time, 0.09, 0.07)


def trumpet(draw: Draw, pitch: int, duration: float, colour: float) -> np.ndarray:
    """Brass by frequency modulation, after Chowning (1973): the brightness follows the loudness."""
    time, base = _time(duration), _hertz(pitch)
    envelope = _held(time, 0.05, 0.07)
    carrier = 2 * np.pi * base * time
    return np.sin(carrier + (2.2 + 2.5 * colour) * envelope * np.sin(carrier)) * envelope


def xylophone(draw: Draw, pitch: int, duration: float, colour: float) -> np.ndarray:
    """A struck wooden bar: tuned to 1 : 3 : 6 and damped at once."""
    time, base = _time(duration + 0.1), _hertz(pitch)
    partials = ((1.0, 1.0, 0.12 + 0.1 * colour), (3.0, 0.5, 0.05), (6.0, 0.25, 0.02))
    tones = [g * np.sin(2 * np.pi * base * r * time) * np.exp(-time / d) for r, g, d in partials if base * r < 7500]
    return sum(tones)


def drums(draw: Draw, pitch: int, duration: float, colour: float) -> np.ndarray:
    """Kick (0), snare (1) or cymbal (2)."""
    time = _time(0.4)
    noise = draw.rng.standard_normal(len(time)) * (1 - time / time[-1])
    if pitch == 0:
        glide = (50 + 20 * colour) * (1 + 2.5 * np.exp(-time / 0.025))
        return 1.5 * np.sin(2 * np.pi * np.cumsum(glide) / SAMPLING_RATE) * np.exp(-time / 0.09)
    if pitch == 1:
        skin = np.sin(2 * np.pi * (170 + 50 * colour) * time) * np.exp(-time / 0.05)
        return 0.6 * skin + 0.8 * band(noise, 900, 6500, 1) * np.exp(-time / 0.07)
    return 0.5 * band(noise, 5000, 7700) * np.exp(-time / 0.03)


INSTRUMENTS: dict[str, Callable[[Draw, int, float, float], np.ndarray]] = {
    "piano": piano,
    "guitar": guitar,
    "flute": flute,
    "organ": organ,
    "violin": violin,
    "trumpet": trumpet,
    "xylophone": xylophone,
    DRUMS: drums,
}
"""Instrument -> maker(draw, MIDI pitch, seconds, colour 0-1) of one note."""

_TONICS = {
    "piano": (55, 67),
    "guitar": (48, 60),
    "flute": (67, 77),
    "organ": (53, 65),
    "violin": (60, 72),
    "trumpet": (58, 67),
    "xylophone": (67, 77),
}
"""Lowest and highest MIDI tonic of each instrument."""

_CHORDAL = ("piano", "guitar", "organ")
