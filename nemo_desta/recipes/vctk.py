"""
VCTK through Lhotse's own recipe (`lhotse.recipes.prepare_vctk`): 110 speakers of English with various accents; 48 kHz.

Layout of release 0.92 (VCTK-Corpus-0.92.zip) and of release 0.80 (VCTK-Corpus.tar.gz):
  speaker-info.txt  txt/p225/p225_001.txt  wav48_silence_trimmed/p225/p225_001_mic1.flac (and _mic2)
  speaker-info.txt  txt/p225/p225_001.txt  wav48/p225/p225_001.wav

Lhotse's recipe finds recordings and sentences, takes one microphone, and skips what the corpus lacks: p315 has no
sentences, p280 and some of p362 no second microphone. Added here: which release it is, what is missing told by name,
accents and regions in words (`speaker-info.txt` runs words together, "NewZealand  English" over two columns, and puts
comments among the regions), genders as the other recipes have them, and paths relative to the corpus folder.

Parts: all. The authors define none.

Fields: text, language (English), speaker and gender stand in the supervision, in custom
  domain  speech
  accent  English, Scottish, Northern Irish, American, New Zealand, ...
  age     years
  region  "Southern England"; where the speaker comes from. The seed mapping ignores it.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from lhotse import SupervisionSegment
from lhotse.audio.utils import AudioLoadingError
from lhotse.recipes import prepare_vctk as prepare_with_lhotse
from lhotse.utils import Pathlike, fastcopy

from nemo_desta.errors import ConfigError
from nemo_desta.recipes.corpus import ALL, CorpusInfo, Manifests, Pair, open_recording, write_corpus
from nemo_desta.recipes.layout import find_root

__all__ = ["VCTK", "prepare_vctk"]

VCTK = CorpusInfo(
    name="VCTK",
    license="CC BY 4.0, https://creativecommons.org/licenses/by/4.0/ (release 0.92; 0.80: ODC-BY 1.0)",
    citation="J. Yamagishi, C. Veaux and K. MacDonald. CSTR VCTK Corpus: English Multi-speaker Corpus for CSTR Voice "
    "Cloning Toolkit (version 0.92). University of Edinburgh, 2019. https://doi.org/10.7488/ds/2645",
    homepage="https://datashare.ed.ac.uk/handle/10283/3443",
    domain="speech",
)

_INFO = "speaker-info.txt"
_COLUMNS = ("ID", "AGE", "GENDER", "ACCENTS", "REGION")
_MICS = ("mic1", "mic2")
_NEW, _OLD = "wav48_silence_trimmed", "wav48"
"""Audio folders of releases 0.92 and 0.80."""
_GENDERS = {"F": "female", "M": "male"}
_INCOMPLETE = {"_mic1": ("p362",), "_mic2": ("p280", "p362"), "": ("p362",)}
"""Ending of the audio files' stems -> speakers of whom Lhotse's recipe knows that audio is missing."""


def prepare_vctk(corpus_dir: Pathlike, output_dir: Pathlike, mic: str = "mic2") -> Manifests:
    """
    Prepares the manifests of VCTK, release 0.92 or 0.80, by Lhotse's recipe.

    :param corpus_dir: Pathlike, the folder with `speaker-info.txt`, or the one above it.
    :param output_dir: Pathlike, for the manifests and `vctk_corpus.json`.
    :param mic: str, mic1 or mic2: which of the two microphones of release 0.92; 0.80 has one.
    :return: {"all": {"recordings": RecordingSet, "supervisions": SupervisionSet}}.
    Raises ConfigError when the folder is another one, audio is missing or broken, or speaker-info.txt cannot be read;
    all files concerned are counted, the first ones named.
    """
    if mic not in _MICS:
        raise ConfigError(f"{VCTK.name}: mic={mic!r} must be one of {', '.join(_MICS)}.")
    root = find_root(
        VCTK.name,
        corpus_dir,
        ("VCTK-Corpus", "VCTK-Corpus-0.92"),
        lambda folder: any((folder / audio).is_dir() for audio in (_NEW, _OLD)) and (folder / "txt").is_dir(),
        f"{_INFO}, txt/, {_NEW}/ or {_OLD}/",
    )
    new = (root / _NEW).is_dir()
    _check_speakers(root / _INFO)
    audio = _audio_files(root, new, mic)
    _check_audio(root, audio, f"_{mic}" if new else "")
    try:
        found = prepare_with_lhotse(root, use_edinburgh_vctk_url=new, mic_id=mic)
    except (AudioLoadingError, UnicodeDecodeError, AssertionError) as error:
        raise ConfigError(f"{VCTK.name}: {_broken(root) or f'Lhotse stopped: {error}'}") from error
    recordings = {recording.id: recording for recording in found["recordings"]}
    pairs = [(recordings[s.recording_id], _described(s)) for s in found["supervisions"] if s.text]
    pairs.sort(key=lambda pair: pair[0].id)
    if not pairs:
        raise ConfigError(f"{VCTK.name}: no sentence in {root / 'txt'} has audio of {mic}.")
    _tell(set(audio), pairs)
    return write_corpus("vctk", VCTK, {ALL: pairs}, corpus_dir, output_dir)


def _check_speakers(path: Path) -> None:
    """Refuse what Lhotse's recipe cannot parse, with its place."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; the corpus is not complete.")
    if not _is_utf8(path):
        raise ConfigError(f"{path}: not UTF-8; fetch the file again.")
    lines = path.read_text(encoding="utf-8").splitlines()
    missing = [name for name in _COLUMNS if name not in (lines[0].split() if lines else [])]
    if missing:
        raise ConfigError(f"{path}:1: no column {', '.join(missing)}; the file is not that of the corpus.")
    for number, line in enumerate(lines[1:], 2):
        fields = line.split()
        if len(fields) < 4 or not fields[1].isdecimal():
            raise ConfigError(f"{path}:{number}: {line[:60]!r} has not the columns {', '.join(_COLUMNS)}; repair it.")


