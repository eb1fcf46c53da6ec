"""The encoder: Whisper's own features, the official taps, and no layer run for nothing."""

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from nemo_desta.errors import ConfigError
from nemo_desta.modules.whisper import LogMel, TappedWhisperEncoder, default_tapped_layers

LENGTHS = [1, 399, 16_000, 16_001, 123_456, 480_000]


def clips():
    rng = np.random.default_rng(0)
    out = [rng.normal(0, 0.1, n).astype(np.float32) for n in LENGTHS]
    return [*out, np.zeros(8_000, np.float32)]


def padded(arrays, filler=0.0):
    signal = torch.full((len(arrays), max(map(len, arrays))), filler)
    for row, array in enumerate(arrays):
        signal[row, : len(array)] = torch.from_numpy(array)
    return signal, torch.tensor([len(a) for a in arrays])


@pytest.mark.parametrize("bins", [80, 128])
def test_features_are_whispers_own_for_any_length(bins):
    arrays = clips()
    expected = WhisperFeatureExtractor(feature_size=bins)(
        arrays, sampling_rate=16_000, return_tensors="pt"
    ).input_features
    ours = LogMel(bins)(*padded(arrays))
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=0)


def test_what_lies_past_a_clips_length_is_ignored():
    arrays = [np.ones(100, np.float32), np.zeros(500, np.float32)]
    mel = LogMel(80)
    torch.testing.assert_close(mel(*padded(arrays, filler=7.0)), mel(*padded(arrays)), atol=0, rtol=0)


def test_features_stay_float32_under_autocast():
    signal, length = padded([np.random.default_rng(0).normal(0, 0.1, 4_000).astype(np.float32)])
    plain = LogMel(80)(signal, length)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(LogMel(80)(signal, length), plain, atol=0, rtol=0)


def test_more_than_the_window_is_refused():
    with pytest.raises(ConfigError, match=r"480001 samples exceed Whisper's window of 480000"):
        LogMel(80)(torch.zeros(1, 480_001), torch.tensor([480_001]))


def encoder(layers, bins=80):
    torch.manual_seed(layers)
    config = WhisperConfig(
        num_mel_bins=bins, d_model=8, encoder_layers=layers, encoder_attention_heads=2, encoder_ffn_dim=16, init_std=0.5
    )
    return WhisperEncoder(config)


@pytest.mark.parametrize(
    ("size", "layers", "taps"),
    [
        ("tiny", 4, [0, 1, 2, 3]),
        ("base", 6, [0, 2, 3, 5]),
        ("small", 12, [2, 5, 8, 11]),
        ("medium", 24, [5, 11, 17, 23]),
        ("large-v3 and turbo", 32, [7, 15, 23, 31]),
    ],
)
def test_default_taps_are_the_official_ones(size, layers, taps):
    assert default_tapped_layers(layers) == taps


@pytest.mark.parametrize(("layers", "bins"), [(4, 80), (6, 80), (12, 80), (24, 80), (32, 128)])
def test_tapped_states_are_the_outputs_of_the_layers(layers, bins):
    """Taken from transformers' own forward pass by hooks, before the final layer norm."""
    whisper = encoder(layers, bins)
    tapped = TappedWhisperEncoder(whisper)
    signal, length = padded([np.random.default_rng(n).normal(0, 0.1, n).astype(np.float32) for n in (4_000, 9_000)])
    ours = tapped(signal, length)
    seen = {}
    for number, layer in enumerate(whisper.layers):
        layer.register_forward_hook(
            lambda _, __, out, n=number: seen.__setitem__(n, out[0] if isinstance(out, tuple) else out)
        )
    with torch.no_grad():
        whisper(LogMel(bins)(signal, length))
    expected = torch.stack([seen[n] for n in default_tapped_layers(layers)], 1)
    assert ours.shape == (2, 4, 1500, 8)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("taps", [[0], [1, 3]])
def test_layers_above_the_last_tap_never_run(taps):
    whisper = encoder(6)
    calls = []
    for number, layer in enumerate(whisper.layers):
        layer.register_forward_hook(lambda *_, n=number: calls.append(n))
    out = TappedWhisperEncoder(whisper, taps)(torch.zeros(1, 1_000), torch.tensor([1_000]))
    assert calls == list(range(taps[-1] + 1))
    assert out.shape[1] == len(taps)


def test_the_encoder_is_frozen():
    tapped = TappedWhisperEncoder(encoder(4))
    assert not any(p.requires_grad for p in tapped.parameters())
    assert not tapped(torch.zeros(1, 100, requires_grad=True), torch.tensor([100])).requires_grad


@pytest.mark.parametrize("taps", [[], [3, 1], [1, 1], [-1], [4]])
def test_impossible_taps_are_refused(taps):
    with pytest.raises(ConfigError, match=r"must ascend within 0\.\.3"):
        TappedWhisperEncoder(encoder(4), taps)


def test_an_encoder_without_quarters_needs_explicit_taps():
    with pytest.raises(ConfigError, match="set tapped_layers"):
        TappedWhisperEncoder(encoder(2))
    assert TappedWhisperEncoder(encoder(2), [1]).tapped_layers == [1]
