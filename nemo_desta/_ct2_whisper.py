"""Convert an English-only Whisper from CTranslate2's ``model.bin`` to a plain Hugging Face folder.

The file is a list of named arrays (CTranslate2 ``model_spec.py``, binary version 6): u32 version; name of the
specification; u32 revision; u32 count; per array its name, u8 rank, u32 dimensions, u8 type, u32 bytes, data; then u32
count of aliases, each two names. Names are u16-length-prefixed and end in NUL; all is little-endian.

The arrays are float16, as in OpenAI's release, and are stored as float16 again, bit for bit, at half the size. The
configuration says float32, so ``from_pretrained`` loads float32 by default.
"""

import json
import math
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_desta.errors import ModelFetchError

if TYPE_CHECKING:
    import numpy as np
    from transformers import WhisperConfig

__all__ = ["convert", "read_model_bin", "to_state_dict"]

_DTYPES = ("float32", "int8", "int16", "int32", "float16")  # by CTranslate2's type number
_SETTINGS = {  # facts about the network rather than weights; those with a value must have it
    "decoder/activation": None,
    "decoder/alibi": 0,
    "decoder/alignment_heads": None,
    "decoder/alignment_layer": None,
    "decoder/num_heads": None,
    "decoder/pre_norm": 1,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
    "encoder/num_heads": None,
}
_SPECIALS = {"eos": 50256, "sot": 50257, "prev": 50360, "no_timestamps": 50362}  # OpenAI's English-only vocabulary


