"""Which rows there are: cuts read lazily, their names made unique, each with its records still without response."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

from nemo_desta.errors import SelfGenError
from nemo_desta.selfgen.manifests import Unreadable, cut_ids, read_cuts
from nemo_desta.selfgen.prompts import stable_hash

__all__ = ["CutSource", "audio_path", "find_audio"]

_EDGE = 0.01  # seconds by which a cut may miss its recording's end, rounding of durations


class CutSource:
    """The cuts of one or more manifests, each under a unique name, however often they are iterated.

    A cut's name is its id. Where ids repeat (several corpora, stems that occur in many folders), every one of them
    is named `<id>@<hash of its audio path and span>`, so names depend on no order.

    Args:
        paths: cut manifests, recording manifests (their supervisions lie beside them, named in Lhotse's way:
            `x_recordings_train.jsonl.gz`, `x_supervisions_train.jsonl.gz`), or Shar folders.

    Attributes:
        names: of all cuts, in order; about 100 bytes each.
        fingerprint: of the names, in order.

    Raises:
        SelfGenError: a path is missing or no such manifest, the input is empty, or holds the same cut twice.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        self.paths = [Path(p) for p in paths]
        if not self.paths:
            raise SelfGenError("no input; give at least one manifest of cuts.")
        ids: list[str] = []
        self._starts: list[int] = []  # of each path, in the order of all cuts
        for path in self.paths:
            self._starts.append(len(ids))
            ids += cut_ids(path)
        if not ids:
            raise SelfGenError(f"{', '.join(map(str, self.paths))}: no cuts in it.")
        self._repeated = _repeats(ids)
        self.names = ids if not self._repeated else [name for name, _ in self]
        twice = _repeats(self.names) if self._repeated else set()
        if twice:
            name = next(n for n in self.names if n in twice)
            raise SelfGenError(
                f"the cut {name!r} stands more than once in the input, same audio and span; take one out."
            )
        digest = hashlib.blake2b(digest_size=16)
        for name in self.names:
            digest.update(name.encode("utf-8", "surrogatepass") + b"\0")
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """(unique name, cut), in input order."""
        return self.part(0, None)

    def part(self, start: int, stop: int | None) -> Iterator[tuple[str, Any]]:
        """The same from the cut number `start` to before `stop`; in manifests of cuts, those before are not parsed."""
        cuts = chain.from_iterable(
            read_cuts(path, max(start - first, 0))
            for path, first, end in zip(self.paths, self._starts, [*self._starts[1:], None], strict=True)
            if end is None or start < end
        )
        for cut in islice(cuts, None if stop is None else stop - start):
            yield (self._long_name(cut) if cut.id in self._repeated else cut.id), cut

    @staticmethod
    def _long_name(cut: Any) -> str:
        if isinstance(cut, Unreadable):  # there is no telling what its audio is
            return f"{cut.id}@{stable_hash(cut.problem):016x}"
        recording = getattr(cut, "recording", None)
        audio = recording.sources[0].source if recording is not None and recording.sources else ""
        return f"{cut.id}@{stable_hash(str(audio), round(getattr(cut, 'start', 0.0), 3), round(cut.duration, 3)):016x}"


def audio_path(cut: Any, root: str | os.PathLike[str]) -> str:
    """Path of a cut's audio file relative to the data root (an absolute path), with forward slashes.

    Raises:
        SelfGenError: the cut is not one whole, unchanged audio file, or the file is missing or outside the root.
    """
    recording = getattr(cut, "recording", None)
    if recording is None or len(recording.sources) != 1 or recording.sources[0].type != "file":
        raise SelfGenError("its audio is not one file; write the audio first (CutSet.save_audios)")
    if abs(cut.start) > _EDGE or abs(cut.duration - recording.duration) > _EDGE:
        raise SelfGenError("it is a part of its recording; write the parts as files first (CutSet.save_audios)")
    if any(_name_of(t) != "Resample" for t in recording.transforms or ()):
        raise SelfGenError("its recording is changed on the fly; write the audio first (CutSet.save_audios)")
    base = os.fspath(root).rstrip(os.sep)
    return find_audio(recording.sources[0].source, base)[len(base) + 1 :].replace(os.sep, "/")


def find_audio(source: str, root: str) -> str:
    """The file that a manifest speaks of, below the root: as it stands if absolute, else relative to the root or, in
    manifests made here, to the working directory.

    Args:
        source: of the recording.
        root: absolute path.

    Raises:
        SelfGenError: no such file, or it is outside the root.
    """
    tried = [os.path.abspath(p) for p in ((source,) if os.path.isabs(source) else (os.path.join(root, source), source))]
    file = next((p for p in tried if os.path.isfile(p)), None)
    if file is None:
        raise SelfGenError(f"no audio file at {' or '.join(tried)}; give audio_root=<folder of the audio>")
    if not file.startswith(root.rstrip(os.sep) + os.sep):
        raise SelfGenError(f"{file} is outside the data root {root}; give audio_root=<a folder above all audio>")
    return file


def _name_of(transform: Any) -> str:
    return transform.get("name", "") if isinstance(transform, dict) else type(transform).__name__


def _repeats(names: list[str]) -> set[str]:
    return {a for a, b in pairwise(sorted(names)) if a == b}
