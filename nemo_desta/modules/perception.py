"""Perception: waveforms to audio features in the LLM's space."""

from torch import Tensor, nn

from nemo_desta.modules.cache import StateCache
from nemo_desta.modules.qformer import QFormerConnector
from nemo_desta.modules.whisper import TappedWhisperEncoder

__all__ = ["Perception"]


class Perception(nn.Module):
    """A frozen, tapped encoder and a trainable connector.

    Args:
        encoder: gives tapped states (C, L, S, D).
        connector: turns them into features (C, Q, H).
        cache: where the encoder's states are looked for first.
    """

    def __init__(
        self, encoder: TappedWhisperEncoder, connector: QFormerConnector, cache: StateCache | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.connector = connector
        self.cache = cache

    def forward(self, audio_signal: Tensor, audio_len: Tensor) -> Tensor:
        """(C, N) float32 at 16 kHz and (C,) samples to (C, Q, H)."""
        if self.cache is None:
            return self.connector(self.encoder(audio_signal, audio_len))
        return self.connector(self.cache(self.encoder, audio_signal, audio_len))
