"""The batch contract: rendered conversations and clips to padded tensors."""

from collections.abc import Sequence

import numpy as np
import torch

from nemo_desta.data.packing import pack
from nemo_desta.rendering import Rendered

__all__ = ["collate", "to_device"]


def collate(
    rendered: Sequence[Rendered],
    clips: Sequence[np.ndarray],
    clip_index: Sequence[Sequence[int]],
    ids: Sequence[str],
    pad_id: int,
    packed: bool = False,
) -> dict:
    """Conversations that speak of C distinct clips: B left-padded rows, or one packed row without padding.

    Args:
        rendered: the conversations; the longest row has T tokens.
        clips: distinct clips, float32 (num_samples,) at 16 kHz; the longest has N samples.
        clip_index: for each conversation, for each of its clips in order, the index into `clips`.
        ids: names for logs and errors.
        pad_id: fills the left padding of `input_ids`.
        packed: put all conversations into one row (B = 1) of T tokens, see packing.pack.

    Returns:
        input_ids       (B, T) int64                   audio_signal    (C, N) float32
        attention_mask  (B, T) bool                    audio_len       (C,) int64, samples
        target_mask     (B, T) bool                    audio_position  (A, 2) int64: row, first place in the row
        position_ids    (B, T) int64                   audio_index     (A,) int64: clip
        ids             list[str], one per conversation

        and in a packed batch, as plain Python for they steer the computation: segment_lengths, segment_parents
        (list[int], S segments) and constant_segments (int), see PackedRow.
    """
    rows = _packed(rendered, clip_index) if packed else _padded(rendered, clip_index, pad_id)
    return {**rows, **_clips(clips), "ids": list(ids)}


def _packed(rendered: Sequence[Rendered], clip_index: Sequence[Sequence[int]]) -> dict:
    row = pack(rendered, clip_index)
    return {
        "input_ids": torch.tensor([row.input_ids]),
        "attention_mask": torch.ones((1, len(row.input_ids)), dtype=torch.bool),
        "target_mask": torch.tensor([row.target_mask]),
        "position_ids": torch.tensor([row.position_ids]),
        "audio_position": _places([(0, place) for place in row.audio_positions]),
        "audio_index": torch.tensor(row.clips, dtype=torch.int64),
        "segment_lengths": row.segment_lengths,
        "segment_parents": row.segment_parents,
        "constant_segments": row.constant_segments,
    }


def _padded(rendered: Sequence[Rendered], clip_index: Sequence[Sequence[int]], pad_id: int) -> dict:
    length = max(len(r.input_ids) for r in rendered)
    shape = (len(rendered), length)
    batch = {
        "input_ids": torch.full(shape, pad_id, dtype=torch.int64),
        "attention_mask": torch.zeros(shape, dtype=torch.bool),
        "target_mask": torch.zeros(shape, dtype=torch.bool),
        "position_ids": torch.zeros(shape, dtype=torch.int64),
    }
    places: list[tuple[int, int]] = []
    for number, item in enumerate(rendered):
        pad = length - len(item.input_ids)
        batch["input_ids"][number, pad:] = torch.tensor(item.input_ids)
        batch["attention_mask"][number, pad:] = True
        batch["target_mask"][number, pad:] = torch.tensor(item.target_mask)
        batch["position_ids"][number, pad:] = torch.arange(len(item.input_ids))
        places += [(number, pad + place) for place in item.audio_positions]
    index = torch.tensor([clip for clips in clip_index for clip in clips], dtype=torch.int64)
    return {**batch, "audio_position": _places(places), "audio_index": index}


def _places(places: list[tuple[int, int]]) -> torch.Tensor:
    return torch.tensor(places, dtype=torch.int64).reshape(-1, 2)


def _clips(clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    lengths = [len(c) for c in clips]
    signal = torch.zeros((len(clips), max(lengths, default=0)), dtype=torch.float32)
    for number, clip in enumerate(clips):
        signal[number, : len(clip)] = torch.from_numpy(np.ascontiguousarray(clip, dtype=np.float32))
    return {"audio_signal": signal, "audio_len": torch.tensor(lengths, dtype=torch.int64)}


def to_device(batch: dict, device: torch.device | str) -> dict:
    """The batch with its tensors on `device`."""
    return {k: v.to(device) if torch.is_tensor(v) else v for k, v in batch.items()}
