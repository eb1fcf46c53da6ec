"""
GTZAN: 1000 excerpts of 30 s of music in ten genres, 100 each; 22,050 Hz, mono, 16 bit.

Layout, one folder a genre:
  genres/blues/blues.00000.au            the authors' archive, genres.tar.gz (later copies of it hold .wav)
  Data/genres_original/blues/blues.00000.wav   the copy most people have, beside spectrograms and features

Parts: all. The authors define none.

Fields: nothing is spoken, so text, language, speaker and gender are None; custom holds
  domain  music
  genre   blues, classical, country, disco, hip hop, jazz, metal, pop, reggae, rock

Known about it: `jazz.00054.wav` of the copy cannot be decoded. B. L. Sturm (The GTZAN dataset: its contents, its faults,
their effects on evaluation, and its future use, 2013) found 50 exact replicas, 22 further excerpts of the same recording,
and about 10 % of the labels wrong or debatable; artists repeat. His fault-filtered split is not applied here: do not
report a score from a random split of this corpus. Most excerpts last a few hundredths of a second more than 30 s.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from lhotse.utils import Pathlike

from nemo_desta.recipes.corpus import Clip, CorpusInfo, Manifests, read_clips, write_corpus
from nemo_desta.recipes.layout import Faults, find_root, hidden

__all__ = ["GTZAN", "prepare_gtzan"]

GTZAN = CorpusInfo(
    name="GTZAN",
    license="None stated by the authors; the excerpts are of commercial recordings, for research only",
    citation="G. Tzanetakis and P. Cook. Musical Genre Classification of Audio Signals. IEEE Transactions on Speech and "
    "Audio Processing, 10(5):293-302, 2002. https://doi.org/10.1109/TSA.2002.800560",
    homepage="http://marsyas.info/downloads/datasets.html",
    domain="music",
)

_GENRES = {name: name for name in ("blues", "classical", "country", "disco", "jazz", "metal", "pop", "reggae", "rock")}
_GENRES["hiphop"] = "hip hop"
_BROKEN = ("jazz.00054",)
"""Cannot be decoded in the copies that hold .wav files."""


def prepare_gtzan(corpus_dir: Pathlike, output_dir: Pathlike, num_jobs: int = 1, max_bad: float = 0.01) -> Manifests:
    """
    Prepares the manifests of GTZAN, from .au or .wav files.

    :param corpus_dir: Pathlike, the folder with one folder a genre, or one above it.
    :param output_dir: Pathlike, for the manifests and `gtzan_corpus.json`.
    :param num_jobs: int, threads that read the audio headers.
    :param max_bad: float, share of the excerpts that may be unusable, jazz.00054 not counted; they are left out.
    :return: {"all": {"recordings": RecordingSet, "supervisions": SupervisionSet}}.
    Raises ConfigError when the folder is another one, or more excerpts are unusable than max_bad allows.
    """
    faults = Faults(GTZAN.name, max_bad, _BROKEN)
    root = find_root(
        GTZAN.name,
        corpus_dir,
        ("genres", "genres_original", "Data/genres_original"),
        lambda folder: any((folder / genre).is_dir() for genre in _GENRES),
        "folders blues, classical, ..., rock",
    )
    clips = list(_clips(root, faults))
    return write_corpus("gtzan", GTZAN, read_clips(clips, GTZAN, faults, num_jobs), corpus_dir, output_dir)


def _clips(root: Path, faults: Faults) -> Iterator[Clip]:
    missing = sorted(genre for genre in _GENRES if not (root / genre).is_dir())
    if missing:
        logging.warning(f"{GTZAN.name}: {root} has no folder {', '.join(missing)}; the corpus has ten genres")
    for genre in sorted(_GENRES):
        for path in _excerpts(root / genre, faults):
            yield Clip(path, custom={"genre": _GENRES[genre]})


def _excerpts(folder: Path, faults: Faults) -> Iterator[Path]:
    """Audio files of one genre in order; of an excerpt that is there as .au and .wav, the .wav."""
    paths = sorted(path for path in folder.glob("*") if path.suffix in (".au", ".wav") and not hidden(path))
    converted = {path.stem for path in paths if path.suffix == ".wav"}
    for path in paths:
        if not re.fullmatch(rf"{folder.name}\.\d{{5}}", path.stem):
            faults.add(path, f"not named {folder.name}.00000 and so on")
        elif path.suffix == ".wav" or path.stem not in converted:
            yield path
