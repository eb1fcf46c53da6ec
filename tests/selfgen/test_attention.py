"""Decoding by groups gives what transformers' own attention gives, without copying keys and values."""

from types import SimpleNamespace

import pytest
import torch
import transformers.integrations.sdpa_attention as sdpa
from transformers import AutoModelForCausalLM, LlamaConfig

from nemo_desta.selfgen.backends.attention import NAME, _attend, use_grouped_decoding


def tiny(groups: int, **options) -> torch.nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=groups
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, **options).eval()


def logits(model: torch.nn.Module) -> torch.Tensor:
    """Those of three tokens one at a time after left-padded prompts, (3, B, V)."""
    ids = torch.arange(21).reshape(3, 7) + 1
    mask = torch.ones_like(ids)
    mask[1, :3], mask[2, :5] = 0, 0
    out, cache = [], None
    with torch.inference_mode():
        for step in range(4):
            made = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True)
            out.append(made.logits[:, -1])
            cache, ids = made.past_key_values, torch.full((3, 1), 30 + step)
            mask = torch.cat([mask, mask.new_ones(3, 1)], dim=1)
    return torch.stack(out[1:])


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_it_gives_the_numbers_of_transformers_own_attention(groups):
    expected, model = logits(tiny(groups)), tiny(groups)
    use_grouped_decoding(model)
    assert model.config._attn_implementation == NAME
    torch.testing.assert_close(logits(model), expected)


def test_no_step_copies_keys_and_values(monkeypatch):
    widths = []
    copy = sdpa.repeat_kv
    monkeypatch.setattr(sdpa, "repeat_kv", lambda x, n: widths.append(x.shape[2]) or copy(x, n))
    logits(tiny(2))
    assert set(widths) == {7, 8, 9, 10}, "transformers' own attention copies at every step; if not, this module can go"
    widths.clear()
    model = tiny(2)
    use_grouped_decoding(model)
    logits(model)
    assert set(widths) == {7}, "only the prompts'"


def test_a_model_that_attends_otherwise_is_left_as_it_is():
    model = tiny(2, attn_implementation="eager")
    use_grouped_decoding(model)
    assert model.config._attn_implementation == "eager"


def test_masks_that_differ_by_head_are_left_to_transformers():
    torch.manual_seed(0)
    query, key, mask = torch.randn(2, 6, 1, 8), torch.randn(2, 2, 5, 8), torch.rand(2, 6, 1, 5) > 0.3
    module = SimpleNamespace(num_key_value_groups=3, is_causal=True)
    ours, theirs = (attend(module, query, key, key, mask)[0] for attend in (_attend, sdpa.sdpa_attention_forward))
    torch.testing.assert_close(ours, theirs)
