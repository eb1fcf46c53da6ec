"""A training step as the official implementation does it, for comparison: plain, padded, eager.

Written for this benchmark from the description of the official code: every clip of every sample is padded to 30 s and
encoded on its own, through the whole encoder; the Q-Former runs once a tapped layer; attention is eager everywhere;
the batch is padded on the left; the vocabulary's logits are computed at every position and cast to float32; the loss
ignores -100. Weights are those of a DeSTAModel, so that the losses are the same.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu
from transformers import WhisperFeatureExtractor

from benchmarks.phases import Phases
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.rendering import Rendered

__all__ = ["Reference"]


@dataclass
class Padded:
    """A batch: ids, mask and labels (B, T); mel (A, bins, 3000), a row for every clip of every sample; their places."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    mel: Tensor
    places: list[tuple[int, int]]


class Reference(nn.Module):
    """The plain path.

    Args:
        model: its frozen weights are used where they are, its connector is copied.
        phases: times the parts.
    """

    def __init__(self, model: DeSTAModel, phases: Phases) -> None:
        super().__init__()
        self.phases = phases
        self.llm, self.encoder = model.base_llm, model.perception.encoder.whisper
        self.taps = model.perception.encoder.tapped_layers
        self.connector = deepcopy(model.perception.connector)
        self.connector.qformer.config._attn_implementation = "eager"
        self.pad = model.renderer.eos_id
        self.extract = WhisperFeatureExtractor(feature_size=self.encoder.config.num_mel_bins)

    def attend_eagerly(self) -> None:
        """The frozen models are shared with the other path, which attends in another way."""
        self.llm.set_attn_implementation("eager")
        self.encoder.set_attn_implementation("eager")

    def prepare(self, rendered: Sequence[Rendered], clips: Sequence[Sequence[np.ndarray]]) -> Padded:
        """Pad to the longest; log-mel features of every clip of every sample, as in the official dataset."""
        length = max(len(r.input_ids) for r in rendered)
        ids = torch.full((len(rendered), length), self.pad)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        places = []
        for row, item in enumerate(rendered):
            pad, own = length - len(item.input_ids), torch.tensor(item.input_ids)
            ids[row, pad:], mask[row, pad:] = own, 1
            labels[row, pad:] = torch.where(torch.tensor(item.target_mask), own, -100)
            places += [(row, pad + place) for place in item.audio_positions]
        device = self.connector.layer_weights.device
        with self.phases("mel"):
            waves = [wave for of_sample in clips for wave in of_sample]
            mel = self.extract(waves, sampling_rate=16_000, return_tensors="pt").input_features
        return Padded(ids.to(device), mask.to(device), labels.to(device), mel.to(device), places)

    def forward(self, batch: Padded) -> Tensor:
        """Mean cross-entropy over the target tokens."""
        features = self.phases.watch_gradient(self.perceive(batch.mel))
        embeds = self.llm.get_input_embeddings()(batch.input_ids).clone()
        for feature, (row, place) in zip(features, batch.places, strict=True):
            embeds[row, place : place + len(feature)] = feature.to(embeds.dtype)
        with self.phases("llm_forward"):
            logits = self.llm(inputs_embeds=embeds, attention_mask=batch.attention_mask, use_cache=False).logits
        with self.phases("llm_backward"):  # logits and loss are counted with it
            logits = logits.float()[:, :-1].reshape(-1, logits.shape[-1])
            return cross_entropy(logits, batch.labels[:, 1:].reshape(-1), ignore_index=-100)

    def perceive(self, mel: Tensor) -> Tensor:
        """Mel features (A, bins, 3000) to audio features (A, Q, H)."""
        encoder, connector = self.encoder, self.connector
        with self.phases("encoder"), torch.no_grad():
            hidden = gelu(encoder.conv1(mel.to(encoder.conv1.weight.dtype)))
            hidden = gelu(encoder.conv2(hidden)).transpose(1, 2) + encoder.embed_positions.weight
        fused = []
        for number, layer in enumerate(encoder.layers):
            with self.phases("encoder"), torch.no_grad():
                hidden = layer(hidden, None)
            if number in self.taps:
                with self.phases("qformer"):
                    fused.append(self._query(hidden, self.taps.index(number)))
        with self.phases("encoder"), torch.no_grad():
            encoder.layer_norm(hidden)
        with self.phases("qformer"):
            weights = connector.layer_weights.softmax(dim=-1)[None, :, :, None]  # (1, Q, L, 1)
            return connector.proj((torch.stack(fused, dim=2) * weights.to(fused[0].dtype)).sum(2))

    def _query(self, states: Tensor, tap: int) -> Tensor:
        """States (A, 1500, D) of one tapped layer through the Q-Former: (A, Q, D)."""
        queries = self.connector.layer_prompts[tap].expand(len(states), -1, -1)
        states = states.to(queries.dtype)
        return self.connector.qformer(queries, encoder_hidden_states=states).last_hidden_state
