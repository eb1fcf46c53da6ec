"""Where the samples of a clip are: a file, or a member of a tar shard. Loaded only when a batch is built."""

import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from nemo_desta.audio import MAX_DURATION, load_audio
from nemo_desta.errors import AudioError

__all__ = ["Clip"]


@dataclass(frozen=True)
class Clip:
    """Address of one clip; equal clips are equal objects, so a batch loads and encodes each once.

    Attributes:
        path: the audio file, or the tar shard that holds it.
        member: name inside the shard; empty for a plain file.
        offset: first byte of the member's data in the shard.
        size: bytes of the member.
    """

    path: str
    member: str = ""
    offset: int = 0
    size: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else self.path

    def load(self, max_duration: float = MAX_DURATION) -> np.ndarray:
        """Samples, float32 (num_samples,), 16 kHz mono.

        Raises:
            AudioError: missing, empty, undecodable, not finite, or longer than `max_duration` seconds.
        """
        if not self.member:
            return load_audio(self.path, max_duration)
        with tempfile.TemporaryDirectory() as folder:
            copy = self.as_file(Path(folder))
            try:
                return load_audio(copy, max_duration)
            except AudioError as err:
                raise AudioError(str(err).replace(str(copy), str(self))) from err

    def as_file(self, folder: Path) -> Path:
        """A file with the clip: the file itself, or the member unpacked into `folder`.

        Raises:
            AudioError: the shard cannot be read.
        """
        if not self.member:
            return Path(self.path)
        out = folder / PurePosixPath(self.member)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(self.read_bytes())
        return out

    def read_bytes(self) -> bytes:
        """The encoded bytes of the clip.

        Raises:
            AudioError: the file or the shard cannot be read, or ends too early.
        """
        try:
            with Path(self.path).open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.size if self.member else -1)
        except OSError as err:
            raise AudioError(f"{self}: cannot be read ({err}).") from err
        if self.member and len(data) != self.size:
            raise AudioError(f"{self}: the shard ends after {len(data)} of {self.size} bytes; copy it again.")
        return data
