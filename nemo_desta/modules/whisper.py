"""Whisper's ears: log-mel features and an encoder whose inner layers are tapped.

Mirrors what the official code takes (desta/models/modeling_desta25.py): outputs of chosen encoder layers, before the
encoder's final layer norm, on windows padded to 30 s. Layers above the last tapped one never run.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from nemo_desta.errors import ConfigError

__all__ = ["LogMel", "TappedWhisperEncoder", "default_tapped_layers"]


def default_tapped_layers(num_layers: int) -> list[int]:
    """The last layer of every quarter, counted from 0: [7, 15, 23, 31] of 32, as in the paper.

    Raises:
        ConfigError: fewer than four layers.
    """
    if num_layers < 4:
        raise ConfigError(f"an encoder of {num_layers} layers has no quarters; set tapped_layers explicitly.")
    return [num_layers * (i + 1) // 4 - 1 for i in range(4)]


class LogMel:
    """Waveforms to Whisper's log-mel features, on the waveform's own device, always in float32.

    Same numbers as transformers' WhisperFeatureExtractor, batched. Holds no buffers, so that a half-precision
    trainer cannot round its filters.
    """

    def __init__(self, num_mel_bins: int) -> None:
        reference = WhisperFeatureExtractor(feature_size=num_mel_bins)
        self.n_fft, self.hop_length = reference.n_fft, reference.hop_length
        self.n_samples: int = reference.n_samples
        self.filters = torch.from_numpy(reference.mel_filters).T.float().contiguous()

    def __call__(self, audio_signal: Tensor, audio_len: Tensor) -> Tensor:
        """(C, N) float32 and (C,) samples to (C, num_mel_bins, 3000) float32. What lies past a clip's length is ignored.

        Raises:
            ConfigError: N exceeds the 30 s window.
        """
        clips, length = audio_signal.shape
        if length > self.n_samples:
            raise ConfigError(
                f"clips of {length} samples exceed Whisper's window of {self.n_samples}; split them first."
            )
        audio = audio_signal.new_zeros((clips, self.n_samples), dtype=torch.float32)
        inside = torch.arange(length, device=audio.device) < audio_len[:, None]
        audio[:, :length] = audio_signal.float() * inside
        with torch.autocast(audio.device.type, enabled=False):
            window = torch.hann_window(self.n_fft, device=audio.device)
            stft = torch.stft(audio, self.n_fft, self.hop_length, window=window, return_complex=True)
            power = stft[..., :-1].abs().square().contiguous()  # (C, bins, 3000)
            log = (self.filters.to(audio.device) @ power).clamp(min=1e-10).log10()
        floor = log.amax(dim=(1, 2), keepdim=True) - 8.0
        return (torch.maximum(log, floor) + 4.0) / 4.0


class TappedWhisperEncoder(nn.Module):
    """A frozen Whisper encoder that gives the states of some of its layers.

    Args:
        encoder: transformers' WhisperEncoder of any size.
        tapped_layers: 0-based layers; None takes the last of every quarter.

    Raises:
        ConfigError: a tapped layer does not exist, or layers are not ascending.
    """

    def __init__(self, encoder: WhisperEncoder, tapped_layers: Sequence[int] | None = None) -> None:
        super().__init__()
        depth = len(encoder.layers)
        taps = default_tapped_layers(depth) if tapped_layers is None else list(tapped_layers)
        if not taps or taps != sorted(set(taps)) or taps[0] < 0 or taps[-1] >= depth:
            raise ConfigError(f"tapped_layers {taps} must ascend within 0..{depth - 1} for this encoder.")
        self.whisper = encoder.requires_grad_(False).eval()
        self.tapped_layers = taps
        self.log_mel = LogMel(encoder.config.num_mel_bins)

    @property
    def hidden_size(self) -> int:
        return self.whisper.config.d_model

    @torch.no_grad()
    def forward(self, audio_signal: Tensor, audio_len: Tensor) -> Tensor:
        """(C, N) float32 at 16 kHz and (C,) samples to tapped states (C, L, 1500, D) in the encoder's dtype."""
        whisper = self.whisper
        mel = self.log_mel(audio_signal, audio_len).to(whisper.conv1.weight.dtype)
        hidden = nn.functional.gelu(whisper.conv1(mel))
        hidden = nn.functional.gelu(whisper.conv2(hidden)).transpose(1, 2)  # (C, 1500, D)
        hidden = hidden + whisper.embed_positions.weight
        states = []
        for number, layer in enumerate(whisper.layers[: self.tapped_layers[-1] + 1]):
            hidden = layer(hidden, None)
            if number in self.tapped_layers:
                states.append(hidden)
        return torch.stack(states, dim=1)
