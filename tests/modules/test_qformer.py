"""The connector: one pass equals the layer-by-layer loop of the paper, queries see each other, everything trains."""

import math

import pytest
import torch

from nemo_desta.modules.qformer import QFormerConnector

SIZES = {"encoder_size": 24, "output_size": 10, "num_taps": 3, "num_queries": 5, "num_layers": 2, "num_heads": 4}


def connector(**changes):
    torch.manual_seed(0)
    out = QFormerConnector(**{**SIZES, **changes}).eval()
    with torch.no_grad():
        out.layer_weights.normal_()
    return out


def by_hand(model, states, heads=4):
    """A tap at a time, in plain matrix products: self-attention without a mask, cross-attention, feed-forward; softmax over taps."""
    weight = dict(model.named_parameters())

    def linear(x, name):
        return x @ weight[f"{name}.weight"].T + weight[f"{name}.bias"]

    def norm(x, name):
        x = (x - x.mean(-1, keepdim=True)) / (
            x.var(-1, unbiased=False, keepdim=True) + (1e-12 if "qformer" in name else 1e-5)
        ).sqrt()
        return x * weight[f"{name}.weight"] + weight[f"{name}.bias"]

    def attend(x, other, name):
        def split(part, source):
            y = linear(source, f"{name}.self.{part}")
            return y.view(len(y), heads, -1).transpose(0, 1)

        q, k, v = split("query", x), split("key", other), split("value", other)
        share = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), -1)
        y = (share @ v).transpose(0, 1).reshape(len(x), -1)
        return norm(linear(y, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")

    out = []
    for clip in states:
        taps = []
        for tap, frames in enumerate(clip):
            x = weight[f"layer_prompts.{tap}"][0]
            for layer in range(len(model.qformer.layer)):
                name = f"qformer.layer.{layer}"
                x = attend(x, x, f"{name}.attention")
                x = attend(x, frames, f"{name}.crossattention")
                inner = torch.nn.functional.gelu(linear(x, f"{name}.intermediate.dense"))
                x = norm(linear(inner, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")
            taps.append(x)
        share = torch.softmax(weight["layer_weights"], -1)
        fused = sum(share[:, [i]] * x for i, x in enumerate(taps))
        out.append(linear(norm(fused, "proj.0"), "proj.1"))
    return torch.stack(out)


@torch.no_grad()
def test_one_pass_equals_the_loop_over_taps():
    model, states = connector(), torch.randn(2, 3, 7, 24)
    torch.testing.assert_close(model(states), by_hand(model, states), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("changed", [0, 4])
def test_every_query_sees_every_other(changed):
    model, states = connector(num_layers=1), torch.randn(1, 3, 7, 24)
    before = model(states)
    model.layer_prompts[0][0, changed] += 1.0
    moved = (model(states) - before).abs().amax(-1)[0]
    assert (moved > 1e-6).all()


@torch.no_grad()
def test_a_clip_does_not_feel_its_neighbours():
    model, states = connector(), torch.randn(3, 3, 7, 24)
    torch.testing.assert_close(model(states)[1:2], model(states[1:2]), atol=1e-6, rtol=1e-6)


def test_every_parameter_has_a_gradient():
    model = connector()
    model(torch.randn(2, 3, 7, 24)).square().sum().backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_dropout_works_in_training_only():
    model, states = connector(), torch.randn(1, 3, 7, 24)
    assert torch.equal(model(states), model(states))
    model.train()
    assert not torch.equal(model(states), model(states))


def test_the_parameters_are_those_of_the_paper():
    """131.54 million for large-v3 and Llama-3.1-8B."""
    with torch.device("meta"):
        model = QFormerConnector(1280, 4096)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 131.54


def test_fresh_layers_weigh_alike():
    torch.testing.assert_close(QFormerConnector(**SIZES).layer_weights.softmax(-1), torch.full((5, 3), 1 / 3))


@torch.no_grad()
def test_output_scale_sets_the_initial_spread():
    torch.manual_seed(0)
    model = QFormerConnector(**{**SIZES, "encoder_size": 192, "output_size": 256}).eval()
    model.scale_output(0.1)
    assert float(model(torch.randn(4, 3, 7, 192)).std()) == pytest.approx(0.1, rel=0.1)


def test_half_precision_states_meet_a_full_precision_connector():
    assert connector()(torch.randn(1, 3, 7, 24).bfloat16()).dtype == torch.float32
