"""Conversations about one clip in one row: what they share is computed once.

Self-generation gives several prompts to a clip. Such conversations agree up to the prompt (system prompt, audio
features, transcript), so a row holds that prefix once and each rest as a branch behind it. A token of a branch sees the
prefix and its own branch only, at the positions it would have alone: losses and gradients are those of separate rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nemo_desta.rendering import Rendered

__all__ = ["Row", "pack_rows"]


@dataclass
class Row:
    """One row of a batch.

    Attributes:
        input_ids, target_mask: as in Rendered, T long.
        position_ids: T positions; each branch starts anew behind the prefix.
        branch: T numbers, 0 for the prefix (or for all of a lone conversation), 1, 2, ... for the branches.
        audio_positions: first place of each clip; all lie in the prefix.
        clips: index of each clip.
        members: which conversations stand in this row, in order.
    """

    input_ids: list[int]
    target_mask: list[bool]
    position_ids: list[int]
    branch: list[int]
    audio_positions: list[int]
    clips: list[int]
    members: list[int]


def pack_rows(
    rendered: Sequence[Rendered], clip_index: Sequence[Sequence[int]], share_prefixes: bool = False
) -> list[Row]:
    """Rows for conversations; one each, or one for all that speak of the same clips and agree up to behind them.

    A conversation without audio, or with clips behind the point where texts part, keeps a row of its own.
    """
    groups: dict[object, list[int]] = {}
    for number, (item, clips) in enumerate(zip(rendered, clip_index, strict=True)):
        key = (tuple(clips), tuple(item.audio_positions)) if share_prefixes and clips else number
        groups.setdefault(key, []).append(number)
    rows = []
    for members in groups.values():
        items = [rendered[i] for i in members]
        same = _common_prefix(items)
        if len(items) > 1 and items[0].audio_positions[-1] < same:
            rows.append(_shared_row(items, same, list(clip_index[members[0]]), members))
        else:
            rows += [_lone_row(rendered[i], list(clip_index[i]), i) for i in members]
    return rows


def _common_prefix(items: Sequence[Rendered]) -> int:
    """Tokens that all share, less than any context: a branch opens with context, so its targets have a predecessor."""
    limit = min(i.context_length for i in items) - 1
    return next((n for n in range(limit) if len({i.input_ids[n] for i in items}) > 1), limit)


def _lone_row(item: Rendered, clips: list[int], member: int) -> Row:
    length = len(item.input_ids)
    return Row(
        item.input_ids, item.target_mask, list(range(length)), [0] * length, item.audio_positions, clips, [member]
    )


def _shared_row(items: Sequence[Rendered], same: int, clips: list[int], members: list[int]) -> Row:
    first = items[0]
    row = Row(
        first.input_ids[:same], [False] * same, list(range(same)), [0] * same, first.audio_positions, clips, members
    )
    for number, item in enumerate(items, 1):
        length = len(item.input_ids)
        row.input_ids = row.input_ids + item.input_ids[same:]
        row.target_mask = row.target_mask + item.target_mask[same:]
        row.position_ids += range(same, length)
        row.branch += [number] * (length - same)
    return row
