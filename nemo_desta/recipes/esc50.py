"""
ESC-50: 2000 environmental sounds of 5 s in 50 classes, from Freesound, arranged in five folds for cross-validation.

Layout (the repository's archive, `ESC-50-master.zip`, v2):
  meta/esc50.csv          filename,fold,target,category,esc10,src_file,take
  audio/1-100032-A-0.wav  44.1 kHz, mono: {fold}-{Freesound clip}-{take}-{target}.wav

Parts: fold1 ... fold5; fragments of one Freesound clip never stand in two folds.

Fields: nothing is spoken, so text, language, speaker and gender are None; custom holds
  domain          sound
  audio_category  "dog", "door wood knock", ...: the category, underscores turned into blanks
  split           the fold
  license         of this clip: the ESC-10 subset is CC BY, the rest CC BY-NC (LICENSE names the author of each clip)

The authors warn that some Freesound recordings were processed (mostly band-limited) in ways that go with their class.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from lhotse.utils import Pathlike

from nemo_desta.recipes.corpus import Clip, CorpusInfo, Manifests, read_clips, write_corpus
from nemo_desta.recipes.layout import Faults, find_root, hidden, read_table

__all__ = ["ESC50", "prepare_esc50"]

ESC50 = CorpusInfo(
    name="ESC-50",
    license="CC BY-NC 3.0, https://creativecommons.org/licenses/by-nc/3.0/ (the ESC-10 subset: CC BY)",
    citation="K. J. Piczak. ESC: Dataset for Environmental Sound Classification. Proc. 23rd ACM Conference on Multimedia, "
    "pp. 1015-1018, 2015. https://doi.org/10.1145/2733373.2806390",
    homepage="https://github.com/karolpiczak/ESC-50",
    domain="sound",
)

_META = "meta/esc50.csv"
_COLUMNS = ("filename", "fold", "category", "esc10")
_FOLDS = ("1", "2", "3", "4", "5")


def prepare_esc50(corpus_dir: Pathlike, output_dir: Pathlike, num_jobs: int = 1, max_bad: float = 0.01) -> Manifests:
    """
    Prepares the manifests of ESC-50, one part a fold.

    :param corpus_dir: Pathlike, the folder with `meta` and `audio`, or the one above it.
    :param output_dir: Pathlike, for the manifests and `esc50_corpus.json`.
    :param num_jobs: int, threads that read the audio headers.
    :param max_bad: float, share of the clips that may be unusable; they are logged and left out.
    :return: {"fold1": {"recordings": RecordingSet, "supervisions": SupervisionSet}, ...}.
    Raises ConfigError when the folder is another one, or more clips are unusable than max_bad allows.
    """
    faults = Faults(ESC50.name, max_bad)
    root = find_root(
        ESC50.name,
        corpus_dir,
        ("ESC-50-master", "ESC-50"),
        lambda folder: (folder / _META).is_file(),
        f"{_META}, audio/",
    )
    clips = sorted(_clips(root, faults), key=lambda clip: (clip.part, clip.path.name))
    _tell_unlisted(root, {clip.path.name for clip in clips})
    return write_corpus("esc50", ESC50, read_clips(clips, ESC50, faults, num_jobs), corpus_dir, output_dir)


def _clips(root: Path, faults: Faults) -> Iterator[Clip]:
    for place, row in read_table(root / _META, _COLUMNS, faults):
        name = row["filename"]
        if not name or Path(name).name != name:
            faults.add(place, f"{name!r} is no file name")
        elif row["fold"] not in _FOLDS:
            faults.add(place, f"fold {row['fold']!r} is none of 1 to 5")
        elif not row["category"]:
            faults.add(place, "no category")
        else:
            custom = {
                "audio_category": row["category"].replace("_", " "),
                "license": "CC BY" if row["esc10"].casefold() == "true" else "CC BY-NC 3.0",
            }
            yield Clip(root / "audio" / name, part=f"fold{row['fold']}", custom=custom)


def _tell_unlisted(root: Path, listed: set[str]) -> None:
    unlisted = sorted(path.name for path in root.glob("audio/*.wav") if path.name not in listed and not hidden(path))
    if unlisted:
        logging.warning(f"{ESC50.name}: {len(unlisted)} audio files are not in {_META}, among them {unlisted[0]}")
