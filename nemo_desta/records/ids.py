"""Which ids of millions of rows stand before: 8 bytes a row in place of the ids themselves."""

from array import array
from hashlib import blake2b

import numpy as np

__all__ = ["IdHashes"]


class IdHashes:
    """64-bit hashes of ids, in the order of their rows.

    Two different ids fall together with a probability of about 1 in a million over 5 million rows; nothing worse comes
    of it than a unique id counted as a repeated one.
    """

    def __init__(self) -> None:
        self._hashes = array("Q")

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, row_id: str) -> None:
        """Note the id of the next row."""
        digest = blake2b(row_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self._hashes.append(int.from_bytes(digest, "big"))

    def repeated(self) -> int:
        """Rows whose id an earlier row has."""
        return len(self) - len(np.unique(np.frombuffer(self._hashes, dtype=np.uint64)))

    def occurrences(self) -> np.ndarray:
        """For each row, how many earlier rows have its id: int32 (num_rows,)."""
        hashes = np.frombuffer(self._hashes, dtype=np.uint64)
        order = np.argsort(hashes, kind="stable")
        ranked = hashes[order]
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if len(ranked) else np.zeros(0, np.int64)
        lengths = np.diff(np.r_[starts, len(ranked)])
        out = np.empty(len(ranked), np.int32)
        out[order] = np.arange(len(ranked)) - np.repeat(starts, lengths)
        return out