class _Cursor:
    """Bounds-checked reading position in a byte string."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where, self.offset = data, where, 0

    def error(self, problem: str) -> ModelFetchError:
        return ModelFetchError(f"{self.where}: {problem} at byte {self.offset}; the file is damaged, fetch it again")

    def take(self, count: int, what: str) -> bytes:
        left = len(self.data) - self.offset
        if count > left:
            raise self.error(f"{what} needs {count} bytes, {left} are left")
        self.offset += count
        return self.data[self.offset - count : self.offset]

    def unpack(self, fmt: str, what: str) -> tuple[int, ...]:
        return struct.unpack("<" + fmt, self.take(struct.calcsize("<" + fmt), what))

    def number(self, fmt: str, what: str) -> int:
        return self.unpack(fmt, what)[0]

    def string(self, what: str) -> str:
        text = self.take(self.number("H", f"length of {what}"), what)
        if not text.endswith(b"\0") or not text[:-1].isascii():
            raise self.error(f"{what} is not an ASCII string ending in NUL")
        return text[:-1].decode("ascii")


def read_model_bin(data: bytes, where: str = "model.bin") -> dict[str, "np.ndarray"]:
    """Read every array of a CTranslate2 Whisper file; aliases point to the same array.

    Raises:
        ModelFetchError: not such a file, or damaged; the message names the byte offset.
    """
    cursor = _Cursor(data, where)
    if (version := cursor.number("I", "version")) != 6:
        raise cursor.error(f"binary version {version} is not 6")
    if (spec := cursor.string("specification")) != "WhisperSpec":
        raise cursor.error(f"specification {spec!r} is not 'WhisperSpec'")
    cursor.number("I", "revision")
    arrays: dict[str, np.ndarray] = {}
    for _ in range(cursor.number("I", "count of arrays")):
        name, array = _read_array(cursor)
        if name in arrays:
            raise cursor.error(f"array {name!r} appears twice")
        arrays[name] = array
    for _ in range(cursor.number("I", "count of aliases")):
        alias, name = cursor.string("alias"), cursor.string("name behind an alias")
        if name not in arrays or alias in arrays:
            raise cursor.error(f"alias {alias!r} of {name!r} does not fit the arrays")
        arrays[alias] = arrays[name]
    if cursor.offset != len(data):
        raise cursor.error(f"{len(data) - cursor.offset} bytes too many")
    return arrays


def _read_array(cursor: _Cursor) -> tuple[str, "np.ndarray"]:
    import numpy as np

    name = cursor.string("name of an array")
    shape = cursor.unpack(f"{cursor.number('B', f'rank of {name}')}I", f"dimensions of {name}")
    kind, size = cursor.unpack("BI", f"type and size of {name}")
    if kind >= len(_DTYPES):
        raise cursor.error(f"{name} has unknown type {kind}")
    dtype = np.dtype(_DTYPES[kind]).newbyteorder("<")
    if size != math.prod(shape) * dtype.itemsize:
        raise cursor.error(f"{name} has {size} bytes for {shape} of {dtype.name}")
    return name, np.frombuffer(cursor.take(size, f"data of {name}"), dtype).reshape(shape)


def to_state_dict(arrays: dict[str, "np.ndarray"]) -> dict[str, "np.ndarray"]:
    """Rename and split CTranslate2's arrays into the state dict of ``WhisperForConditionalGeneration``.

    CTranslate2 stacks query, key and value of self attention, and key and value of cross attention, along the output
    dimension. Whisper's keys have no bias: theirs must be zero and is dropped.

    Raises:
        ModelFetchError: an array is missing, left over, or means another network than Whisper.
    """
    left = dict(arrays)
    state: dict[str, np.ndarray] = {}

    def pop(name: str) -> "np.ndarray":
        if name not in left:
            raise ModelFetchError(f"model.bin: array {name!r} is missing; the file is not a Whisper model")
        return left.pop(name)

    def move(source: str, target: str, parts: tuple[str, ...] = ("",), bias: bool = True) -> None:
        """Move weight (and bias) of one layer, split evenly over the named parts."""
        pieces = (("weight", "bias") if bias else ("weight",))
        for piece in pieces:
            array = pop(f"{source}/{piece}")
            if array.shape[0] % len(parts):
                raise ModelFetchError(f"model.bin: {source}/{piece} of shape {array.shape} cannot be split {len(parts)} ways")
            step = array.shape[0] // len(parts)
            for i, part in enumerate(parts):
                chunk = array[i * step : (i + 1) * step]
                if piece == "bias" and part == "k_proj":
                    if chunk.any():
                        raise ModelFetchError(f"model.bin: {source} has a key bias; Whisper has none")
                    continue
                state[f"{target}{part}.{piece}"] = chunk

    def norm(source: str, target: str) -> None:
        state[f"{target}.weight"], state[f"{target}.bias"] = pop(f"{source}/gamma"), pop(f"{source}/beta")

    for name, value in _SETTINGS.items():
        found = pop(name)
        if value is not None and found.item() != value:
            raise ModelFetchError(f"model.bin: {name} is {found.item()}, Whisper has {value}")
    move("encoder/conv1", "model.encoder.conv1")
    move("encoder/conv2", "model.encoder.conv2")
    move("decoder/embeddings", "model.decoder.embed_tokens", bias=False)
    move("decoder/projection", "proj_out", bias=False)
    for side in ("encoder", "decoder"):
        root = f"model.{side}"
        state[f"{root}.embed_positions.weight"] = pop(f"{side}/position_encodings/encodings")
        norm(f"{side}/layer_norm", f"{root}.layer_norm")
        for i in range(_count_layers(arrays, side)):
            source, target = f"{side}/layer_{i}", f"{root}.layers.{i}"
            norm(f"{source}/self_attention/layer_norm", f"{target}.self_attn_layer_norm")
            move(f"{source}/self_attention/linear_0", f"{target}.self_attn.", ("q_proj", "k_proj", "v_proj"))
            move(f"{source}/self_attention/linear_1", f"{target}.self_attn.out_proj")
            if side == "decoder":
                norm(f"{source}/attention/layer_norm", f"{target}.encoder_attn_layer_norm")
                move(f"{source}/attention/linear_0", f"{target}.encoder_attn.q_proj")
                move(f"{source}/attention/linear_1", f"{target}.encoder_attn.", ("k_proj", "v_proj"))
                move(f"{source}/attention/linear_2", f"{target}.encoder_attn.out_proj")
            norm(f"{source}/ffn/layer_norm", f"{target}.final_layer_norm")
            move(f"{source}/ffn/linear_0", f"{target}.fc1")
            move(f"{source}/ffn/linear_1", f"{target}.fc2")
    if left:
        raise ModelFetchError(f"model.bin: arrays of no known use: {', '.join(sorted(left)[:5])}")
    return state


def _count_layers(arrays: dict[str, "np.ndarray"], side: str) -> int:
    prefix = f"{side}/layer_"
    return len({name.split("/")[1] for name in arrays if name.startswith(prefix) and name[len(prefix)].isdigit()})


def convert(raw: Path, out: Path) -> None:
    """Read ``model.bin``, ``config.json`` and ``tokenizer.json`` in ``raw``; write the Hugging Face folder ``out``.

    Raises:
        ModelFetchError: a file is damaged or does not fit the others.
    """
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    arrays = read_model_bin((raw / "model.bin").read_bytes())
    state = {name: torch.from_numpy(array.copy()) for name, array in to_state_dict(arrays).items()}
    config = _model_config(arrays)
    with torch.random.fork_rng(devices=[]):  # a first call must leave the run's random numbers as a later one does
        model = WhisperForConditionalGeneration(config).half()
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ModelFetchError(f"model.bin: the arrays do not make a Whisper model: {error}") from error
    model.generation_config = _generation_config(json.loads((raw / "config.json").read_text(encoding="utf-8")))
    model.save_pretrained(out)
    model.config.dtype = torch.float32
    model.config.save_pretrained(out)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(out)
    _save_tokenizer(raw, out)


def _model_config(arrays: dict[str, "np.ndarray"]) -> "WhisperConfig":
    """Read the shape of the network off its arrays."""
    from transformers import WhisperConfig

    heads = int(arrays["encoder/num_heads"].item())
    width, mels = arrays["encoder/conv1/weight"].shape[:2]
    ffn = arrays["encoder/layer_0/ffn/linear_0/weight"].shape[0]
    return WhisperConfig(
        vocab_size=arrays["decoder/embeddings/weight"].shape[0],
        num_mel_bins=mels,
        d_model=width,
        encoder_layers=_count_layers(arrays, "encoder"),
        decoder_layers=_count_layers(arrays, "decoder"),
        encoder_attention_heads=heads,
        decoder_attention_heads=int(arrays["decoder/num_heads"].item()),
        encoder_ffn_dim=ffn,
        decoder_ffn_dim=ffn,
        max_source_positions=arrays["encoder/position_encodings/encodings"].shape[0],
        max_target_positions=arrays["decoder/position_encodings/encodings"].shape[0],
        bos_token_id=_SPECIALS["sot"],
        eos_token_id=_SPECIALS["eos"],
        pad_token_id=_SPECIALS["eos"],
        decoder_start_token_id=_SPECIALS["sot"],
    )


def _generation_config(settings: dict) -> object:
    """Greedy transcription of English; the prompt is <|startoftranscript|><|notimestamps|>."""
    from transformers import GenerationConfig

    return GenerationConfig(
        is_multilingual=False,
        decoder_start_token_id=_SPECIALS["sot"],
        bos_token_id=_SPECIALS["sot"],
        eos_token_id=_SPECIALS["eos"],
        pad_token_id=_SPECIALS["eos"],
        no_timestamps_token_id=_SPECIALS["no_timestamps"],
        prev_sot_token_id=_SPECIALS["prev"],
        return_timestamps=False,
        max_initial_timestamp_index=50,
        max_length=448,
        suppress_tokens=settings["suppress_ids"],
        begin_suppress_tokens=settings["suppress_ids_begin"],
        alignment_heads=settings["alignment_heads"],
    )


def _save_tokenizer(raw: Path, out: Path) -> None:
    """Save the byte-level BPE as a folder for ``WhisperTokenizer``.

    The control tokens are declared special: ``WhisperTokenizer`` takes the id after the last special one for the first
    timestamp.
    """
    from transformers import WhisperTokenizer

    shutil.copyfile(raw / "tokenizer.json", out / "tokenizer.json")
    added = json.loads((raw / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    control = [token["content"] for token in sorted(added, key=lambda token: token["id"]) if token["special"]]
    tokenizer = WhisperTokenizer.from_pretrained(out, pad_token=control[0], extra_special_tokens=control)
    tokenizer.save_pretrained(out)
