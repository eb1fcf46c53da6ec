"""Clips for the page, within bounds: how many, how long, how many bytes in all; each once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import soundfile

from nemo_desta.errors import RecordError
from nemo_desta.record import resolve_audio
from nemo_desta.view.sound import Shown, show_clip

__all__ = ["Sounds"]

MOST_CLIPS = 60
_MOST_BYTES, _MOST_SECONDS = 8_000_000, 120.0


class Sounds:
    """Reads clips until the bounds are reached.

    Args:
        roots: by benchmark; a benchmark without one has no clips.
        most: clips.
        most_bytes: of the page that they may take.
    """

    def __init__(self, roots: Mapping[str, Path], most: int = MOST_CLIPS, most_bytes: int = _MOST_BYTES) -> None:
        self.roots, self.most, self.most_bytes = roots, most, most_bytes
        self._shown: dict[tuple[str, str], str] = {}
        self._bytes = 0
        self._most_now, self._bytes_now = most, most_bytes

    def share(self, sections: int) -> None:
        """From now on, leave clips and bytes for all but the first of this many sections."""
        self._most_now = len(self._shown) + (self.most - len(self._shown)) // sections
        self._bytes_now = self._bytes + (self.most_bytes - self._bytes) // sections

    def clips(
        self, benchmark: str, audios: str | Sequence[object], anchor: str
    ) -> tuple[tuple[Shown, ...], dict[str, str]]:
        """What can be shown of an answer's clips.

        Args:
            audios: paths relative to the benchmark's root.
            anchor: of the answer.

        Returns:
            the clips (those with a `problem` too), and path -> anchor for those that another answer shows.
        """
        clips, heard_at = [], {}
        for audio in [audios] if isinstance(audios, str) else map(str, audios):
            before = self._shown.get((benchmark, audio))
            if before is not None:
                heard_at[audio] = before
                continue
            clip = self._clip(benchmark, audio)
            if not clip.problem:
                self._shown[benchmark, audio] = anchor
            clips.append(clip)
        return tuple(clips), heard_at

    def _clip(self, benchmark: str, audio: str) -> Shown:
        root = self.roots.get(benchmark)
        if root is None:
            return Shown(audio, None, "no folder of the audio was given (--audio-root)")
        problem = _unfit(root, audio)
        if problem:
            return Shown(audio, None, problem)
        if len(self._shown) >= self._most_now or self._bytes >= self._bytes_now:
            return Shown(audio, None, f"{audio}: not embedded, the page has as many clips as it may")
        clip = show_clip(root, audio, None)
        size = len(clip.sound) + len(clip.picture)
        if self._bytes + size > self._bytes_now:
            return Shown(audio, None, f"{audio}: not embedded, it would make the page too large")
        self._bytes += size
        return (
            clip
            if not clip.problem
            else Shown(audio, None, f"{audio}: {clip.problem.replace(str(root), '').lstrip('/')}")
        )


def _unfit(root: Path, audio: str) -> str:
    try:
        seconds = soundfile.info(resolve_audio(root, audio)).duration
    except RecordError as err:
        return str(err)
    except (OSError, RuntimeError):
        return ""  # show_clip tells what is wrong
    return f"{audio}: not embedded, it lasts {seconds:.0f} s" if seconds > _MOST_SECONDS else ""
