"""A small question set in SAKURA's layout, of clips of the demo's corpus: whoever can score it can score SAKURA."""

import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from nemo_desta.evaluation.clips import EvalClip
from nemo_desta.recipes.draw import Draw
from nemo_desta.recipes.noise import SAMPLING_RATE
from nemo_desta.recipes.sounds import SOUNDS

__all__ = ["write_listening_set"]

_COLUMNS = ("file", "attribute_label", "single_instruction", "single_answer", "multi_instruction", "multi_answer")


@dataclass(frozen=True)
class _Track:
    """One attribute: what is asked of it directly, and what takes a second step.

    Attributes:
        options: label -> (what is heard, what follows from it); the labels are the corpus' own values.
        more: further options, that are never right.
    """

    single: str
    multi: str
    options: Mapping[str, tuple[str, str]]
    more: tuple[tuple[str, str], ...] = ()


_TRACKS = {
    "Animal": _Track(
        "Which animal is heard?",
        "What covers the body of the animal that is heard?",
        {"dog barking": ("dog", "fur"), "bird song": ("bird", "feathers")},
        (("fish", "scales"), ("turtle", "a shell")),
    ),
    "Gender": _Track(
        "What is the gender of the speaker?",
        "Which title fits the speaker?",
        {"male": ("male", "Mister"), "female": ("female", "Madam")},
    ),
    "Language": _Track(
        "Which language is spoken?",
        "What is the capital of the country that the spoken language is named after?",
        {
            "English": ("English", "London"), "French": ("French", "Paris"), "Spanish": ("Spanish", "Madrid"),
            "German": ("German", "Berlin"), "Italian": ("Italian", "Rome"),
        },
    ),
}  # fmt: skip


def write_listening_set(
    folder: Path, clips: Sequence[EvalClip], corpus: Path, clips_per_track: int, seed: int = 0
) -> dict[str, int]:
    """Write `folder`/data/<track>/{metadata.csv, audio/} for Animal, Gender and Language; the corpus has no emotions.

    Args:
        clips: of speech and sounds, with the attributes gender and language.
        corpus: folder of the clips' audio.
        clips_per_track: at most so many, balanced over what is right.
        seed: of the animals, which are made anew.

    Returns:
        Track -> number of clips.
    """
    shutil.rmtree(folder / "data", ignore_errors=True)
    counts = {}
    for name, track in _TRACKS.items():
        audio = folder / "data" / name / "audio"
        audio.mkdir(parents=True)
        found = (
            _animals(audio, clips_per_track, seed)
            if name == "Animal"
            else _speech(name, clips, corpus, audio, clips_per_track)
        )
        rows = [_row(track, number, file, label) for number, (file, label) in enumerate(found)]
        with (folder / "data" / name / "metadata.csv").open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, _COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        counts[name] = len(rows)
    return counts


def _animals(audio: Path, count: int, seed: int) -> Iterator[tuple[str, str]]:
    labels = list(_TRACKS["Animal"].options)
    for number in range(count):
        label = labels[number % len(labels)]
        wave = SOUNDS[label](Draw(np.random.default_rng([seed, 7, number]), unseen=True))
        file = f"animal_{number:03d}.wav"
        soundfile.write(audio / file, 0.5 * wave / np.abs(wave).max(), SAMPLING_RATE, subtype="PCM_16")
        yield file, label


def _speech(name: str, clips: Sequence[EvalClip], corpus: Path, audio: Path, count: int) -> Iterator[tuple[str, str]]:
    for clip, label in _balanced(name.lower(), clips, count):
        source = corpus / clip.audio
        shutil.copyfile(source, audio / source.name)
        yield source.name, label


def _balanced(attribute: str, clips: Sequence[EvalClip], count: int) -> Iterator[tuple[EvalClip, str]]:
    """Clips dealt out over the values of an attribute in turn, until one value has no more."""
    by_label: dict[str, list[EvalClip]] = {}
    for clip in clips:
        label = clip.attributes.get(attribute)
        if label in _TRACKS[attribute.capitalize()].options and clip.attributes.get("domain") == "speech":
            by_label.setdefault(label, []).append(clip)
    rounds = min([count // len(by_label), *map(len, by_label.values())]) if by_label else 0
    for number in range(rounds):
        for label in sorted(by_label):
            yield by_label[label][number], label


def _row(track: _Track, number: int, file: str, label: str) -> dict[str, str]:
    """One line of metadata.csv: the right option first among four (or two), then turned on by the row's number."""
    right, others = track.options[label], [pair for key, pair in track.options.items() if key != label]
    turn = number // len(track.options) % len(others) if others else 0
    pairs = [right, *others[turn:], *others[:turn], *track.more][:4]
    place = number // len(track.options) % len(pairs) if len(pairs) > 2 else (number // 2) % 2
    pairs = [*pairs[1 : place + 1], pairs[0], *pairs[place + 1 :]]
    row = {"file": file, "attribute_label": right[0]}
    for hop, kind, question in ((0, "single", track.single), (1, "multi", track.multi)):
        options = [f"({letter}) {pair[hop]}" for letter, pair in zip("abcd", pairs, strict=False)]
        row[f"{kind}_instruction"] = f"{question} {' '.join(options)}"
        row[f"{kind}_answer"] = options[place]
    return row
