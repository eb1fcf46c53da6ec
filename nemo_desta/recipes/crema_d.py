"""
CREMA-D: 7442 clips of 91 actors who speak 12 sentences in six emotions; 16 kHz, mono.

Layout (the Git repository; its audio comes with Git LFS, `git lfs pull`, a zip download holds only pointers to it):
  AudioWAV/1001_DFA_ANG_XX.wav       {actor}_{sentence}_{emotion}_{level}.wav
  VideoDemographics.csv              "ActorID","Age","Sex","Race","Ethnicity"
  processedResults/summaryTable.csv  "","FileName","VoiceVote",...: what most raters heard or saw (optional here)

Parts: all. The authors define none; actors repeat across clips, so split by speaker.

Fields: text, language (English), speaker (the actor's number) and gender stand in the supervision, in custom
  domain         speech
  emotion        anger, disgust, fear, happy, neutral, sad: what the actor was asked for
  intensity      low, medium, high; only some clips of one sentence have it
  age            years
  race           African American, Asian, Caucasian
  ethnicity      Hispanic, Not Hispanic
  emotion_heard  what most raters heard from the voice alone, several in a tie (from summaryTable.csv). It often differs
                 from `emotion`. The seed mapping ignores it; take it out of `ignore` and into `fields` to use it.

Known about it: 1076_MTI_SAD_XX.wav has no audio and is left out; 1040_ITH_SAD_X.wav of older copies lacks a letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lhotse.utils import Pathlike

from nemo_desta.recipes.corpus import ALL, Clip, CorpusInfo, Manifests, read_clips, write_corpus
from nemo_desta.recipes.layout import Faults, find_root, hidden, read_table

__all__ = ["CREMA_D", "prepare_crema_d"]

CREMA_D = CorpusInfo(
    name="CREMA-D",
    license="Open Database License, https://opendatacommons.org/licenses/odbl/1-0/; contents: Database Contents License, "
    "https://opendatacommons.org/licenses/dbcl/1-0/",
    citation="H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova and R. Verma. CREMA-D: Crowd-sourced Emotional "
    "Multimodal Actors Dataset. IEEE Transactions on Affective Computing, 5(4):377-390, 2014. "
    "https://doi.org/10.1109/TAFFC.2014.2336244",
    homepage="https://github.com/CheyneyComputerScience/CREMA-D",
    domain="speech",
)

_DEMOGRAPHICS = "VideoDemographics.csv"
_VOTES = "processedResults/summaryTable.csv"
_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX?)")
_SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
_EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
_VOTED = {code[0]: word for code, word in _EMOTIONS.items()}
_LEVELS = {"LO": "low", "MD": "medium", "HI": "high"}
_BROKEN = ("1076_MTI_SAD_XX",)
"""Has no audio, say the authors (their README)."""
_GENDERS = ("male", "female")


def prepare_crema_d(corpus_dir: Pathlike, output_dir: Pathlike, num_jobs: int = 1, max_bad: float = 0.01) -> Manifests:
    """
    Prepares the manifests of CREMA-D.

    :param corpus_dir: Pathlike, the folder with `AudioWAV` and `VideoDemographics.csv`, or the one above it.
    :param output_dir: Pathlike, for the manifests and `crema-d_corpus.json`.
    :param num_jobs: int, threads that read the audio headers.
    :param max_bad: float, share of the clips that may be unusable, known broken ones not counted; they are left out.
    :return: {"all": {"recordings": RecordingSet, "supervisions": SupervisionSet}}.
    Raises ConfigError when the folder is another one, or more clips are unusable than max_bad allows.
    """
    faults = Faults(CREMA_D.name, max_bad, _BROKEN)
    root = find_root(
        CREMA_D.name,
        corpus_dir,
        ("CREMA-D", "CREMA-D-master"),
        lambda folder: (folder / "AudioWAV").is_dir(),
        f"AudioWAV/, {_DEMOGRAPHICS}",
    )
    clips = list(_clips(root, faults))
    return write_corpus("crema-d", CREMA_D, read_clips(clips, CREMA_D, faults, num_jobs), corpus_dir, output_dir)


def _clips(root: Path, faults: Faults) -> Iterator[Clip]:
    actors, votes = _actors(root, faults), _votes(root, faults)
    for path in sorted(path for path in (root / "AudioWAV").glob("*.wav") if not hidden(path)):
        name = _NAME.fullmatch(path.stem)
        actor, sentence, emotion, level = name.groups() if name else ("",) * 4
        if path.stem in _BROKEN:
            faults.add(path, "no audio in it, say the authors")
        elif sentence not in _SENTENCES or emotion not in _EMOTIONS:
            faults.add(path, "not named {actor}_{sentence}_{emotion}_{level}.wav with codes of the corpus")
        elif actor not in actors:
            faults.add(path, f"actor {actor} is not in {_DEMOGRAPHICS}")
        else:
            gender, known = actors[actor]
            heard = votes.get(f"{actor}_{sentence}_{emotion}_{level.ljust(2, 'X')}") or None
            custom = {"emotion": _EMOTIONS[emotion], "intensity": _LEVELS.get(level), **known, "emotion_heard": heard}
            yield Clip(path, ALL, _SENTENCES[sentence], "English", actor, gender, custom)


def _actors(root: Path, faults: Faults) -> dict[str, tuple[str, dict[str, Any]]]:
    """Actor -> gender, and the other fields about the actor."""
    actors = {}
    for place, row in read_table(root / _DEMOGRAPHICS, ("ActorID", "Age", "Sex", "Race", "Ethnicity"), faults):
        gender = row["Sex"].casefold()
        if gender not in _GENDERS or not row["Age"].isdecimal():
            faults.add(place, f"age {row['Age']!r} or sex {row['Sex']!r} is none")
            continue
        named = {name.casefold(): row[name] for name in ("Race", "Ethnicity") if row[name].casefold() != "unknown"}
        actors[row["ActorID"]] = (gender, {"age": int(row["Age"]), **named})
    return actors


def _votes(root: Path, faults: Faults) -> dict[str, list[str]]:
    """Clip -> emotions that most raters heard from the voice alone; empty where the table is not there."""
    if not (root / _VOTES).is_file():
        return {}
    rows = read_table(root / _VOTES, ("FileName", "VoiceVote"), faults)
    return {
        row["FileName"]: [_VOTED[vote] for vote in row["VoiceVote"].split(":") if vote in _VOTED] for _, row in rows
    }
