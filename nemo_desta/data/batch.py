"""The batch contract: rendered conversations and clips to padded tensors."""

from collections.abc import Sequence

import numpy as np
import torch

from nemo_desta.rendering import Rendered

__all__ = ["collate", "to_device"]


def collate(
    rendered: Sequence[Rendered],
    clips: Sequence[np.ndarray],
    clip_index: Sequence[Sequence[int]],
    ids: Sequence[str],
    pad_id: int,
) -> dict:
    """Pad B conversations that speak of C distinct clips.

    Args:
        rendered: the conversations; the longest has T tokens.
        clips: distinct clips, float32 (num_samples,) at 16 kHz; the longest has N samples.
        clip_index: for each conversation, for each of its clips in order, the index into `clips`.
        ids: names for logs and errors.
        pad_id: fills the left padding of `input_ids`.

    Returns:
        input_ids       (B, T) int64, left-padded      audio_signal    (C, N) float32
        attention_mask  (B, T) bool                    audio_len       (C,) int64, samples
        target_mask     (B, T) bool                    audio_position  (A, 2) int64: row, first place in the padded row
        ids             list[str]                      audio_index     (A,) int64: clip
    """
    length = max(len(r.input_ids) for r in rendered)
    batch, lengths = len(rendered), [len(c) for c in clips]
    input_ids = torch.full((batch, length), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros((batch, length), dtype=torch.bool)
    target_mask = torch.zeros((batch, length), dtype=torch.bool)
    positions: list[tuple[int, int]] = []
    for row, item in enumerate(rendered):
        pad = length - len(item.input_ids)
        input_ids[row, pad:] = torch.tensor(item.input_ids)
        attention_mask[row, pad:] = True
        target_mask[row, pad:] = torch.tensor(item.target_mask)
        positions += [(row, pad + place) for place in item.audio_positions]
    audio_signal = torch.zeros((len(clips), max(lengths, default=0)), dtype=torch.float32)
    for row, clip in enumerate(clips):
        audio_signal[row, : len(clip)] = torch.from_numpy(np.ascontiguousarray(clip, dtype=np.float32))
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "target_mask": target_mask,
        "audio_signal": audio_signal,
        "audio_len": torch.tensor(lengths, dtype=torch.int64),
        "audio_position": torch.tensor(positions, dtype=torch.int64).reshape(-1, 2),
        "audio_index": torch.tensor([i for index in clip_index for i in index], dtype=torch.int64),
        "ids": list(ids),
    }


def to_device(batch: dict, device: torch.device | str) -> dict:
    """The batch with its tensors on `device`."""
    return {k: v.to(device) if torch.is_tensor(v) else v for k, v in batch.items()}
