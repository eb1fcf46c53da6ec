"""
ESD, the Emotional Speech Database: 10 speakers of Mandarin and 10 of English, 350 sentences each in five emotions; 16 kHz.

Layout, below `Emotion Speech Dataset` (the current archive) or `Emotional Speech Dataset (ESD)`:
  0001/0001.txt                       0001_000001 <tab> sentence <tab> emotion, one line a clip
  0001/Angry/0001_000351.wav          the current archive, and in the first one, by part:
  0001/Angry/train/0001_000401.wav    (or evaluation, or test)
The text files are in UTF-16, GBK, UTF-8 and Windows-1252; some lines have blanks in place of tabs, or no emotion; some
files name the emotions in Chinese.

Parts: train (300 sentences of each speaker and emotion), evaluation (the first 20) and test (the next 30): the folder
of the first archive, and in the flat one what it would have been, which the number of the clip tells.

Fields: text, language (Chinese, English), speaker and gender stand in the supervision, in custom
  domain   speech
  emotion  angry, happy, neutral, sad, surprise: the folder
  split    the part

Genders and languages are those of the ReadMe.txt in the archive.
"""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from lhotse.utils import Pathlike

from nemo_desta.errors import ConfigError
from nemo_desta.recipes.corpus import Clip, CorpusInfo, Manifests, read_clips, write_corpus
from nemo_desta.recipes.layout import Faults, find_root, hidden

__all__ = ["ESD", "decode_transcript", "prepare_esd"]

ESD = CorpusInfo(
    name="ESD",
    license="For research only, on request (ReadMe.txt of the corpus)",
    citation="K. Zhou, B. Sisman, R. Liu and H. Li. Emotional voice conversion: Theory, databases and ESD. Speech "
    "Communication, 137:1-18, 2022. https://doi.org/10.1016/j.specom.2021.11.006",
    homepage="https://hltsingapore.github.io/ESD/",
    domain="speech",
)

_SPEAKERS = tuple(f"{number:04d}" for number in range(1, 21))
_CHINESE = frozenset(_SPEAKERS[:10])
_MALE = frozenset(f"{number:04d}" for number in (4, 5, 6, 8, 10, 11, 12, 13, 14, 20))
_EMOTIONS = ("Angry", "Happy", "Neutral", "Sad", "Surprise")
_IN_CHINESE = {"生气": "Angry", "快乐": "Happy", "中立": "Neutral", "伤心": "Sad", "惊喜": "Surprise"}
_PARTS = ("train", "evaluation", "test")
_SENTENCES = 350
_NAME = re.compile(r"(\d{4})_(\d{6})")
_LINE = re.compile(r"(\d{4}_\d{6})\s+(.*)")
_LABEL = re.compile(rf"(?:\s+|(?<=[.!?。！？]))({'|'.join((*_EMOTIONS, *_IN_CHINESE))})$")
_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_IDEOGRAPH = re.compile(r"[\u3400-\u9fff]")


def prepare_esd(corpus_dir: Pathlike, output_dir: Pathlike, num_jobs: int = 1, max_bad: float = 0.01) -> Manifests:
    """
    Prepares the manifests of ESD.

    :param corpus_dir: Pathlike, the folder with the folders of the speakers (0001, ...; some suffice), or one above it.
    :param output_dir: Pathlike, for the manifests and `esd_corpus.json`.
    :param num_jobs: int, threads that read the audio headers.
    :param max_bad: float, share of the clips that may be unusable (audio, name, no transcript); they are left out.
    :return: {"train" | "evaluation" | "test": {"recordings": RecordingSet, "supervisions": SupervisionSet}}.
    Raises ConfigError when the folder is another one, a transcript file is missing or in no known encoding, or more
    clips are unusable than max_bad allows.
    """
    faults = Faults(ESD.name, max_bad)
    outer, inner = "Emotional Speech Dataset (ESD)", "Emotion Speech Dataset"
    root = find_root(
        ESD.name,
        corpus_dir,
        (inner, outer, f"{outer}/{inner}", "ESD"),
        lambda folder: any((folder / speaker).is_dir() for speaker in _SPEAKERS),
        "folders 0001, ..., 0020",
    )
    speakers = [speaker for speaker in _SPEAKERS if (root / speaker).is_dir()]
    if len(speakers) < len(_SPEAKERS):
        logging.warning(f"{ESD.name}: {len(speakers)} of its {len(_SPEAKERS)} speakers are in {root}")
    clips = [clip for speaker in speakers for clip in _clips(root / speaker, faults)]
    clips.sort(key=lambda clip: (_PARTS.index(clip.part), clip.path.stem))
    return write_corpus("esd", ESD, read_clips(clips, ESD, faults, num_jobs), corpus_dir, output_dir)


