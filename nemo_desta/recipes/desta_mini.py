"""
desta-mini: a small corpus of speech, everyday sounds and music that nobody has to download. Speech is spoken by
libespeak-ng (PyPI wheel `espeakng-loader`), clean or in noise; sounds and music are synthesised here. Everything stated
about a clip is true by construction, and the corpus is the same byte for byte wherever and however often it is made.

It is for trying things out (self-generation, training, evaluation) end to end; it replaces no corpus of human speech.

Fields: text, language, gender and speaker stand in the supervision (None where there is no speech), the rest in custom:
  domain              speech | sound | music
  accent              American | British | Scottish | Caribbean                             (English speech)
  speaking_speed      slow | normal | fast                                                  (speech)
  pitch               low | normal | high, for the speaker's gender                         (speech)
  noise               clean | noisy, with noise_type white | pink | babble | hum and snr_db (speech; the latter two if noisy)
  audio_category      "church bell", "rain", ...: the keys of `sounds.SOUNDS`               (sound)
  instrument          "piano", "drums", ...: the keys of `music.INSTRUMENTS`                (music)
  tempo               slow | moderate | fast, with tempo_bpm                                (music)
  mode                major | minor                                                         (music, except drums)

Splits: train, validation, test, and test_unseen_voices, whose voices (and sound parameters) occur nowhere else; no
sentence occurs in two splits.

The manifests on disk hold paths relative to the corpus folder, so the folder can be moved: open them with
`load_desta_mini(folder)`, or with Lhotse's own `RecordingSet.from_file(...).with_path_prefix(folder)`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from lhotse import (
    CutSet,
    Recording,
    RecordingSet,
    SupervisionSegment,
    SupervisionSet,
    validate_recordings_and_supervisions,
)
from lhotse.qa import fix_manifests
from lhotse.utils import Pathlike
from tqdm.auto import tqdm

from nemo_desta.errors import ConfigError
from nemo_desta.files import write_json
from nemo_desta.recipes.clip import audio_path, write_clip
from nemo_desta.recipes.corpus import CorpusInfo
from nemo_desta.recipes.plan import SPLITS, ClipPlan, plan_corpus, split_sizes
from nemo_desta.recipes.voices import DATA_DIR

__all__ = ["DESTA_MINI", "load_desta_mini", "prepare_desta_mini"]

DESTA_MINI = CorpusInfo(
    name="desta-mini",
    license="Apache-2.0, as nemo_desta, which synthesises it",
    citation="nemo_desta, recipe desta_mini; speech by eSpeak NG",
    homepage="https://github.com/espeak-ng/espeak-ng",
    domain="speech, sound, music",
)

Manifests = dict[str, dict[str, RecordingSet | SupervisionSet]]

_VERSION = 1
"""To be raised whenever the same arguments make other clips."""
_STAMP = "desta-mini.json"


def prepare_desta_mini(
    output_dir: Pathlike,
    num_clips: int | Mapping[str, int] = 480,
    seed: int = 0,
    num_jobs: int = 1,
) -> Manifests:
    """
    Makes the corpus and its manifests; what an interrupted run left is completed, a finished corpus is only read.

    :param output_dir: Pathlike, the corpus folder, for the audio and the manifests.
    :param num_clips: number of clips in all, or of each split ({"train": 400, "test_unseen_voices": 200}).
    :param seed: int, another seed makes another corpus.
    :param num_jobs: int, number of processes; does not change a byte of the result.
    :return: {split: {"recordings": RecordingSet, "supervisions": SupervisionSet}} with paths that can be opened.
        On disk there are also cuts: desta-mini_cuts_{split}.jsonl.gz.
    Raises ConfigError when the folder holds another corpus, or the arguments make none.
    """
    output_dir = Path(output_dir)
    sizes = split_sizes(num_clips)
    plans = plan_corpus(sizes, seed)
    if _claim(output_dir, sizes, seed):
        return load_desta_mini(output_dir)
    for split in sizes:
        (output_dir / "audio" / split).mkdir(parents=True, exist_ok=True)
    for part in output_dir.glob("audio/*/*.part"):
        part.unlink()
    _write_clips(plans, output_dir, num_jobs)
    for split in (name for name, size in sizes.items() if size):
        _write_manifests(split, [plan for plan in plans if plan.split == split], output_dir)
    write_json(output_dir / "desta-mini_corpus.json", asdict(DESTA_MINI))
    _stamp(output_dir, sizes, seed, complete=True)
    return load_desta_mini(output_dir)


def load_desta_mini(corpus_dir: Pathlike) -> Manifests:
    """
    Opens a corpus that `prepare_desta_mini` made, wherever its folder has been moved since.

    :param corpus_dir: Pathlike, the corpus folder.
    :return: {split: {"recordings": RecordingSet, "supervisions": SupervisionSet}} with paths that can be opened.
    Raises ConfigError when there is no finished corpus.
    """
    corpus_dir = Path(corpus_dir)
    manifests: Manifests = {}
    for split in SPLITS:
        path = _manifest(corpus_dir, "recordings", split)
        if path.exists():
            manifests[split] = {
                "recordings": RecordingSet.from_file(path).with_path_prefix(corpus_dir),
                "supervisions": SupervisionSet.from_file(_manifest(corpus_dir, "supervisions", split)),
            }
    if not manifests or not _read_stamp(corpus_dir).get("complete"):
        raise ConfigError(f"{corpus_dir} holds no finished desta-mini corpus; make one with prepare_desta_mini")
    return manifests


def _manifest(corpus_dir: Path, kind: str, split: str) -> Path:
    return corpus_dir / f"desta-mini_{kind}_{split}.jsonl.gz"


def _fingerprint(sizes: Mapping[str, int], seed: int) -> dict[str, object]:
    """What the bytes of the corpus depend on."""
    data = b"".join(path.read_bytes() for path in sorted(DATA_DIR.glob("*.yaml")))
    return {"version": _VERSION, "sizes": dict(sizes), "seed": seed, "data": hashlib.sha256(data).hexdigest()[:16]}


def _read_stamp(corpus_dir: Path) -> dict[str, object]:
    path = corpus_dir / _STAMP
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _stamp(corpus_dir: Path, sizes: Mapping[str, int], seed: int, complete: bool) -> None:
    stamp = {**_fingerprint(sizes, seed), "complete": complete}
    (corpus_dir / _STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")


def _claim(output_dir: Path, sizes: Mapping[str, int], seed: int) -> bool:
    """Mark the folder as this corpus'; True when the corpus in it is already finished."""
    found = _read_stamp(output_dir)
    complete = bool(found.pop("complete", False))
    if found and found != _fingerprint(sizes, seed):
        raise ConfigError(
            f"{output_dir} holds a desta-mini corpus made with other arguments or another version ({found}); "
            "choose another folder or delete that one"
        )
    if complete:
        logging.info(f"{output_dir} holds this corpus already, nothing to do")
        return True
    output_dir.mkdir(parents=True, exist_ok=True)
    _stamp(output_dir, sizes, seed, complete=False)
    return False


