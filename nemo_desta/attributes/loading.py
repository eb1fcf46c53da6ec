"""The samples of a cut, a whole file or a part of one, from a place below the audio root."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from lhotse.utils import fastcopy

from nemo_desta.audio import SAMPLING_RATE
from nemo_desta.errors import AudioError, SelfGenError
from nemo_desta.selfgen.plan import find_audio

__all__ = ["load_cut"]


def load_cut(cut: Any, root: Path) -> np.ndarray:
    """Audio of a Lhotse cut at 16 kHz, float32 (channels, N), without limit of length: 230 MB an hour and channel.

    Args:
        cut: of one recording that lies in files, whole or a part of it.
        root: paths in the manifest are relative to it and cannot leave it.

    Raises:
        AudioError: a mixed cut, audio that is no file (commands and links are never followed), a path outside the root, a
            missing, damaged, empty or non-finite file, one shorter than the manifest says.
    """
    recording = getattr(cut, "recording", None)
    if recording is None or not recording.sources:
        raise AudioError("it is no plain cut of one recording; write the audio first (CutSet.save_audios)")
    if any(source.type != "file" for source in recording.sources):
        raise AudioError("its audio is not a file; write the audio first (CutSet.save_audios)")
    top = os.path.abspath(root)
    try:
        sources = [fastcopy(source, source=find_audio(source.source, top)) for source in recording.sources]
    except SelfGenError as err:
        raise AudioError(str(err)) from err
    rooted = fastcopy(cut, recording=fastcopy(recording, sources=sources))
    try:
        audio = rooted.load_audio()
    except Exception as err:  # whatever a decoder makes of a damaged file
        raise AudioError(
            f"{sources[0].source}: cannot be read ({type(err).__name__}: {' '.join(str(err).split())[:300]})"
        ) from err
    if audio is None or audio.size == 0:
        raise AudioError(f"{sources[0].source}: no samples in the cut's span")
    if not np.isfinite(audio).all():
        raise AudioError(f"{sources[0].source}: samples are NaN or infinite; the file is damaged")
    if rooted.sampling_rate != SAMPLING_RATE:
        audio = soxr.resample(audio.T, rooted.sampling_rate, SAMPLING_RATE).T
    return np.ascontiguousarray(audio, dtype=np.float32)
