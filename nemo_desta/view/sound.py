"""A clip for a page: a small mp3 and a mel spectrogram, both as data URIs."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from nemo_desta.audio import SAMPLING_RATE, load_audio
from nemo_desta.errors import AudioError, RecordError
from nemo_desta.record import resolve_audio

__all__ = ["Shown", "frequency_marks", "show_clip"]

_BINS, _WIDTH, _RANGE = 96, 720, 65.0  # mel bins, widest picture in frames, decibels shown
_FAINT = -35.0  # decibels; fainter clips are drawn dark, not stretched to full brightness
_COLOURS = [(12, 14, 28), (42, 30, 84), (106, 38, 108), (178, 52, 96), (230, 98, 70), (250, 170, 80), (252, 242, 190)]


@dataclass(frozen=True)
class Shown:
    """What a page shows of a clip.

    Attributes:
        path: as the record names it.
        transcript: as the record gives it.
        problem: why there is nothing to hear; the other fields are empty then.
        seconds: duration.
        sound, picture: data URIs.
    """

    path: str
    transcript: str | None
    problem: str = ""
    seconds: float = 0.0
    sound: str = ""
    picture: str = ""


def show_clip(root: Path, path: str, transcript: str | None) -> Shown:
    """Read a clip as training does and draw it; what is wrong with it is told in `problem`."""
    try:
        samples = load_audio(resolve_audio(root, path))
    except (AudioError, RecordError, OSError, ValueError) as err:
        return Shown(path, transcript, str(err))
    return Shown(path, transcript, "", len(samples) / SAMPLING_RATE, _mp3(samples), _spectrogram(samples))


def _mp3(samples: np.ndarray) -> str:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLING_RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.7)
    return _uri("audio/mpeg", buffer.getvalue())


def _spectrogram(samples: np.ndarray) -> str:
    """Log-mel picture of samples (num_samples,): PNG of `_BINS` rows, low frequencies below, and up to `_WIDTH` columns."""
    import librosa
    from PIL import Image

    hop = max(80, -(-len(samples) // _WIDTH))
    power = librosa.feature.melspectrogram(
        y=np.pad(samples, (0, max(0, 1024 - len(samples)))), sr=SAMPLING_RATE, n_fft=1024, hop_length=hop, n_mels=_BINS
    )
    level = 10 * np.log10(np.maximum(power, 1e-10))
    shade = np.clip((level - max(level.max(), _FAINT) + _RANGE) / _RANGE, 0, 1)
    picture = Image.fromarray(np.flipud(shade * 255).astype(np.uint8))
    picture.putpalette(_palette())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return _uri("image/png", buffer.getvalue())


def _palette() -> list[int]:
    places = np.linspace(0, 255, len(_COLOURS))
    channels = [np.interp(np.arange(256), places, [c[i] for c in _COLOURS]) for i in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8).ravel().tolist()


def frequency_marks() -> list[tuple[str, float]]:
    """(label, height in percent) of the frequency axis, which is in mel."""
    import librosa

    top = librosa.hz_to_mel(SAMPLING_RATE / 2)
    return [(f"{f // 1000} kHz", round(100 * float(librosa.hz_to_mel(f) / top), 1)) for f in (1000, 2000, 4000)]


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
