"""Read CTranslate2's ``model.bin``: a list of named arrays (``model_spec.py`` there, binary version 6).

u32 version; name of the specification; u32 revision; u32 count; per array its name, u8 rank, u32 dimensions, u8 type,
u32 bytes, data; then u32 count of aliases, each two names. Names are u16-length-prefixed and end in NUL; all is
little-endian. Nothing in the file is trusted: each length is checked before it is used.
"""

import math
import struct
from typing import TYPE_CHECKING

from nemo_desta.errors import ModelFetchError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["read_model_bin"]

_DTYPES = ("float32", "int8", "int16", "int32", "float16")  # by CTranslate2's type number


class _Cursor:
    """Bounds-checked reading position in a byte string."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where, self.offset = data, where, 0

    def error(self, problem: str) -> ModelFetchError:
        return ModelFetchError(f"{self.where}: {problem} at byte {self.offset}; the file is damaged, fetch it again")

    def take(self, count: int, what: str) -> bytes:
        left = len(self.data) - self.offset
        if count > left:
            raise self.error(f"{what} needs {count} bytes, {left} are left")
        self.offset += count
        return self.data[self.offset - count : self.offset]

    def unpack(self, fmt: str, what: str) -> tuple[int, ...]:
        return struct.unpack("<" + fmt, self.take(struct.calcsize("<" + fmt), what))

    def number(self, fmt: str, what: str) -> int:
        return self.unpack(fmt, what)[0]

    def string(self, what: str) -> str:
        text = self.take(self.number("H", f"length of {what}"), what)
        if not text.endswith(b"\0") or not text[:-1].isascii():
            raise self.error(f"{what} is not an ASCII string ending in NUL")
        return text[:-1].decode("ascii")


def read_model_bin(data: bytes, where: str = "model.bin") -> dict[str, "np.ndarray"]:
    """Read every array of a CTranslate2 Whisper file; aliases point to the same array.

    Raises:
        ModelFetchError: not such a file, or damaged; the message names the byte offset.
    """
    cursor = _Cursor(data, where)
    if (version := cursor.number("I", "version")) != 6:
        raise cursor.error(f"binary version {version} is not 6")
    if (spec := cursor.string("specification")) != "WhisperSpec":
        raise cursor.error(f"specification {spec!r} is not 'WhisperSpec'")
    cursor.number("I", "revision")
    arrays: dict[str, np.ndarray] = {}
    for _ in range(cursor.number("I", "count of arrays")):
        name, array = _read_array(cursor)
        if name in arrays:
            raise cursor.error(f"array {name!r} appears twice")
        arrays[name] = array
    for _ in range(cursor.number("I", "count of aliases")):
        alias, name = cursor.string("alias"), cursor.string("name behind an alias")
        if name not in arrays or alias in arrays:
            raise cursor.error(f"alias {alias!r} of {name!r} does not fit the arrays")
        arrays[alias] = arrays[name]
    if cursor.offset != len(data):
        raise cursor.error(f"{len(data) - cursor.offset} bytes too many")
    return arrays


def _read_array(cursor: _Cursor) -> tuple[str, "np.ndarray"]:
    import numpy as np

    name = cursor.string("name of an array")
    rank = cursor.number("B", f"rank of {name}")
    if rank > 3:
        raise cursor.error(f"{name} has rank {rank}, Whisper has none above 3")
    shape = cursor.unpack(f"{rank}I", f"dimensions of {name}")
    kind, size = cursor.unpack("BI", f"type and size of {name}")
    if kind >= len(_DTYPES):
        raise cursor.error(f"{name} has unknown type {kind}")
    dtype = np.dtype(_DTYPES[kind]).newbyteorder("<")
    if size != math.prod(shape) * dtype.itemsize:
        raise cursor.error(f"{name} has {size} bytes for {shape} of {dtype.name}")
    return name, np.frombuffer(cursor.take(size, f"data of {name}"), dtype).reshape(shape)
