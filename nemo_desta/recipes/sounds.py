"""Everyday sound events, synthesised: each maker turns random parameters into a (N,) float64 wave at 16 kHz, 2 to 5 s."""

from __future__ import annotations

import numpy as np

from nemo_desta.recipes.draw import Draw
from nemo_desta.recipes.noise import SAMPLING_RATE, band, coloured

__all__ = ["SOUNDS"]


def _seconds(duration: float) -> np.ndarray:
    return np.arange(int(duration * SAMPLING_RATE)) / SAMPLING_RATE


def _noise(draw: Draw, num_samples: int) -> np.ndarray:
    return draw.rng.standard_normal(num_samples)


def _chirp(frequency: np.ndarray) -> np.ndarray:
    """A sine whose frequency in Hz follows the given curve."""
    return np.sin(2 * np.pi * np.cumsum(frequency) / SAMPLING_RATE)


def _sprinkle(num_samples: int, starts: list[float], grains: list[np.ndarray]) -> np.ndarray:
    """Lay grains over silence at the given times in seconds; what would stand over the end is left out."""
    wave = np.zeros(num_samples)
    for start, grain in zip(starts, grains, strict=True):
        first = int(start * SAMPLING_RATE)
        part = grain[: max(0, num_samples - first)]
        wave[first : first + len(part)] += part
    return wave


def _regular(draw: Draw, duration: float, period: float, jitter: float, offset: float = 0.15) -> list[float]:
    """Times in seconds, `period` apart but for a relative `jitter`."""
    times = np.arange(offset, duration - 0.1, period)
    return list(times + draw.rng.uniform(-jitter, jitter, len(times)) * period)


def _thump(draw: Draw, frequency: float, decay: float, click: float) -> np.ndarray:
    """A short low knock with some noise at its start."""
    time = _seconds(6 * decay)
    body = np.sin(2 * np.pi * frequency * time * (1 + 0.3 * np.exp(-time / 0.01))) * np.exp(-time / decay)
    return body + click * band(_noise(draw, len(time)), 300, 4000) * np.exp(-time / (decay / 3))


def church_bell(draw: Draw) -> np.ndarray:
    """Strokes of inharmonic, slowly dying partials."""
    base, duration = draw.uniform(180, 480), draw.uniform(3.5, 5.0)
    partials = ((0.5, 1.0), (1.0, 0.8), (1.2, 0.6), (1.5, 0.4), (2.0, 0.6), (2.66, 0.3), (3.01, 0.25), (4.2, 0.15))
    time = _seconds(duration)
    decay = draw.uniform(0.9, 1.8)
    stroke = sum(a * np.sin(2 * np.pi * base * r * time) * np.exp(-time * r**0.7 / decay) for r, a in partials)
    starts = _regular(draw, duration, draw.uniform(1.2, 2.0), 0.02, 0.05)
    return _sprinkle(len(time), starts, [stroke] * len(starts))


def rain(draw: Draw) -> np.ndarray:
    """Hiss of many drops, some of them near."""
    duration = draw.uniform(3.0, 5.0)
    num_samples = len(_seconds(duration))
    wave = band(_noise(draw, num_samples), 500, draw.uniform(4500, 7500), 1)
    count = int(duration * draw.uniform(15, 60))
    drops = []
    for _ in range(count):
        time = _seconds(0.03)
        tone = np.sin(2 * np.pi * draw.uniform(900, 4500) * time) + 0.8 * _noise(draw, len(time))
        drops.append(draw.uniform(0.5, 2.5) * tone * np.exp(-time / 0.004))
    return wave + _sprinkle(num_samples, list(draw.rng.uniform(0, duration, count)), drops)


def car_engine(draw: Draw) -> np.ndarray:
    """A train of explosions whose rate rises and falls a little, through a muffler."""
    duration = draw.uniform(3.0, 5.0)
    time = _seconds(duration)
    rate = draw.uniform(22, 60) * (1 + 0.25 * np.sin(2 * np.pi * time / draw.uniform(2.5, 6.0) + draw.uniform(0, 6)))
    phase = 2 * np.pi * np.cumsum(rate) / SAMPLING_RATE
    wave = sum(np.sin(k * phase + draw.uniform(0, 6)) * k**-0.8 * draw.uniform(0.5, 1.0) for k in range(1, 20))
    rumble = band(_noise(draw, len(time)), 60, 700) * (1 + 0.7 * np.sin(phase))
    return wave + draw.uniform(0.8, 1.6) * rumble


def footsteps(draw: Draw) -> np.ndarray:
    """Heel and sole, left and right, at a walking pace."""
    duration = draw.uniform(3.0, 5.0)
    starts = _regular(draw, duration, draw.uniform(0.42, 0.75), 0.04)
    frequency, click = draw.uniform(80, 170), draw.uniform(0.5, 1.5)
    heels = [draw.uniform(0.7, 1.0) * _thump(draw, frequency * draw.uniform(0.9, 1.1), 0.025, click) for _ in starts]
    soles = [0.35 * _thump(draw, 1.5 * frequency, 0.015, 2 * click) for _ in starts]
    return _sprinkle(len(_seconds(duration)), starts + [s + 0.09 for s in starts], heels + soles)


