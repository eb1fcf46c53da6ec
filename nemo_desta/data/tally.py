"""Counting what the data pipeline leaves out, and stopping when that is too much."""

import logging
from dataclasses import dataclass, field

from nemo_desta.errors import AudioError, RenderError

__all__ = ["Tally"]

_LOG = logging.getLogger(__name__)
_LOGGED_SKIPS = 20
_MIN_SEEN = 100
_MAX_SKIPPED_IN_A_ROW = 10_000


@dataclass
class Tally:
    """Counts of one process: records seen, skipped for their length, and bad because of their audio.

    Every bad record and the first skipped ones are logged with their id; all are counted.

    Attributes:
        max_bad_share: above this share of bad records an AudioError stops the run. At least 100 records are
            taken as seen, so that one bad clip among the first few does not stop a run at the default of 0.01;
            0 stops at the first.
        seen: records rendered or loaded.
        skipped: records left out because they exceed the length limit.
        bad: ids of records left out because a clip could not be read, in order.
    """

    max_bad_share: float = 0.01
    seen: int = 0
    skipped: int = 0
    bad: list[str] = field(default_factory=list)
    _in_a_row: int = 0

    def accept(self) -> None:
        """A record went through."""
        self.seen += 1
        self._in_a_row = 0

    def skip(self, where: str, reason: str) -> None:
        """A record is left out on purpose.

        Raises:
            RenderError: 10,000 records in a row were left out, so the limit cannot be what was meant.
        """
        self.seen += 1
        self.skipped += 1
        self._in_a_row += 1
        if self.skipped <= _LOGGED_SKIPS:
            _LOG.warning("%s: skipped, %s.", where, reason)
        if self.skipped == _LOGGED_SKIPS:
            _LOG.warning("further skipped records are counted only.")
        if self._in_a_row >= _MAX_SKIPPED_IN_A_ROW:
            raise RenderError(
                f"{self._in_a_row} records in a row were skipped, the last one {where}: {reason}; raise max_tokens."
            )

    def reject(self, record_id: str, error: Exception) -> None:
        """A record is left out because its audio cannot be used.

        Raises:
            AudioError: the share of bad records is above `max_bad_share`; the ids are listed.
        """
        self.seen += 1
        self.bad.append(record_id)
        _LOG.warning("record %s left out: %s", record_id, error)
        if len(self.bad) > self.max_bad_share * max(self.seen, _MIN_SEEN):
            shown = ", ".join(self.bad[:20]) + (", ..." if len(self.bad) > 20 else "")
            raise AudioError(
                f"{len(self.bad)} of {self.seen} records have audio that cannot be read, more than max_bad_share="
                f"{self.max_bad_share:g} allows: {shown}. The last: {error} Mend or remove them, or raise data.max_bad_share."
            ) from error

    def summary(self) -> str:
        """One line for logs."""
        return f"{self.seen} records seen, {self.skipped} skipped for their length, {len(self.bad)} with bad audio"
