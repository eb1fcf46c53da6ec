"""
What all recipes share: clips with what is known about them become Lhotse manifests, beside them the corpus' licence.

Of a corpus with the prefix x there are, for each part p that its authors define ("all" where they define none),

    x_recordings_p.jsonl.gz   x_supervisions_p.jsonl.gz   x_cuts_p.jsonl.gz
    x_cuts_all.jsonl.gz       every cut of every part, for self-generation
    x_corpus.json             CorpusInfo: name, licence, citation, home page, domain

Audio paths in the files are relative to the corpus folder that the user gave, so that it can be moved and the manifests
can lie elsewhere: `nemo-desta selfgen cuts=OUT/x_cuts_all.jsonl.gz audio_root=CORPUS`, or in Lhotse
`CutSet.from_file(...).with_recording_path_prefix(CORPUS)`. The same corpus gives the same bytes.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lhotse import (
    CutSet,
    MonoCut,
    MultiCut,
    Recording,
    RecordingSet,
    SupervisionSegment,
    SupervisionSet,
    validate_recordings_and_supervisions,
)
from lhotse.audio.utils import AudioLoadingError
from lhotse.utils import Pathlike, fastcopy
from tqdm.auto import tqdm

from nemo_desta.errors import ConfigError, SelfGenError
from nemo_desta.files import whole_file, write_json
from nemo_desta.recipes.layout import Faults

__all__ = ["ALL", "Clip", "CorpusInfo", "Manifests", "Pair", "open_recording", "read_clips", "write_corpus"]

Manifests = dict[str, dict[str, RecordingSet | SupervisionSet]]
Pair = tuple[Recording, SupervisionSegment]

ALL = "all"
"""The part of a corpus that has no parts, and of the cuts of all parts."""
_LFS_POINTER = b"version https://git-lfs"
"""How the text begins that stands for a file whose content Git LFS has not fetched."""
_AU = b".snd"
"""How .au files begin; libsndfile takes any other bytes under this ending for headerless speech at 8 kHz."""


@dataclass(frozen=True)
class CorpusInfo:
    """Whom the corpus belongs to; written as `<prefix>_corpus.json`."""

    name: str
    """As its authors call it."""
    license: str
    """Name and address of the licence, or what is known in place of one."""
    citation: str
    """The publication to cite."""
    homepage: str
    """Where the corpus can be had."""
    domain: str
    """speech, sound or music."""


@dataclass(frozen=True)
class Clip:
    """One audio file and what the corpus says about it."""

    path: Path
    """The file, below the corpus folder; its stem becomes the id of recording, supervision and cut."""
    part: str = ALL
    """Part of the corpus."""
    text: str | None = None
    """What is spoken; None where nothing is."""
    language: str | None = None
    """Of the text, in English words."""
    speaker: str | None = None
    """Id of the speaker."""
    gender: str | None = None
    """female or male."""
    custom: Mapping[str, Any] = field(default_factory=dict)
    """The other attributes, by the names that conf/seed/default.yaml knows; None leaves one out."""


def read_clips(clips: Sequence[Clip], info: CorpusInfo, faults: Faults, num_jobs: int = 1) -> dict[str, list[Pair]]:
    """Part -> recordings with their supervisions, in the order of the clips; those without usable audio are counted.

    Args:
        clips: all of the corpus.
        info: its domain goes into each supervision.
        faults: counts and judges.
        num_jobs: threads that read the headers; the result does not depend on it.

    Raises:
        ConfigError: more clips are unusable than `faults` allows.
    """
    parts: dict[str, list[Pair]] = {}
    seen: dict[str, Path] = {}
    with ThreadPoolExecutor(max(num_jobs, 1)) as pool:
        opened = pool.map(open_recording, (clip.path for clip in clips))
        for clip, recording in zip(clips, tqdm(opened, f"Reading {info.name}", len(clips)), strict=True):
            if isinstance(recording, str):
                faults.add(clip.path, recording)
            elif recording.id in seen:
                faults.add(clip.path, f"the corpus holds {seen[recording.id]} of the same name already")
            else:
                seen[recording.id] = clip.path
                parts.setdefault(clip.part, []).append((recording, _supervision(clip, recording, info)))
    faults.check(len(seen))
    return parts


def open_recording(path: Path) -> Recording | str:
    """The recording of a file by its header, its stem the id, or in words what is wrong with it."""
    if not path.is_file():
        return "no such file"
    try:
        with path.open("rb") as stream:
            head = stream.read(len(_LFS_POINTER))
        if head == _LFS_POINTER:
            return "a Git LFS pointer, not audio; run `git lfs pull` in the corpus folder"
        if path.suffix == ".au" and not head.startswith(_AU):
            return "no .au file"
        recording = Recording.from_file(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (AudioLoadingError, RuntimeError, ValueError):
        return f"no audio that can be decoded ({path.stat().st_size} bytes)"
    return recording if recording.num_samples > 0 else "audio without a sample"


def write_corpus(
    prefix: str, info: CorpusInfo, parts: Mapping[str, Sequence[Pair]], corpus_dir: Pathlike, output_dir: Pathlike
) -> Manifests:
    """Write manifests and corpus card, each file whole or not at all.

    Args:
        prefix: first part of the file names.
        parts: part -> recordings, sources below `corpus_dir`, each with its supervision.
        corpus_dir: paths are written relative to it.
        output_dir: made if it does not exist.

    Returns:
        {part: {"recordings": RecordingSet, "supervisions": SupervisionSet}} with paths that can be opened.

    Raises:
        ConfigError: the disk refuses (full, read-only, a file of that name).
    """
    manifests: Manifests = {}
    for part, pairs in parts.items():
        recordings = RecordingSet.from_recordings(recording for recording, _ in pairs)
        supervisions = SupervisionSet.from_segments(supervision for _, supervision in pairs)
        validate_recordings_and_supervisions(recordings, supervisions)
        manifests[part] = {"recordings": recordings, "supervisions": supervisions}
    try:
        _write(prefix, info, parts, corpus_dir, Path(output_dir))
    except (OSError, SelfGenError) as error:
        raise ConfigError(
            f"{info.name}: cannot write to {output_dir} ({error}); make room, or choose another."
        ) from error
    return manifests


def _write(
    prefix: str, info: CorpusInfo, parts: Mapping[str, Sequence[Pair]], corpus_dir: Pathlike, output_dir: Path
) -> None:
    output_dir.mkdir(parents=True, exist_ok=True)
    for part, pairs in parts.items():
        target = partial(_target, output_dir, prefix, part)
        _write_lines(target("recordings"), (_relative(recording, corpus_dir) for recording, _ in pairs))
        _write_lines(target("supervisions"), (supervision for _, supervision in pairs))
        _write_lines(target("cuts"), _cuts(pairs, corpus_dir))
    if set(parts) != {ALL}:
        everything = [pair for pairs in parts.values() for pair in pairs]
        _write_lines(_target(output_dir, prefix, ALL, "cuts"), _cuts(everything, corpus_dir))
    write_json(output_dir / f"{prefix}_corpus.json", asdict(info))


def _supervision(clip: Clip, recording: Recording, info: CorpusInfo) -> SupervisionSegment:
    custom = {"domain": info.domain, "split": None if clip.part == ALL else clip.part, **clip.custom}
    return SupervisionSegment(
        id=recording.id,
        recording_id=recording.id,
        start=0.0,
        duration=recording.duration,
        channel=recording.channel_ids[0] if recording.num_channels == 1 else recording.channel_ids,
        text=clip.text,
        language=clip.language,
        speaker=clip.speaker,
        gender=clip.gender,
        custom={name: value for name, value in custom.items() if value is not None},
    )


def _relative(recording: Recording, corpus_dir: Pathlike) -> Recording:
    sources = [
        fastcopy(source, source=Path(source.source).relative_to(corpus_dir).as_posix()) for source in recording.sources
    ]
    return fastcopy(recording, sources=sources)


def _cuts(pairs: Iterable[Pair], corpus_dir: Pathlike) -> CutSet:
    def cut(recording: Recording, supervision: SupervisionSegment) -> MonoCut | MultiCut:
        whole = _relative(recording, corpus_dir).to_cut()
        whole.supervisions = [supervision]
        return whole

    return CutSet.from_cuts(cut(*pair) for pair in pairs)


def _target(output_dir: Path, prefix: str, part: str, kind: str) -> Path:
    return output_dir / f"{prefix}_{kind}_{part}.jsonl.gz"


def _write_lines(path: Path, items: Iterable[Any]) -> None:
    """Write a manifest as Lhotse does, without the time of day that gzip puts into its header, and atomically."""
    with whole_file(path, shared=True) as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        for item in items:
            packed.write(json.dumps(item.to_dict(), ensure_ascii=False).encode("utf-8") + b"\n")
