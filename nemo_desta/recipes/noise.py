"""Noise to hide speech in, and the mixing of it at a signal-to-noise ratio. All waves are (N,) float64 at 16 kHz."""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, sosfilt

__all__ = ["NOISES", "SAMPLING_RATE", "at_snr", "band", "coloured", "power", "snr_db"]

SAMPLING_RATE = 16000


def power(wave: np.ndarray) -> float:
    """Mean square of a wave."""
    return float(np.mean(np.square(wave)))


def snr_db(signal: np.ndarray, noise: np.ndarray) -> float:
    """Signal-to-noise ratio in dB: mean power of the whole signal over mean power of the whole noise."""
    return 10 * np.log10(power(signal) / power(noise))


def at_snr(signal: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """`noise` scaled so that `snr_db(signal, scaled)` equals `snr`."""
    return noise * np.sqrt(power(signal) / power(noise) / 10 ** (snr / 10))


def band(wave: np.ndarray, low: float, high: float, order: int = 2) -> np.ndarray:
    """Butterworth band-pass between `low` and `high` Hz."""
    sos = butter(order, [low, min(high, 0.49 * SAMPLING_RATE)], btype="band", fs=SAMPLING_RATE, output="sos")
    return sosfilt(sos, wave)


def coloured(rng: np.random.Generator, num_samples: int, exponent: float) -> np.ndarray:
    """Noise whose power falls with frequency to the `exponent`: 0 white, 1 pink, 2 brown; unit variance."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    frequency = np.maximum(np.fft.rfftfreq(num_samples, 1 / SAMPLING_RATE), 20.0)
    wave = np.fft.irfft(spectrum * frequency ** (-exponent / 2), num_samples)
    return wave / np.std(wave)


def white(rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """Hiss."""
    return coloured(rng, num_samples, 0.0)


def pink(rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """Noise with equal power in every octave, like a fan."""
    return coloured(rng, num_samples, 1.0)


def babble(rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """A murmuring crowd: noise in speech's formant bands, each band rising and falling at the rate of syllables."""
    total = 0.15 * coloured(rng, num_samples, 1.0)
    for low, high, gain in ((150, 500, 1.0), (500, 1100, 0.8), (1100, 2300, 0.5), (2300, 3800, 0.25)):
        for _ in range(3):
            carrier = band(rng.standard_normal(num_samples), low, high)
            envelope = np.abs(band(rng.standard_normal(num_samples), 2.0, 7.0))
            total += gain * carrier / np.std(carrier) * envelope / np.mean(envelope)
    return total


def hum(rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """Mains hum: 50 or 60 Hz with its harmonics, and a little hiss."""
    time = np.arange(num_samples) / SAMPLING_RATE
    mains = float(rng.choice([50.0, 60.0]))
    wave = sum(
        rng.uniform(0.4, 1.0) * k**-0.7 * np.sin(2 * np.pi * (k * mains * time + rng.uniform())) for k in range(1, 15)
    )
    return wave + 0.08 * coloured(rng, num_samples, 0.5)


NOISES = {"white": white, "pink": pink, "babble": babble, "hum": hum}
"""Noise type -> maker(rng, num_samples) of a (num_samples,) float64 wave of any level."""
