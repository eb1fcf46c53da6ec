"""Work that is left out stays left out: counts of a training step, which no machine's speed can blur."""

import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import workloads
from benchmarks.phases import Phases
from benchmarks.reference_step import Reference
from nemo_desta.models import loss
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.training.cost import Work, shape_of
from tests import tiny


@pytest.fixture(scope="module")
def model() -> DeSTAModel:
    return tiny.build()


@pytest.fixture(scope="module")
def examples(model) -> list:
    """Six records about three clips."""
    return workloads.mixed(model.renderer, 6)


@pytest.fixture(scope="module")
def batch(model, examples) -> dict:
    return workloads.pack(examples, model.renderer.eos_id)


@pytest.fixture
def calls(model):
    """`calls(module)` gives a list to which the shape of the module's first argument is appended at each call."""
    handles = []

    def watch(module: torch.nn.Module) -> list[tuple[int, ...]]:
        seen: list[tuple[int, ...]] = []

        def note(_, args, kwargs):
            seen.append(tuple((args[0] if args else kwargs["inputs_embeds"]).shape))

        handles.append(module.register_forward_pre_hook(note, with_kwargs=True))
        return seen

    yield watch
    for handle in handles:
        handle.remove()


def step(model: DeSTAModel, batch: dict) -> torch.Tensor:
    model.zero_grad()
    value = model.training_step(batch, 0)["loss"]
    value.backward()
    return value.detach()


def test_the_plain_path_of_the_benchmark_has_the_same_loss_and_gradients(model, examples, batch):
    plain = Reference(model, Phases(torch.device("cpu"), on=False)).eval()
    ours = step(model, batch)
    gradients = {n: p.grad.clone() for n, p in model.perception.connector.named_parameters()}
    implementations = (
        model.base_llm.config._attn_implementation,
        model.perception.encoder.whisper.config._attn_implementation,
    )
    plain.attend_eagerly()
    try:
        value = plain(plain.prepare([e.rendered for e in examples], [[workloads.wave_of(e)] for e in examples]))
        value.backward()
    finally:
        model.base_llm.set_attn_implementation(implementations[0])
        model.perception.encoder.whisper.set_attn_implementation(implementations[1])
    torch.testing.assert_close(ours, value.detach(), rtol=0, atol=1e-4)
    for name, parameter in plain.connector.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-2, atol=1e-5, msg=name)


def test_logits_exist_for_target_tokens_only(model, batch, monkeypatch):
    rows = []
    plain = loss.linear
    monkeypatch.setattr(loss, "linear", lambda x, *more: rows.append(len(x)) or plain(x, *more))
    step(model, batch)
    assert sum(rows) == batch["target_mask"].sum() < batch["input_ids"].numel()
    assert max(rows) <= loss.CHUNK


def test_each_distinct_clip_is_encoded_once_and_nothing_runs_above_the_last_tap(model, batch, calls):
    shallow = tiny.build(tapped_layers=[0, 2])
    layers = [calls(layer) for layer in shallow.perception.encoder.whisper.layers]
    step(shallow, batch)
    assert [len(seen) for seen in layers] == [1, 1, 1, 0]
    assert layers[0][0][0] == 3, "clips, not the six records about them"


def test_the_qformer_runs_once_over_all_taps(model, batch, calls):
    whole, layer = calls(model.perception.connector), calls(model.perception.connector.qformer.layer[0])
    step(model, batch)
    assert len(whole) == len(layer) == 1
    assert layer[0][0] == 3 * len(model.perception.encoder.tapped_layers)


def test_a_packed_row_has_no_padding_and_holds_less_than_the_records(batch, examples):
    assert batch["attention_mask"].all()
    assert batch["input_ids"].numel() < sum(len(e.rendered.input_ids) for e in examples)


def test_nothing_before_the_first_clip_has_a_gradient(model, batch, monkeypatch):
    """The constant segments run in a pass of their own, without a graph; the other pass begins where audio does."""
    passes = []
    plain = model.decoder.forward

    def watched(**kwargs):
        passes.append((kwargs["inputs_embeds"].shape[1], torch.is_grad_enabled()))
        return plain(**kwargs)

    monkeypatch.setattr(model.decoder, "forward", watched)
    step(model, batch)
    constant = sum(batch["segment_lengths"][: batch["constant_segments"]])
    assert passes == [(constant, False), (batch["input_ids"].numel() - constant, True)]
    first = batch["audio_position"][:, 1].min()
    assert constant == first > 0


def test_a_model_in_training_holds_no_whisper_decoder(model):
    assert not [n for n, _ in model.perception.named_parameters() if "decoder" in n]


def test_operations_are_counted_as_pytorch_counts_them(model, examples):
    """The plain path consists of matrix products that PyTorch can count; the formulas agree with them."""
    shape, length = shape_of(model), max(len(e.rendered.input_ids) for e in examples)
    expected = Work.of_padded(len(examples), length, len(examples)).operations(shape)
    plain = Reference(copy.deepcopy(model), Phases(torch.device("cpu"), on=False)).eval()
    plain.attend_eagerly()
    prepared = plain.prepare([e.rendered for e in examples], [[workloads.wave_of(e)] for e in examples])
    with FlopCounterMode(display=False) as counted:
        plain(prepared).backward()
    assert sum(expected.values()) == pytest.approx(counted.get_total_flops(), rel=0.02)


def test_keys_of_a_packed_row_are_those_of_its_segments():
    batch = {
        "segment_lengths": [2, 3, 1],
        "segment_parents": [-1, 0, 1],
        "constant_segments": 1,
        "audio_len": torch.tensor([5]),
        "target_mask": torch.tensor([[False] * 5 + [True]]),
    }
    work = Work.of_packed(batch)
    assert work.constant == (2, 1 + 2)
    assert work.rest == (4, 3 + 4 + 5 + 6)
    assert (work.clips, work.targets) == (1, 1)
