"""Conversations in one row without padding, as a tree of segments: what they share stands there, and is computed, once.

Self-generation gives several prompts to a clip, and all records have one of a few system prompts. So a packed row holds

    constant segments   all before the first clip (system prompt, opening of the user's turn), once for each wording
    trunks              a clip's audio places, its transcript and whatever else its conversations share
    branches            the rest of each conversation: its prompt and its target

A token sees its own segment up to itself and the segments above, at the positions it would have alone: losses and
gradients are those of separate rows. No trainable connector reaches a constant segment, so it needs no gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from nemo_desta.rendering import Rendered

__all__ = ["PackedRow", "pack"]

_NO_PARENT = -1


@dataclass
class PackedRow:
    """One row of T tokens.

    Attributes:
        input_ids, target_mask, position_ids: T long.
        segment_lengths: tokens of each of S segments, in the order of the row.
        segment_parents: number of the segment above each, -1 for none; a parent stands before its children.
        constant_segments: how many of the first segments are constant.
        audio_positions: first place in the row of each audio place.
        clips: index of the clip of each audio place.
    """

    input_ids: list[int] = field(default_factory=list)
    target_mask: list[bool] = field(default_factory=list)
    position_ids: list[int] = field(default_factory=list)
    segment_lengths: list[int] = field(default_factory=list)
    segment_parents: list[int] = field(default_factory=list)
    constant_segments: int = 0
    audio_positions: list[int] = field(default_factory=list)
    clips: list[int] = field(default_factory=list)

    def add(self, item: Rendered, start: int, end: int, parent: int = _NO_PARENT) -> int:
        """Append tokens `start` to `end` of a conversation as a segment; returns its number."""
        self.input_ids += item.input_ids[start:end]
        self.target_mask += item.target_mask[start:end]
        self.position_ids += range(start, end)
        self.segment_lengths.append(end - start)
        self.segment_parents.append(parent)
        return len(self.segment_lengths) - 1

    def add_clips(self, item: Rendered, clips: Sequence[int], start: int) -> None:
        """Note the audio places of a segment that is about to be added and begins with token `start`."""
        self.audio_positions += [len(self.input_ids) + place - start for place in item.audio_positions]
        self.clips += clips


def pack(rendered: Sequence[Rendered], clip_index: Sequence[Sequence[int]]) -> PackedRow:
    """Put conversations into one row.

    Args:
        rendered: the conversations.
        clip_index: for each conversation, for each of its clips in order, a number that is equal for equal clips.
    """
    row = PackedRow()
    roots = {head: row.add(item, 0, len(head)) for head, item in _heads(rendered).items() if head}
    row.constant_segments = len(roots)
    for members in _families(rendered, clip_index):
        items = [rendered[i] for i in members]
        head, clips = _head(items[0]), clip_index[members[0]]
        root, start = roots.get(head, _NO_PARENT), len(head)
        same = _common_prefix(items) if len(items) > 1 else 0
        row.add_clips(items[0], clips, start)
        if len(items) > 1:
            root, start = row.add(items[0], start, same, root), same
        for item in items:
            row.add(item, start, len(item.input_ids), root)
    return row


def _head(item: Rendered) -> tuple[int, ...]:
    """What stands before the first clip; nothing for a conversation without one."""
    return tuple(item.input_ids[: item.audio_positions[0]]) if item.audio_positions else ()


def _heads(rendered: Sequence[Rendered]) -> dict[tuple[int, ...], Rendered]:
    return {_head(item): item for item in rendered}


def _families(rendered: Sequence[Rendered], clip_index: Sequence[Sequence[int]]) -> list[list[int]]:
    """Numbers of the conversations that share a trunk: the same clips at the same places behind the same words."""
    families: dict[object, list[int]] = {}
    for number, (item, clips) in enumerate(zip(rendered, clip_index, strict=True)):
        key = (_head(item), tuple(clips), tuple(item.audio_positions)) if clips else number
        families.setdefault(key, []).append(number)
    return [part for members in families.values() for part in _parted(rendered, members)]


def _parted(rendered: Sequence[Rendered], members: list[int]) -> list[list[int]]:
    """One family if its common beginning holds all audio places, else each member alone."""
    items = [rendered[i] for i in members]
    whole = len(items) == 1 or items[0].audio_end <= _common_prefix(items)
    return [members] if whole else [[i] for i in members]


def _common_prefix(items: Sequence[Rendered]) -> int:
    """Tokens that all share, less than any context: a branch opens with context, so its targets have a predecessor."""
    limit = min(i.context_length for i in items) - 1
    return next((n for n in range(limit) if len({i.input_ids[n] for i in items}) > 1), limit)