def door_knock(draw: Draw) -> np.ndarray:
    """Two groups of knocks on wood."""
    period, frequency, count = draw.uniform(0.16, 0.3), draw.uniform(180, 360), draw.integer(2, 4)
    group = [0.2 + i * period for i in range(count)]
    starts = group + [s + count * period + draw.uniform(0.5, 0.8) for s in group]
    knocks = [draw.uniform(0.8, 1.0) * _thump(draw, frequency, 0.03, 0.6) for _ in starts]
    return _sprinkle(len(_seconds(max(2.0, starts[-1] + 0.4))), starts, knocks)


def alarm_clock(draw: Draw) -> np.ndarray:
    """Groups of four electronic beeps."""
    duration, pitch, beep = draw.uniform(2.5, 4.5), draw.uniform(1600, 2800), draw.uniform(0.05, 0.09)
    time = _seconds(duration)
    place = time % draw.uniform(0.9, 1.1)
    on = (place < 8 * beep) & (place % (2 * beep) < beep)
    gate = np.convolve(on, np.hanning(64) / np.hanning(64).sum(), mode="same")
    return gate * (np.sin(2 * np.pi * pitch * time) + 0.3 * np.sin(2 * np.pi * 3 * pitch * time))


def ticking_clock(draw: Draw) -> np.ndarray:
    """Tick and tock, twice or more a second."""
    duration, resonance = draw.uniform(3.0, 5.0), draw.uniform(1800, 3800)
    starts = _regular(draw, duration, draw.choice((0.2, 0.25, 0.5)), 0.0)
    time = _seconds(0.05)
    ticks = []
    for i in range(len(starts)):
        frequency = resonance * (1.0 if i % 2 else 0.82)
        ticks.append((np.sin(2 * np.pi * frequency * time) + 0.5 * _noise(draw, len(time))) * np.exp(-time / 0.006))
    return _sprinkle(len(_seconds(duration)), starts, ticks)


def wind(draw: Draw) -> np.ndarray:
    """Pink noise through a resonance that wanders with the gusts."""
    num_samples = len(_seconds(draw.uniform(3.5, 5.0)))
    gust = np.cumsum(coloured(draw.rng, num_samples, 1.5))
    gust = (gust - gust.min()) / (gust.max() - gust.min())
    source = coloured(draw.rng, num_samples, 1.0)
    low = band(source, 80, draw.uniform(250, 400))
    high = band(source, draw.uniform(350, 500), draw.uniform(700, 1000), 3)
    return low * (0.3 + 0.7 * gust) + 2.5 * high * gust**2


def dog_barking(draw: Draw) -> np.ndarray:
    """Short, falling, rough voiced bursts through two formants."""
    duration, pitch = draw.uniform(2.5, 4.5), draw.uniform(220, 480)
    starts, barks, at = [], [], 0.15
    while at < duration - 0.35:
        time = _seconds(draw.uniform(0.14, 0.24))
        glide = pitch * (0.75 + 0.6 * np.sin(np.pi * np.minimum(time / time[-1] + 0.15, 1)))
        phase = 2 * np.pi * np.cumsum(glide * (1 + 0.03 * _noise(draw, len(time)))) / SAMPLING_RATE
        source = sum(np.sin(k * phase) / k**0.5 for k in range(1, 12)) + 1.2 * _noise(draw, len(time))
        voiced = band(source, 500, 1100) + 0.7 * band(source, 1400, 2400)
        barks.append(voiced * np.sqrt(np.hanning(len(time))))
        starts.append(at)
        at += draw.uniform(0.32, 0.75)
    return _sprinkle(len(_seconds(duration)), starts, barks)


def dripping_water(draw: Draw) -> np.ndarray:
    """Single drops: a bubble's tone that rises as it closes."""
    duration = draw.uniform(3.0, 5.0)
    starts = _regular(draw, duration, draw.uniform(0.35, 0.9), 0.1)
    drops = []
    for _ in starts:
        time, base = _seconds(0.15), draw.uniform(700, 1600)
        drops.append(draw.uniform(0.6, 1.0) * _chirp(base * (1 + 6 * time)) * np.exp(-time / draw.uniform(0.015, 0.04)))
    return _sprinkle(len(_seconds(duration)), starts, drops)


