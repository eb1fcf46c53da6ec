"""The audio of the questions as the model can hear it: files checked, clips beyond its window cut or split, transcripts kept."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from nemo_desta.audio import MAX_DURATION, OVERHANG, load_audio
from nemo_desta.errors import AudioError, RecordError
from nemo_desta.record import resolve_audio

__all__ = ["ClipStore", "LongAudio"]

LongAudio = Literal["cut", "split", "error"]
_log = logging.getLogger(__name__)


class ClipStore:
    """Clips of one data set, each prepared once.

    Args:
        root: folder of the data.
        work: gets the pieces of long clips, and the transcripts.
        long_audio: what becomes of clips beyond the window: "cut" keeps its head, as the official code; "split" makes
            several clips of it, heard one after another; "error" fails the item.
        transcriber: name of the Whisper whose transcripts are kept here.

    Attributes:
        long_clips: names of the clips that were beyond the window.
    """

    def __init__(self, root: Path, work: Path, long_audio: LongAudio = "cut", transcriber: str = "") -> None:
        self.root, self.work, self.long_audio = root, work, long_audio
        self.long_clips: set[str] = set()
        self._pieces: dict[str, tuple[str, ...]] = {}
        self._transcripts = _Transcripts(
            work / f"transcripts-{re.sub('[^A-Za-z0-9.]+', '-', transcriber).strip('-') or 'given'}.jsonl"
        )

    def pieces(self, audio: str) -> tuple[str, ...]:
        """Paths of what the model hears for a clip: the file itself, or its pieces.

        Raises:
            AudioError: missing, no audio, or too long under "error".
            RecordError: the path leaves the root.
        """
        if audio not in self._pieces:
            self._pieces[audio] = tuple(self._prepare(audio))
        return self._pieces[audio]

    def transcripts(
        self, audios: Iterable[str], transcribe: Callable[[np.ndarray], str], progress: Callable[[int], None]
    ) -> None:
        """Fill in the transcripts of clips that have none yet; what cannot be read is left to `pieces` to complain of."""
        for audio in dict.fromkeys(audios):
            try:
                for piece in self.pieces(audio):
                    if piece not in self._transcripts:
                        self._transcripts.add(piece, transcribe(load_audio(Path(piece))))
            except (AudioError, RecordError):
                _log.debug("no transcript of %s", audio, exc_info=True)
            progress(1)

    def transcript(self, piece: str) -> str | None:
        """Of a piece; None: not known."""
        return self._transcripts.get(piece)

    def _prepare(self, audio: str) -> Iterator[str]:
        path = resolve_audio(self.root, audio)
        if not path.is_file():
            raise AudioError(f"{path}: no such file; fetch the benchmark's audio.")
        duration = _duration(path)
        if duration is None or duration < MAX_DURATION + OVERHANG or self.long_audio == "error":
            yield str(path)
            return
        self.long_clips.add(audio)
        samples = load_audio(path, max_duration=duration + 1)
        window = int(MAX_DURATION * 16_000)
        count = 1 if self.long_audio == "cut" else -(-len(samples) // window)
        for number in range(count):
            yield str(self._write(path, number, samples[number * window : (number + 1) * window]))

    def _write(self, path: Path, number: int, samples: np.ndarray) -> Path:
        key = hashlib.blake2b(samples.tobytes(), digest_size=8).hexdigest()
        target = self.work / "windows" / f"{path.stem}_{number}_{key}.wav"
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_suffix(".partial")
            soundfile.write(partial, samples, 16_000, subtype="PCM_16", format="WAV")
            partial.replace(target)
        return target


def _duration(path: Path) -> float | None:
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError):
        return None  # reading it will say what is wrong
    return info.frames / info.samplerate if info.samplerate else None


class _Transcripts:
    """An append-only JSONL of transcripts: content of the clip -> text."""

    def __init__(self, path: Path) -> None:
        self.path, self._known, self._keys = path, {}, {}
        for line in _whole_lines(path):
            self._known[line["sha256"]] = line["text"]

    def _key(self, piece: str) -> str:
        if piece not in self._keys:
            self._keys[piece] = hashlib.sha256(Path(piece).read_bytes()).hexdigest()
        return self._keys[piece]

    def __contains__(self, piece: str) -> bool:
        return self._key(piece) in self._known

    def get(self, piece: str) -> str | None:
        return self._known.get(self._key(piece))

    def add(self, piece: str, text: str) -> None:
        self._known[self._key(piece)] = text
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as out:
            out.write(json.dumps({"sha256": self._key(piece), "text": text}, ensure_ascii=False).encode() + b"\n")


def _whole_lines(path: Path) -> Sequence[dict[str, str]]:
    """The lines of a file that may have been cut off at its end, cut to whole lines."""
    if not path.is_file():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return [json.loads(line) for line in whole.splitlines()]
