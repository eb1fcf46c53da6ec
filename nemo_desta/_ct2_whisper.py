"""Convert an English-only Whisper from CTranslate2's ``model.bin`` to a plain Hugging Face folder.

The arrays are float16, as in OpenAI's release, and are stored as float16 again, bit for bit, at half the size. The
configuration says float32, so ``from_pretrained`` loads float32 by default.
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_desta._ct2_reader import read_model_bin
from nemo_desta.errors import ModelFetchError

if TYPE_CHECKING:
    import numpy as np
    from transformers import WhisperConfig

__all__ = ["convert", "to_state_dict"]

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


def to_state_dict(arrays: dict[str, "np.ndarray"]) -> dict[str, "np.ndarray"]:
    """Rename and split CTranslate2's arrays into the state dict of ``WhisperForConditionalGeneration``.

    CTranslate2 stacks query, key and value of self attention, and key and value of cross attention, along the output
    dimension. Whisper's keys have no bias: theirs must be zero and is dropped.

    Raises:
        ModelFetchError: an array is missing, left over, or means another network than Whisper.
    """
    mover = _Mover(arrays)
    for name, value in _SETTINGS.items():
        mover.check(name, value)
    mover.move("encoder/conv1", "model.encoder.conv1")
    mover.move("encoder/conv2", "model.encoder.conv2")
    mover.move("decoder/embeddings", "model.decoder.embed_tokens", bias=False)
    mover.move("decoder/projection", "proj_out", bias=False)
    for side in ("encoder", "decoder"):
        mover.state[f"model.{side}.embed_positions.weight"] = mover.pop(f"{side}/position_encodings/encodings")
        mover.norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        for i in range(_count_layers(arrays, side)):
            _move_layer(mover, f"{side}/layer_{i}", f"model.{side}.layers.{i}", cross=side == "decoder")
    if mover.left:
        raise ModelFetchError(f"model.bin: arrays of no known use: {', '.join(sorted(mover.left)[:5])}")
    return mover.state


def _move_layer(mover: "_Mover", source: str, target: str, cross: bool) -> None:
    mover.norm(f"{source}/self_attention/layer_norm", f"{target}.self_attn_layer_norm")
    mover.move(f"{source}/self_attention/linear_0", f"{target}.self_attn.", ("q_proj", "k_proj", "v_proj"))
    mover.move(f"{source}/self_attention/linear_1", f"{target}.self_attn.out_proj")
    if cross:
        mover.norm(f"{source}/attention/layer_norm", f"{target}.encoder_attn_layer_norm")
        mover.move(f"{source}/attention/linear_0", f"{target}.encoder_attn.q_proj")
        mover.move(f"{source}/attention/linear_1", f"{target}.encoder_attn.", ("k_proj", "v_proj"))
        mover.move(f"{source}/attention/linear_2", f"{target}.encoder_attn.out_proj")
    mover.norm(f"{source}/ffn/layer_norm", f"{target}.final_layer_norm")
    mover.move(f"{source}/ffn/linear_0", f"{target}.fc1")
    mover.move(f"{source}/ffn/linear_1", f"{target}.fc2")


class _Mover:
    """Arrays not yet used (``left``) and the state dict made of the others (``state``)."""

    def __init__(self, arrays: dict[str, "np.ndarray"]) -> None:
        self.left = dict(arrays)
        self.state: dict[str, np.ndarray] = {}

    def pop(self, name: str) -> "np.ndarray":
        if name not in self.left:
            raise ModelFetchError(f"model.bin: array {name!r} is missing; the file is not a Whisper model")
        return self.left.pop(name)

    def check(self, name: str, value: int | None) -> None:
        """Use up a setting; where ``value`` is given it must be that."""
        found = self.pop(name)
        if value is not None and found.tolist() != value:
            raise ModelFetchError(f"model.bin: {name} is {found.tolist()}, Whisper has {value}")

    def norm(self, source: str, target: str) -> None:
        self.state[f"{target}.weight"] = self.pop(f"{source}/gamma")
        self.state[f"{target}.bias"] = self.pop(f"{source}/beta")

    def move(self, source: str, target: str, parts: tuple[str, ...] = ("",), bias: bool = True) -> None:
        """Move weight (and bias) of one layer, split evenly over the named parts."""
        self._split(self.pop(f"{source}/weight"), source, target, parts, "weight")
        if bias:
            self._split(self.pop(f"{source}/bias"), source, target, parts, "bias")

    def _split(self, array: "np.ndarray", source: str, target: str, parts: tuple[str, ...], piece: str) -> None:
        step, rest = divmod(array.shape[0] if array.ndim else 0, len(parts))
        if rest:
            raise ModelFetchError(f"model.bin: {source}/{piece} of {array.shape} does not split into {len(parts)}")
        for i, part in enumerate(parts):
            chunk = array[i * step : (i + 1) * step]
            if (part, piece) != ("k_proj", "bias"):
                self.state[f"{target}{part}.{piece}"] = chunk
            elif chunk.any():
                raise ModelFetchError(f"model.bin: {source} has a key bias; Whisper has none")


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
