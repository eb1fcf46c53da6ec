"""The frozen encoder's tapped states on disk, for small corpora and many epochs.

Worth it where the encoder is slow and the disk is not: on a CPU, or with few clips. States of a 30 s window are large (9 MB for
Whisper tiny in float32, 15 MB for large-v3 in bfloat16); on a fast GPU computing them takes no longer than reading them.

One safetensors file a clip, named by a hash of the samples and of all that the states depend on. Files appear whole, so
any number of processes may share the folder; the least recently used ones go when it grows beyond its limit.
"""

import fcntl
import hashlib
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nemo_desta.modules.whisper import TappedWhisperEncoder

__all__ = ["StateCache"]

_LOG = logging.getLogger(__name__)
_GB = 10**9
_STATES, _CHECKSUM = "states", "crc32"
_ROOM = 0.9
"""Eviction goes on until so much of the limit is used, so that it is not called for every file."""
_SCANS = 64
"""The folder is looked over whenever a process has written one part in so many of the limit."""
_STALE_SECONDS = 3600
"""Unfinished files older than this were left by a process that was killed."""


class StateCache:
    """Gives a tapped encoder's states, from disk where they are.

    Clips that are not there are encoded one by one: so their states depend on the clip alone, and what is read later is
    what was computed, bit for bit. On CPUs an encoder gives a clip the same bits alone and in a batch; on GPUs, where
    kernels are chosen by shape, a run with the cache may round differently from one without.

    A file that cannot be read, or whose checksum is wrong, is counted, logged, removed and computed again. When the disk
    refuses, training goes on without new files.

    Args:
        folder: made if need be; may be shared by processes, runs and models.
        max_gb: limit of the files in the folder, 10^9 bytes. Passed by up to a 64th part for each process that writes.
        mark: gives the fingerprint of the encoder's weights; asked when the first clip comes.

    Attributes:
        hits, misses, damaged: clips found, computed, and found damaged (these are misses, too).
    """

    def __init__(self, folder: str | os.PathLike[str], max_gb: float, mark: Callable[[], str]) -> None:
        self.folder, self.limit, self.mark = Path(folder), int(max_gb * _GB), mark
        self.hits = self.misses = self.damaged = 0
        self._unscanned = self.limit  # so that the first write looks at what is there
        self._writes = True

    def __call__(self, encoder: TappedWhisperEncoder, audio_signal: Tensor, audio_len: Tensor) -> Tensor:
        """As `encoder(audio_signal, audio_len)`: tapped states (C, L, 1500, D) in the encoder's dtype."""
        context = self._context(encoder, audio_signal.device.type)
        states = []
        for signal, length in zip(audio_signal, audio_len.tolist(), strict=True):
            path = self._path(signal[:length], context)
            found = self._read(path)
            if found is None:
                self.misses += 1
                found = encoder(signal[None, :length], torch.tensor([length], device=signal.device))[0]
                self._write(path, found)
            else:
                self.hits += 1
            states.append(found.to(audio_signal.device))
            self._tell()
        return torch.stack(states)

    def summary(self) -> str:
        """One line for logs."""
        return f"{self.hits} clips from the encoder cache, {self.misses} computed, {self.damaged} damaged files removed"

    def _context(self, encoder: TappedWhisperEncoder, device: str) -> str:
        """All but the samples that the states depend on."""
        weights = encoder.whisper.conv1.weight.dtype
        computed = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weights
        return f"{self.mark()} {encoder.tapped_layers} {weights} {computed} {device}"

    def _path(self, samples: Tensor, context: str) -> Path:
        digest = hashlib.sha256(context.encode())
        digest.update(samples.detach().float().contiguous().cpu().numpy())
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"

    def _read(self, path: Path) -> Tensor | None:
        try:
            with safe_open(path, "pt") as file:
                states, checksum = file.get_tensor(_STATES), (file.metadata() or {}).get(_CHECKSUM)
            if checksum != _checksum(states):
                raise ValueError("its checksum is wrong")
            os.utime(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, SafetensorError) as err:
            self.damaged += 1
            _LOG.warning("%s: damaged, removed and computed again (%s).", path, err)
            with suppress(OSError):
                path.unlink()
            return None
        return states

    def _write(self, path: Path, states: Tensor) -> None:
        if not self._writes:
            return
        data = save({_STATES: states.cpu().contiguous()}, {_CHECKSUM: _checksum(states)})
        temporary = path.with_name(f".{path.stem}.{uuid4().hex}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            os.replace(temporary, path)
            self._unscanned += len(data)
            if self._unscanned >= self.limit / _SCANS:
                self._unscanned = 0
                self._evict()
        except OSError as err:
            self._writes = False
            _LOG.warning("%s: the encoder cache cannot be written (%s); training goes on without.", self.folder, err)
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _evict(self) -> None:
        """Remove the least recently used files if there is too much; one process at a time does it."""
        with _alone(self.folder) as alone:
            if not alone:
                return
            files = sorted(self._files())
            total, removed = sum(size for _, size, _ in files), 0
            if total <= self.limit:
                return
            for _, size, path in files:
                if total <= self.limit * _ROOM:
                    break
                with suppress(FileNotFoundError):
                    path.unlink()
                total, removed = total - size, removed + 1
        _LOG.info("%s: %d files removed, %.2f GB are left. %s.", self.folder, removed, total / _GB, self.summary())

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """When last used, size and path of each file; what killed processes left unfinished is removed."""
        for folder in self.folder.iterdir():
            for path in folder.iterdir() if folder.is_dir() else ():
                with suppress(FileNotFoundError):
                    about = path.stat()
                    if path.suffix == ".safetensors":
                        yield about.st_mtime, about.st_size, path
                    elif time.time() - about.st_mtime > _STALE_SECONDS:
                        path.unlink()

    def _tell(self) -> None:
        """A log line after 100, 1,000, 10,000, ... clips."""
        count = str(self.hits + self.misses)
        if len(count) > 2 and count == "1".ljust(len(count), "0"):
            _LOG.info("%s.", self.summary())


def _checksum(states: Tensor) -> str:
    return str(zlib.crc32(states.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()))


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether no other process is within this block for this folder."""
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
