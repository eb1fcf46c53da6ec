"""One clip on its way into a package: its bytes, checked, and re-encoded where that is asked for."""

import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from nemo_desta.audio import MAX_DURATION, SAMPLING_RATE, load_audio
from nemo_desta.data.clip import Clip
from nemo_desta.errors import AudioError

__all__ = ["Packed", "check_packed", "prepare"]


@dataclass(frozen=True)
class Packed:
    """What a clip must be when it is read back.

    Attributes:
        num_samples: at 16 kHz mono.
        crc: CRC-32 of the bytes.
        data: the bytes; None once they are written.
    """

    num_samples: int
    crc: int
    data: bytes | None


def prepare(path: Path, encode: bool, max_duration: float = MAX_DURATION) -> Packed:
    """Read and check a clip as training would.

    Args:
        path: the file.
        encode: 16 kHz mono FLAC of 16 bits in place of the file's own bytes; samples beyond full scale are clipped.
        max_duration: seconds.

    Raises:
        AudioError: missing, empty, undecodable, not finite, or too long.
    """
    samples = load_audio(path, max_duration)
    data = _flac(samples) if encode else path.read_bytes()
    return Packed(len(samples), zlib.crc32(data), data)


def _flac(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def check_packed(clip: Clip, expected: Packed) -> None:
    """Read a packed clip back.

    Raises:
        AudioError: it cannot be decoded, or is not what was written.
    """
    num_samples, data = len(clip.load()), clip.read_bytes()
    if zlib.crc32(data) != expected.crc or num_samples != expected.num_samples:
        raise AudioError(
            f"{clip}: reads back as {num_samples} samples, {expected.num_samples} were written, or its bytes differ; "
            "the disk or its file system is not to be trusted."
        )
