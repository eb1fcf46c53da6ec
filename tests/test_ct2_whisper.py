"""The CTranslate2 reader and the mapping to Whisper: right on a small file, loud on a damaged one."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_desta._ct2_reader import read_model_bin
from nemo_desta._ct2_whisper import to_state_dict
from nemo_desta.errors import ModelFetchError

WIDTH, MELS, FFN, VOCAB = 4, 3, 8, 11


def layer(name, out, into):
    return {f"{name}/weight": (out, into), f"{name}/bias": (out,)}


def norm(name):
    return {f"{name}/gamma": (WIDTH,), f"{name}/beta": (WIDTH,)}


def whisper_shapes():
    shapes = {"decoder/embeddings/weight": (VOCAB, WIDTH)}
    shapes |= {"encoder/conv1/weight": (WIDTH, MELS, 3), "encoder/conv1/bias": (WIDTH,)}
    shapes |= {"encoder/conv2/weight": (WIDTH, WIDTH, 3), "encoder/conv2/bias": (WIDTH,)}
    for side in ("encoder", "decoder"):
        root = f"{side}/layer_0"
        shapes |= {f"{side}/position_encodings/encodings": (5, WIDTH)} | norm(f"{side}/layer_norm")
        shapes |= norm(f"{root}/self_attention/layer_norm") | norm(f"{root}/ffn/layer_norm")
        shapes |= layer(f"{root}/self_attention/linear_0", 3 * WIDTH, WIDTH)
        shapes |= layer(f"{root}/self_attention/linear_1", WIDTH, WIDTH)
        shapes |= layer(f"{root}/ffn/linear_0", FFN, WIDTH) | layer(f"{root}/ffn/linear_1", WIDTH, FFN)
    shapes |= norm("decoder/layer_0/attention/layer_norm")
    for i, out in enumerate((WIDTH, 2 * WIDTH, WIDTH)):
        shapes |= layer(f"decoder/layer_0/attention/linear_{i}", out, WIDTH)
    return shapes


def whisper_arrays():
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape).astype(np.float16) for name, shape in whisper_shapes().items()}
    for side in ("encoder", "decoder"):
        arrays[f"{side}/layer_0/self_attention/linear_0/bias"][WIDTH : 2 * WIDTH] = 0
    arrays["decoder/layer_0/attention/linear_1/bias"][:WIDTH] = 0
    settings = {"activation": 3, "alibi": 0, "alignment_layer": -1, "alignment_heads": 1, "num_heads": 2}
    settings |= {"pre_norm": 1, "scale_embeddings": 0, "start_from_zero_embedding": 0}
    arrays |= {f"decoder/{name}": np.array(value, np.int8) for name, value in settings.items()}
    return arrays | {"encoder/num_heads": np.array(2, np.int16)}


def text(name):
    return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"


def write_bin(
    arrays, version=6, spec="WhisperSpec", aliases=(("decoder/projection/weight", "decoder/embeddings/weight"),)
):
    numbers = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
    parts = [struct.pack("<I", version), text(spec), struct.pack("<II", 3, len(arrays))]
    for name, array in arrays.items():
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        parts += [text(name), shape, struct.pack("<BI", numbers[array.dtype.name], array.nbytes), array.tobytes()]
    parts += [struct.pack("<I", len(aliases))] + [text(name) for pair in aliases for name in pair]
    return b"".join(parts)


WHOLE = write_bin(whisper_arrays())


def test_arrays_come_back_as_written():
    arrays = read_model_bin(WHOLE)
    for name, array in whisper_arrays().items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert arrays["decoder/projection/weight"] is arrays["decoder/embeddings/weight"]


def test_state_dict_fits_whisper_and_keeps_query_key_value_apart():
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    arrays = read_model_bin(WHOLE)
    state = to_state_dict(arrays)
    stacked = arrays["encoder/layer_0/self_attention/linear_0/weight"]
    for i, part in enumerate("qkv"):
        name = f"model.encoder.layers.0.self_attn.{part}_proj.weight"
        np.testing.assert_array_equal(state[name], stacked[i * WIDTH : (i + 1) * WIDTH])
    crossed = arrays["decoder/layer_0/attention/linear_1/weight"]
    np.testing.assert_array_equal(state["model.decoder.layers.0.encoder_attn.v_proj.weight"], crossed[WIDTH:])
    config = WhisperConfig(
        vocab_size=VOCAB, num_mel_bins=MELS, d_model=WIDTH, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=FFN,
        decoder_ffn_dim=FFN, encoder_attention_heads=2, decoder_attention_heads=2, max_source_positions=5,
        max_target_positions=5, pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=0,
    )  # fmt: skip
    expected = {
        name: tuple(value.shape) for name, value in WhisperForConditionalGeneration(config).state_dict().items()
    }
    assert {name: array.shape for name, array in state.items()} == expected


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_anywhere_is_refused_with_the_offset(length):
    with pytest.raises(ModelFetchError, match=r"model\.bin: .* at byte \d+"):
        read_model_bin(WHOLE[:length])


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_never_escapes_as_another_error(position, flip):
    damaged = bytearray(WHOLE)
    damaged[position] ^= flip
    with contextlib.suppress(ModelFetchError):  # a change within the numbers themselves is the hash's business
        to_state_dict(read_model_bin(bytes(damaged)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (WHOLE + b"\0", "1 bytes too many"),
        (write_bin(whisper_arrays(), version=5), "binary version 5 is not 6"),
        (write_bin(whisper_arrays(), spec="TransformerSpec"), "'TransformerSpec' is not 'WhisperSpec'"),
        (write_bin(whisper_arrays(), aliases=(("a", "b"),)), "alias 'a' of 'b'"),
        (write_bin({"x": np.zeros((1, 1, 1, 1), np.int8)}), "rank 4"),
    ],
)
def test_files_of_another_kind_are_named(data, message):
    with pytest.raises(ModelFetchError, match=message):
        read_model_bin(data)


def test_missing_left_over_and_foreign_arrays_are_named():
    arrays = read_model_bin(WHOLE)
    with pytest.raises(ModelFetchError, match="'encoder/conv1/bias' is missing"):
        to_state_dict({name: array for name, array in arrays.items() if name != "encoder/conv1/bias"})
    with pytest.raises(ModelFetchError, match="no known use: encoder/extra"):
        to_state_dict(arrays | {"encoder/extra": np.zeros(1)})
    with pytest.raises(ModelFetchError, match="pre_norm is 0"):
        to_state_dict(arrays | {"decoder/pre_norm": np.array(0)})
    biased = np.ones_like(arrays["encoder/layer_0/self_attention/linear_0/bias"])
    with pytest.raises(ModelFetchError, match="key bias"):
        to_state_dict(arrays | {"encoder/layer_0/self_attention/linear_0/bias": biased})
