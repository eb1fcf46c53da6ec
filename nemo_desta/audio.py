"""Reading audio files: any rate, channel count and common format to 16 kHz mono float32."""

import logging
import os
import re
from pathlib import Path

import numpy as np
import soundfile
import soxr

from nemo_desta.errors import AudioError

__all__ = ["MAX_DURATION", "SAMPLING_RATE", "check_waveform", "load_audio"]

SAMPLING_RATE = 16_000
"""Hz, what Whisper hears."""

_STREAMED_WAV = 0x7FFFF000
"""Sizes from here on stand in headers of wav files written to a pipe, whose writers did not know the length."""

MAX_DURATION = 30.0
"""Seconds, one Whisper window. A longer clip is refused, not cut."""

OVERHANG = 1.0
"""Seconds. A file that is too long by less ends at the limit, and the log says so: the clips of "30 s" corpora last a little
more (GTZAN's 30.0 to 30.7 s)."""

_log = logging.getLogger(__name__)
_told: set[str] = set()


def load_audio(path: str | os.PathLike[str], max_duration: float = MAX_DURATION) -> np.ndarray:
    """Read a clip (wav, flac, ogg, mp3, ... all that libsndfile knows) as 16 kHz mono.

    Channels are averaged; other rates are resampled by soxr at its high quality.

    Returns:
        float32 array (num_samples,), nominally in [-1, 1].

    Raises:
        AudioError: missing, empty, undecodable, not finite, or longer than `max_duration` seconds by `OVERHANG` or more.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: no such audio file; check the path and the audio root.")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: the audio file is empty (0 bytes); fetch it again or remove its record.")
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            if file.frames >= (max_duration + OVERHANG) * rate:
                raise _too_long(path, file.frames / rate, max_duration)
            samples = file.read(dtype="float32", always_2d=True)
            _refuse_truncated(path, file, len(samples))
    except soundfile.SoundFileError as err:
        raise AudioError(f"{path}: cannot be decoded ({err}); convert it to wav, flac, ogg or mp3.") from err
    mono = samples.mean(axis=1) if len(samples) else np.zeros(0, np.float32)
    if len(mono) > round(max_duration * rate):
        _tell_overhang(path, len(mono) / rate, max_duration)
        mono = mono[: round(max_duration * rate)]
    check_waveform(mono, rate, str(path), max_duration)
    if rate != SAMPLING_RATE:
        mono = soxr.resample(mono, rate, SAMPLING_RATE)
    return np.ascontiguousarray(mono, dtype=np.float32)


def _tell_overhang(path: Path, duration: float, max_duration: float) -> None:
    folder = str(path.parent)
    if folder not in _told and len(_told) < 100:
        _told.add(folder)
        _log.warning(
            "%s: lasts %.2f s; what is beyond %g s is left out, as of other clips in %s that are longer by less than %g s",
            path, duration, max_duration, folder, OVERHANG,
        )  # fmt: skip


def _refuse_truncated(path: Path, file: soundfile.SoundFile, num_samples: int) -> None:
    """A file that ends before its header says is a broken download; libsndfile reads it without a word."""
    log = re.search(r"^ *data *: (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    promised, found = map(int, log.groups()) if log else (0, 0)
    cut = found < promised < _STREAMED_WAV
    if cut or num_samples < file.frames:
        share = found / promised if cut else num_samples / file.frames
        raise AudioError(f"{path}: the file is truncated ({share:.0%} of its samples are there); fetch it again.")


def check_waveform(samples: np.ndarray, rate: int, where: str, max_duration: float = MAX_DURATION) -> None:
    """Refuse samples (num_samples,) that no model should see.

    Raises:
        AudioError: zero length, NaN or infinity, or longer than `max_duration` seconds.
    """
    if len(samples) == 0:
        raise AudioError(f"{where}: the clip has no samples; remove its record.")
    if not np.isfinite(samples).all():
        bad = int(np.count_nonzero(~np.isfinite(samples)))
        raise AudioError(f"{where}: {bad} of {len(samples)} samples are NaN or infinite; the file is damaged.")
    if len(samples) > round(max_duration * rate):
        raise _too_long(where, len(samples) / rate, max_duration)


def _too_long(where: object, duration: float, max_duration: float) -> AudioError:
    return AudioError(
        f"{where}: lasts {duration:.2f} s, the limit is {max_duration:g} s; split it into shorter clips (it is never cut silently)."
    )
