"""What a run of self-generation did."""

from dataclasses import dataclass, field

from nemo_desta.schema import suggest

__all__ = ["Summary"]


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        total: rows asked for; ok + filtered + failed equals it.
        reasons: why rows were filtered or failed, with counts.
        unknown_fields: metadata fields that the seed mapping does not know, with counts.
        seconds: of this process (a resumed run counts its own part); new_rows and new_tokens likewise.
        path: the finished records.
        unused_fields: those of a mapping of the user's own that no cut has; told by a run that made all its rows.
        finished: whether duplicates are set apart and report and card are written; never true of a single shard.
    """

    total: int
    ok: int
    filtered: int
    failed: int
    reasons: dict[str, int]
    unknown_fields: dict[str, int]
    seconds: float
    new_rows: int
    new_tokens: int
    path: str
    unused_fields: list[str] = field(default_factory=list)
    finished: bool = False

    def __str__(self) -> str:
        rate = (
            f", {self.new_rows / self.seconds:.1f} rows/s and {self.new_tokens / self.seconds:.0f} tokens/s"
            if self.new_rows
            else ""
        )
        lines = [
            f"{self.path}: {self.ok} ok + {self.filtered} filtered + {self.failed} failed = {self.total} rows asked for",
            f"this run: {self.new_rows} rows in {self.seconds:.0f} s{rate}",
        ]
        lines += [
            f"  {count:6d}  {reason}" for reason, count in sorted(self.reasons.items(), key=lambda x: (-x[1], x[0]))
        ]
        if self.unknown_fields:
            lines.append(f"fields the seed mapping does not know (left out): {', '.join(sorted(self.unknown_fields))}")
        if self.unused_fields:
            hints = [f"{name}{suggest(name, self.unknown_fields)}" for name in self.unused_fields]
            lines.append(f"fields of the seed mapping that no cut has: {', '.join(hints)}")
        return "\n".join(lines)