def siren(draw: Draw) -> np.ndarray:
    """An emergency vehicle: a tone that wails up and down, or jumps between two pitches."""
    time = _seconds(draw.uniform(3.5, 5.0))
    low, period = draw.uniform(420, 700), draw.uniform(0.8, 2.4)
    cycle = np.sin(2 * np.pi * time / period)
    shape = np.sign(cycle) if draw.choice((False, True)) else cycle
    phase = 2 * np.pi * np.cumsum(low * 2 ** (0.35 * (1 + shape))) / SAMPLING_RATE
    return sum(np.sin(k * phase) / k**1.5 for k in range(1, 6))


def breaking_glass(draw: Draw) -> np.ndarray:
    """A crash, then splinters ringing high and falling one after another."""
    duration = draw.uniform(2.0, 3.0)
    time = _seconds(0.25)
    crash = 3.0 * band(_noise(draw, len(time)), 1500, 7500) * np.exp(-time / 0.04)
    at = draw.uniform(0.15, 0.4)
    starts, grains = [at], [crash]
    for _ in range(draw.integer(35, 70)):
        time = _seconds(0.3)
        tone = np.sin(2 * np.pi * draw.uniform(2200, 7400) * time) * np.exp(-time / draw.uniform(0.01, 0.07))
        starts.append(at + draw.rng.exponential(0.25))
        grains.append(draw.uniform(0.15, 0.8) * tone)
    return _sprinkle(len(_seconds(duration)), starts, grains)


def telephone(draw: Draw) -> np.ndarray:
    """The bell of an old telephone: two gongs struck twenty times a second, with pauses."""
    time = _seconds(draw.uniform(3.0, 5.0))
    first, strokes = draw.uniform(1100, 1700), draw.uniform(18, 24)
    partials = (1.0, 1.25, 2.1, 2.6, 3.4)
    since = time % (1 / strokes)
    tone = sum(np.sin(2 * np.pi * first * r * time) / r for r in partials) * np.exp(-since / 0.03)
    on = (time % draw.uniform(1.4, 2.2)) < draw.uniform(0.8, 1.1)
    return tone * np.convolve(on, np.hanning(400) / np.hanning(400).sum(), mode="same")


def thunder(draw: Draw) -> np.ndarray:
    """A crack, then rolling low noise."""
    time = _seconds(draw.uniform(4.0, 5.0))
    num_samples = len(time)
    roll = np.abs(band(_noise(draw, num_samples), 0.8, 4.0))
    low = band(coloured(draw.rng, num_samples, 1.6), 30, draw.uniform(180, 400))
    crack = band(_noise(draw, num_samples), 200, 3000) * np.exp(-time / draw.uniform(0.08, 0.25))
    start = np.minimum(time / 0.02, 1.0)
    return start * (low / np.std(low) * (0.3 + roll / np.max(roll)) * np.exp(-time / draw.uniform(1.2, 2.2)) + crack)


def bird_song(draw: Draw) -> np.ndarray:
    """Phrases of high, quickly gliding whistles."""
    duration, base = draw.uniform(3.0, 5.0), draw.uniform(2400, 4800)
    starts, notes, at = [], [], 0.1
    while at < duration - 0.4:
        length, bend, trill = draw.uniform(0.05, 0.13), draw.uniform(-0.4, 0.4), draw.uniform(0.0, 0.15)
        for _ in range(draw.integer(2, 6)):
            time = _seconds(length)
            curve = base * (1 + bend * (time / length - 0.5) + trill * np.sin(2 * np.pi * 40 * time))
            notes.append(_chirp(curve) * np.hanning(len(time)))
            starts.append(at)
            at += length + 0.03
        at += draw.uniform(0.15, 0.5)
    return _sprinkle(len(_seconds(duration)), starts, notes)


def typing(draw: Draw) -> np.ndarray:
    """Irregular clicks of keys, each with its release."""
    duration, tone = draw.uniform(3.0, 5.0), draw.uniform(1200, 2600)
    starts, clicks, at = [], [], 0.1
    while at < duration - 0.15:
        for delay, gain in ((0.0, draw.uniform(0.6, 1.0)), (draw.uniform(0.05, 0.08), 0.35)):
            time = _seconds(0.03)
            body = 0.6 * np.sin(2 * np.pi * tone * draw.uniform(0.8, 1.2) * time) + 0.7 * _noise(draw, len(time))
            clicks.append(gain * body * np.exp(-time / 0.005))
            starts.append(at + delay)
        at += draw.uniform(0.08, 0.28)
    return _sprinkle(len(_seconds(duration)), starts, clicks)


SOUNDS = {
    "church bell": church_bell,
    "rain": rain,
    "car engine": car_engine,
    "footsteps": footsteps,
    "door knock": door_knock,
    "alarm clock": alarm_clock,
    "clock ticking": ticking_clock,
    "wind": wind,
    "dog barking": dog_barking,
    "dripping water": dripping_water,
    "siren": siren,
    "breaking glass": breaking_glass,
    "telephone ringing": telephone,
    "thunder": thunder,
    "bird song": bird_song,
    "keyboard typing": typing,
}
"""Audio category -> maker(draw) of a wave of any level."""
