"""Convert SmolLM2-135M-Instruct from GGUF (Q4_1) to a plain Hugging Face folder.

The weights are de-quantised by transformers and saved in float32: a de-quantised value is ``scale * q + minimum``,
which neither float16 nor bfloat16 holds exactly. The tokenizer, its ChatML template included, is the one in the GGUF
file.
"""

from pathlib import Path

from nemo_desta.errors import ModelFetchError

__all__ = ["convert"]

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def convert(raw: Path, out: Path) -> None:
    """Read the GGUF file in ``raw`` and write config, weights, tokenizer and generation config to ``out``.

    Raises:
        ModelFetchError: the ``gguf`` package is missing, or the file cannot be read.
    """
    try:
        import gguf  # noqa: F401  transformers reads GGUF files through it
    except ImportError as error:
        raise ModelFetchError("the package gguf is needed to read SmolLM2's weights: pip install gguf") from error
    import torch

    with torch.random.fork_rng(devices=[]):  # a first call must leave the run's random numbers as a later one does
        _convert_model(raw, out)
    _convert_tokenizer(raw, out)


def _convert_model(raw: Path, out: Path) -> None:
    """Copy the weights into a fresh model: the loaded one refuses to be saved while it counts as quantised."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(raw, gguf_file=_GGUF, dtype=torch.float32)
    settings = loaded.config.to_dict()
    for key in ("quantization_config", "_model_name_or_path", "_name_or_path", "transformers_version"):
        settings.pop(key, None)
    plain = LlamaForCausalLM(LlamaConfig(**settings))
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = GenerationConfig(
        bos_token_id=plain.config.bos_token_id,
        eos_token_id=plain.config.eos_token_id,
        pad_token_id=plain.config.pad_token_id,
        do_sample=False,
    )
    plain.save_pretrained(out)


def _convert_tokenizer(raw: Path, out: Path) -> None:
    """Save the GGUF's tokenizer with the pre-tokenizer that its field ``tokenizer.ggml.pre = smollm`` stands for.

    transformers ignores that field. Without the split at digits, white space before a number is cut differently than
    the model was trained with.
    """
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(raw, gguf_file=_GGUF)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.model_max_length = 8192
    tokenizer.clean_up_tokenization_spaces = False
    tokenizer.save_pretrained(out)