def decode_transcript(content: bytes, chinese: bool, where: Path | str) -> str:
    """The text of a transcript file, whichever of the corpus' four encodings it is in.

    Args:
        content: of the file.
        chinese: whether its speaker's language is Chinese. GBK and Windows-1252 give almost any bytes some meaning, so
            in an English file GBK is believed only where it yields punctuation and no ideograph.
        where: shown in the error.

    Raises:
        ConfigError: none of the encodings fits.
    """
    if content[:2] in _MARKS:
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "gb18030"] if chinese else ["utf-8-sig", "gb18030", "cp1252"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding != "gb18030" or chinese or not _IDEOGRAPH.search(text):
            return text
    raise ConfigError(f"{where}: in none of the encodings UTF-16, UTF-8, GBK, Windows-1252; fetch the file again.")


def _clips(folder: Path, faults: Faults) -> Iterator[Clip]:
    """The clips of one speaker; what has no audio or no transcript is counted."""
    speaker, found = folder.name, set()
    language = "Chinese" if speaker in _CHINESE else "English"
    sentences = _sentences(folder / f"{speaker}.txt", speaker in _CHINESE, faults)
    for emotion in _EMOTIONS:
        if not (folder / emotion).is_dir():
            logging.warning(f"{ESD.name}: {folder} has no folder {emotion}")
        for path in sorted(path for path in (folder / emotion).rglob("*.wav") if not hidden(path)):
            name = _NAME.fullmatch(path.stem)
            sentence, label = sentences.get(path.stem, ("", None))
            found.add(path.stem)
            if not name or name[1] != speaker:
                faults.add(path, f"not named {speaker}_000001.wav and so on")
            elif not sentence:
                faults.add(path, f"no sentence in {speaker}.txt")
            elif label not in (emotion, None):
                faults.add(path, f"in the folder {emotion}, but {speaker}.txt says {label}")
            else:
                part = path.parent.name if path.parent.name in _PARTS else _part(int(name[2]))
                gender = "male" if speaker in _MALE else "female"
                yield Clip(path, part, sentence, language, speaker, gender, {"emotion": emotion.lower()})
    for name, (_, label) in sentences.items():
        if name not in found and label and (folder / label).is_dir():
            faults.add(folder / label / f"{name}.wav", "no such file")


def _sentences(path: Path, chinese: bool, faults: Faults) -> dict[str, tuple[str, str | None]]:
    """Name of a clip -> sentence, and the emotion as its folder is called, None where the line names none."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; the transcripts of this speaker are missing.")
    sentences = {}
    for number, line in enumerate(decode_transcript(path.read_bytes(), chinese, path).splitlines(), 1):
        line = line.strip("\ufeff\t ")
        found = _LINE.fullmatch(line)
        if found:
            label = _LABEL.search(found[2])
            sentence = " ".join(found[2][: label.start() if label else None].split())
            sentences[found[1]] = (sentence, _IN_CHINESE.get(label[1], label[1]) if label else None)
        elif line:
            faults.add(f"{path}:{number}", f"{line[:40]!r} is no line of number, sentence and emotion")
    return sentences


def _part(number: int) -> str:
    """Part of the first archive in which the clip of this number, from 1, lies."""
    place = (number - 1) % _SENTENCES
    return "evaluation" if place < 20 else "test" if place < 50 else "train"
