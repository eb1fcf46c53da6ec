"""Speech from libespeak-ng (the PyPI wheel `espeakng-loader`), through ctypes, bit-identical from call to call.

libespeak-ng keeps state between utterances (the phase of the flutter, the noise generator) that not even its own
`espeak_Terminate` resets, so the same sentence spoken twice gives two different waves. Here every utterance is spoken by
a freshly loaded private copy of the library (5 ms). Three more traps are avoided: the library truncates data paths of
over about 150 characters (the data folder is linked into a short temporary one), voices with a `breath` line read
uninitialised memory (they are refused), and loud voices are clipped inside the library (the volume is kept low).
"""

from __future__ import annotations

import _ctypes
import ctypes
import functools
import multiprocessing.util
import os
import re
import shutil
import tempfile
import threading
import zlib
from pathlib import Path

import numpy as np

from nemo_desta.errors import ConfigError

__all__ = ["ESPEAK_RATE", "speak", "variant_definition"]

ESPEAK_RATE = 22050
"""Sampling rate of libespeak-ng's voices in Hz."""

_SYNCHRONOUS = 2
_UTF8 = 1
_RATE, _VOLUME = 1, 2
_VOLUME_WITHOUT_CLIPPING = 55
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_VARIANTS = Path("voices", "!v")
_NOT_REPRODUCIBLE = re.compile(r"^breath", re.MULTILINE)
_lock = threading.Lock()


def speak(text: str, definition: str, language: str = "en-us", rate: int = 175) -> np.ndarray:
    """Speak `text`; returns (N,) int16 at `ESPEAK_RATE`. The same arguments give the same samples in every process.

    `definition` is the text of a voice variant in libespeak-ng's format (`variant_definition` gives a shipped one),
    `language` one of the library's languages ("en-us", "fr"), `rate` is in words per minute (80-450).
    Raises ConfigError when the wheel is missing, when the language is unknown, the variant is not reproducible,
    or nothing was spoken.
    """
    if _NOT_REPRODUCIBLE.search(definition):
        raise ConfigError("a voice with a breath line is not reproducible in libespeak-ng; remove that line")
    name = f"v{zlib.crc32(definition.encode()):08x}"
    with _lock:
        library_path, data_path = _installation(os.getpid())
        variant = data_path / _VARIANTS / name
        variant.write_text(definition, encoding="utf-8")
        library = ctypes.CDLL(str(library_path))
        try:
            return _speak_once(library, data_path, text, f"{language}+{name}", rate)
        finally:
            library.espeak_Terminate()
            _ctypes.dlclose(library._handle)
            variant.unlink()


def variant_definition(name: str) -> str:
    """The text of the variant `name` that libespeak-ng ships. Raises ConfigError when there is none."""
    path = _installation(os.getpid())[1] / _VARIANTS / name
    if not path.is_file():
        raise ConfigError(f"libespeak-ng has no voice variant {name!r}; see its espeak-ng-data/voices/!v folder")
    return path.read_text(encoding="utf-8")


def _speak_once(library: ctypes.CDLL, data_path: Path, text: str, voice: str, rate: int) -> np.ndarray:
    if library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data_path), 0) != ESPEAK_RATE:
        raise ConfigError(f"libespeak-ng did not open its data in {data_path}; reinstall espeakng-loader==0.2.4")
    pieces: list[np.ndarray] = []

    @_CALLBACK
    def collect(wave: ctypes._Pointer, num_samples: int, events: int) -> int:
        if wave and num_samples > 0:
            pieces.append(np.ctypeslib.as_array(wave, (num_samples,)).copy())
        return 0

    library.espeak_SetSynthCallback(collect)
    ctypes.CDLL(None).srand(1)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ConfigError(f"libespeak-ng knows no voice {voice!r}; see its espeak-ng-data/lang and voices/!v folders")
    library.espeak_SetParameter(_RATE, int(rate), 0)
    library.espeak_SetParameter(_VOLUME, _VOLUME_WITHOUT_CLIPPING, 0)
    encoded = text.encode() + b"\0"
    failed = library.espeak_Synth(encoded, len(encoded), 0, 1, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    if failed or not pieces:
        raise ConfigError(f"libespeak-ng spoke nothing for {text!r} with voice {voice!r}")
    return np.concatenate(pieces)


@functools.cache
def _installation(pid: int) -> tuple[Path, Path]:
    """A private copy of the library and a short path to its data, made once a process: (library file, data folder).

    Removed at exit by multiprocessing's finaliser, which unlike atexit also runs in its worker processes.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise ConfigError("speech synthesis needs libespeak-ng: pip install espeakng-loader==0.2.4") from error
    source = Path(espeakng_loader.get_data_path())
    root = Path(tempfile.mkdtemp(prefix="espeak-"))
    multiprocessing.util.Finalize(None, shutil.rmtree, args=(root, True), exitpriority=0)
    library = root / "libespeak-ng.so"
    shutil.copyfile(espeakng_loader.get_library_path(), library)
    data = root / source.name
    _link_entries(source, data, but="voices")
    _link_entries(source / "voices", data / "voices", but="!v")
    _link_entries(source / "voices" / "!v", data / "voices" / "!v")
    return library, data


def _link_entries(source: Path, target: Path, but: str | None = None) -> None:
    target.mkdir()
    for entry in source.iterdir():
        if entry.name != but:
            (target / entry.name).symlink_to(entry)
