"""Options for memory and time leave losses and gradients as they are."""

import pytest
import torch

from nemo_desta.audio import load_audio
from nemo_desta.data.batch import collate
from nemo_desta.errors import ConfigError
from nemo_desta.models.acceleration import AccelerationConfig, accelerate
from tests import tiny


def _step(model, device: str = "cpu") -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    from nemo_desta.data.batch import to_device

    asked = [(f"Question {i}?", "An answer." * (i + 1)) for i in range(3)]
    rendered = [model.renderer.render(tiny.heard(q, ("a0.wav", "hello"), system="Listen."), r) for q, r in asked]
    batch = collate(rendered, [load_audio(tiny.PARITY / "a0.wav")], [[0]] * 3, list("abc"), 0, packed=True)
    model.zero_grad()
    loss = model.to(device).train().training_step(to_device(batch, device), 0)["loss"]
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def _build(lora: dict | None = None, layers: int = 2, **options):
    model = tiny.build(lora=lora, connector={"num_layers": layers, "num_queries": 4, "dropout": 0.0})
    accelerate(model, AccelerationConfig(**options))
    return model


LORA = {"dropout": 0.0}


def _assert_same(found, expected, **tolerance):
    torch.testing.assert_close(found[0], expected[0], **tolerance)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, **tolerance, msg=name)


def test_checkpointing_keeps_numbers_and_runs_layers_again():
    plain = _step(_build(LORA))
    model = _build(LORA, checkpoint_llm=True, checkpoint_connector=True)
    calls = []
    for layer in [*model.decoder.layers, *model.perception.connector.qformer.layer]:
        layer.register_forward_hook(lambda *_: calls.append("whole"))
        first = next(m for m in layer.modules() if isinstance(m, torch.nn.Linear))
        first.register_forward_hook(lambda *_: calls.append("inside"))
    _assert_same(_step(model), plain, rtol=0, atol=0)
    assert calls.count("inside") == 2 * calls.count("whole") == 2 * 4, "two layers of each, run twice"


def test_checkpointing_is_only_for_gradients():
    model = _build(checkpoint_llm=True)
    answers = [m.generate([tiny.heard("What?", ("a0.wav", "hello"))], str(tiny.PARITY), 4) for m in (model, _build())]
    assert answers[0] == answers[1]


@pytest.mark.slow
def test_compiled_layers_keep_numbers(monkeypatch):
    """Every layer through the compiler's front end; through its back end the Q-Former's alone, for it takes a minute each."""
    plain = torch.nn.Module.compile

    def compile_layer(layer, **options):
        backend = "inductor" if type(layer).__name__.startswith("Bert") else "aot_eager"
        plain(layer, backend=backend, **options)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_layer)
    _assert_same(_step(_build(layers=1, compile=True)), _step(_build(layers=1)), rtol=1e-3, atol=1e-5)


def test_fused_kernels_without_a_gpu_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="needs an NVIDIA GPU"):
        _build(fused_kernels=True)


def test_fused_kernels_without_liger_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(__import__("sys").modules, "liger_kernel.transformers.monkey_patch", None)
    with pytest.raises(ConfigError, match=r"pip install nemo-desta\[liger\]"):
        _build(fused_kernels=True)


@pytest.mark.requires_gpu
@pytest.mark.parametrize("options", [{"fused_kernels": True}, {"compile": True}, {"checkpoint_llm": True}])
def test_on_a_gpu_numbers_stay(options):
    if "fused_kernels" in options:
        pytest.importorskip("liger_kernel")
    _assert_same(_step(_build(LORA, **options), "cuda"), _step(_build(LORA), "cuda"), rtol=1e-2, atol=1e-3)
