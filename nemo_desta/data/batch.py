"""The batch contract: rendered conversations and clips to padded tensors."""

from collections.abc import Sequence

import numpy as np
import torch

from nemo_desta.data.packing import pack_rows
from nemo_desta.rendering import Rendered

__all__ = ["collate", "to_device"]


def collate(
    rendered: Sequence[Rendered],
    clips: Sequence[np.ndarray],
    clip_index: Sequence[Sequence[int]],
    ids: Sequence[str],
    pad_id: int,
    share_prefixes: bool = False,
) -> dict:
    """Pad conversations that speak of C distinct clips to B rows.

    Args:
        rendered: the conversations; the longest row has T tokens.
        clips: distinct clips, float32 (num_samples,) at 16 kHz; the longest has N samples.
        clip_index: for each conversation, for each of its clips in order, the index into `clips`.
        ids: names for logs and errors.
        pad_id: fills the left padding of `input_ids`.
        share_prefixes: put conversations about the same clips into one row (see packing.pack_rows).

    Returns:
        input_ids       (B, T) int64, left-padded      audio_signal    (C, N) float32
        attention_mask  (B, T) bool                    audio_len       (C,) int64, samples
        target_mask     (B, T) bool                    audio_position  (A, 2) int64: row, first place in the padded row
        position_ids    (B, T) int64                   audio_index     (A,) int64: clip
        branch          (B, T) int64                   ids             list[str], one per conversation

        `branch` is there only if prefixes are shared: 0 in a prefix, 1, 2, ... in the branches behind it.
    """
    rows = pack_rows(rendered, clip_index, share_prefixes)
    length = max(len(r.input_ids) for r in rows)
    batch: dict = {
        "input_ids": torch.full((len(rows), length), pad_id, dtype=torch.int64),
        "attention_mask": torch.zeros((len(rows), length), dtype=torch.bool),
        "target_mask": torch.zeros((len(rows), length), dtype=torch.bool),
        "position_ids": torch.zeros((len(rows), length), dtype=torch.int64),
    }
    if share_prefixes:
        batch["branch"] = torch.zeros((len(rows), length), dtype=torch.int64)
    positions: list[tuple[int, int]] = []
    for number, row in enumerate(rows):
        pad = length - len(row.input_ids)
        batch["attention_mask"][number, pad:] = True
        for key in batch.keys() - {"attention_mask"}:
            batch[key][number, pad:] = torch.tensor(getattr(row, key))
        positions += [(number, pad + place) for place in row.audio_positions]
    return {
        **batch,
        **_clips(clips),
        "audio_position": torch.tensor(positions, dtype=torch.int64).reshape(-1, 2),
        "audio_index": torch.tensor([clip for row in rows for clip in row.clips], dtype=torch.int64),
        "ids": list(ids),
    }


def _clips(clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    lengths = [len(c) for c in clips]
    signal = torch.zeros((len(clips), max(lengths, default=0)), dtype=torch.float32)
    for number, clip in enumerate(clips):
        signal[number, : len(clip)] = torch.from_numpy(np.ascontiguousarray(clip, dtype=np.float32))
    return {"audio_signal": signal, "audio_len": torch.tensor(lengths, dtype=torch.int64)}


def to_device(batch: dict, device: torch.device | str) -> dict:
    """The batch with its tensors on `device`."""
    return {k: v.to(device) if torch.is_tensor(v) else v for k, v in batch.items()}