def _audio_files(root: Path, new: bool, mic: str) -> dict[str, Path]:
    """Name of each audio file of the microphone -> the file."""
    pattern = f"{_NEW}/*/*_{mic}.flac" if new else f"{_OLD}/*/*.wav"
    return {path.stem: path for path in sorted(root.glob(pattern))}


def _check_audio(root: Path, audio: Mapping[str, Path], ending: str) -> None:
    """Refuse sentences without audio, except those that the corpus itself lacks."""
    texts = sorted((root / "txt").rglob("*.txt"))
    if not texts:
        raise ConfigError(f"{root / 'txt'}: no sentence in it; the corpus is not complete.")
    missing = [text for text in texts if text.stem + ending not in audio]
    unexpected = [str(text) for text in missing if text.name.split("_")[0] not in _INCOMPLETE[ending]]
    if unexpected:
        raise ConfigError(
            f"{VCTK.name}: {len(unexpected)} of {len(texts)} sentences have no audio, first {', '.join(unexpected[:5])}; "
            "fetch the audio, or remove these text files."
        )
    if missing:
        speakers = ", ".join(sorted({text.name.split("_")[0] for text in missing}))
        logging.warning(f"{VCTK.name}: {len(missing)} sentences of {speakers} are left out, as they have no audio")


def _broken(root: Path) -> str:
    """Names the files on which Lhotse's recipe stopped, all of them and not the first; empty where there is none."""
    opened = {
        path: open_recording(path) for path in sorted(root.glob("wav48*/*/*")) if path.suffix in (".flac", ".wav")
    }
    bad = [f"{path} ({what})" for path, what in opened.items() if isinstance(what, str)]
    bad += [f"{path} (not UTF-8)" for path in sorted((root / "txt").rglob("*.txt")) if not _is_utf8(path)]
    if not bad:
        return ""
    return (
        f"{len(bad)} files are broken, first {', '.join(bad[:5])}; fetch them again, or remove both the audio and the "
        "text of these sentences."
    )


def _is_utf8(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _described(supervision: SupervisionSegment) -> SupervisionSegment:
    """The supervision with the attributes of the speaker in words."""
    known = supervision.custom
    accent = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", known["accent"] or "")
    region = re.sub(r"\(.*", "", known["region"] or "").strip()
    if accent in ("New Zealand", "Australian"):
        region = region.removeprefix("English").strip()  # the second word of the accent
    custom = {"domain": VCTK.domain, "accent": accent, "age": known["age"], "region": region}
    return fastcopy(
        supervision,
        gender=_GENDERS.get(supervision.gender, supervision.gender),
        custom={name: value for name, value in custom.items() if value not in (None, "", "Unknown")},
    )


def _tell(audio: set[str], pairs: Sequence[Pair]) -> None:
    """Log what is left out or thin, by speaker."""
    left_out = Counter(name.split("_")[0] for name in audio - {recording.id for recording, _ in pairs})
    if left_out:
        listed = ", ".join(f"{speaker} ({count})" for speaker, count in sorted(left_out.items()))
        logging.warning(f"{VCTK.name}: recordings without a sentence are left out: {listed}")
    unknown = sorted({s.speaker for _, s in pairs if s.gender is None})
    if unknown:
        logging.warning(f"{VCTK.name}: {_INFO} says nothing of the speakers {', '.join(unknown)}")