def _write_clips(plans: list[ClipPlan], output_dir: Path, num_jobs: int) -> None:
    write = partial(write_clip, corpus_dir=output_dir)
    progress = partial(tqdm, total=len(plans), desc="Making desta-mini clips", mininterval=1.0)
    if num_jobs <= 1:
        for plan in progress(plans):
            write(plan)
        return
    with ProcessPoolExecutor(num_jobs, mp_context=get_context("fork")) as pool:
        for _ in progress(pool.map(write, plans, chunksize=8)):
            pass


def _write_manifests(split: str, plans: list[ClipPlan], output_dir: Path) -> None:
    recordings = RecordingSet.from_recordings(
        Recording.from_file(output_dir / audio_path(plan), recording_id=plan.id) for plan in plans
    )
    supervisions = SupervisionSet.from_segments(_supervision(plan, recordings[plan.id].duration) for plan in plans)
    recordings, supervisions = fix_manifests(recordings, supervisions)
    validate_recordings_and_supervisions(recordings, supervisions)
    for recording in recordings:
        recording.sources[0].source = str(Path(recording.sources[0].source).relative_to(output_dir).as_posix())
    cuts = CutSet.from_manifests(recordings=recordings, supervisions=supervisions).to_eager()
    cuts = CutSet.from_cuts(cut.with_id(cut.recording_id) for cut in cuts)
    for kind, manifest in (("recordings", recordings), ("supervisions", supervisions), ("cuts", cuts)):
        path = _manifest(output_dir, kind, split)
        manifest.to_file(path)
        _drop_gzip_time(path)


def _supervision(plan: ClipPlan, duration: float) -> SupervisionSegment:
    return SupervisionSegment(
        id=plan.id,
        recording_id=plan.id,
        start=0.0,
        duration=duration,
        channel=0,
        text=plan.text,
        language=plan.language,
        speaker=plan.speaker,
        gender=plan.gender,
        custom=dict(plan.custom),
    )


def _drop_gzip_time(path: Path) -> None:
    """Write the file again without the time of day that gzip puts into its header."""
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content, mtime=0))
