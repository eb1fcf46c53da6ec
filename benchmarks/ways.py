"""Our training step and the plain one, behind one interface: what train_step times and scaling draws."""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator

import torch
from torch.nn.utils import clip_grad_norm_

from benchmarks import workloads
from benchmarks.phases import Phases
from benchmarks.reference_step import Reference
from nemo_desta.data.batch import to_device
from nemo_desta.models.acceleration import AccelerationConfig, accelerate
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.models.packed import NAME
from nemo_desta.training.cost import Work, shape_of

__all__ = ["Ours", "Plain", "Way", "compare"]


class Way:
    """One of the two ways to train.

    Attributes:
        seconds, samples, targets, operations: so far.
    """

    name: str

    def __init__(self, model: DeSTAModel, options: argparse.Namespace, phases: Phases) -> None:
        self.model, self.device, self.phases = model, torch.device(options.device), phases
        self.dtype = getattr(torch, options.dtype)
        self.shape = shape_of(model)
        self.reset()

    def reset(self) -> None:
        self.seconds, self.samples, self.targets, self.steps = 0.0, 0, 0, 0
        self.operations: dict[str, float] = dict.fromkeys(("encoder", "qformer", "llm_forward", "llm_backward"), 0.0)
        self.parts: dict[str, float] = defaultdict(float)

    def train(self, batches: Iterator) -> bool:
        """One optimizer step; False when there are no more batches."""
        self.phases.seconds = self.parts  # the two ways share the timed modules
        began = time.perf_counter()
        with self.phases("data"):
            batch = next(batches, None)
            if batch is None:
                return False
            samples, targets, work = self.size(batch)
            if self.device.type == "cuda":  # made ahead, by worker processes
                batch = self.prepare(batch)
                torch.cuda.synchronize()
                began = time.perf_counter()
        with self.phases("other"):
            batch = batch if self.device.type == "cuda" else self.prepare(batch)
            loss = self.loss(batch)
            with self.phases("llm_backward"):
                loss.backward()
            with self.phases("optimizer"):
                clip_grad_norm_(self.trainable, 1.0)
                self.optimizer.step()
                self.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - began
        self.steps, self.samples, self.targets = self.steps + 1, self.samples + samples, self.targets + targets
        for part, operations in work.operations(self.shape).items():
            self.operations[part] += operations
        return True

    def loss(self, batch) -> torch.Tensor:
        self.choose_attention()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.forward(batch)

    def own(self, parameters: Iterator) -> None:
        self.trainable = [p for p in parameters if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trainable, lr=1e-4, betas=(0.9, 0.98), weight_decay=0.01)


class Ours(Way):
    name = "nemo_desta"

    def __init__(self, model: DeSTAModel, options: argparse.Namespace, phases: Phases) -> None:
        super().__init__(model, options, phases)
        perception = model.perception
        mel = perception.encoder.log_mel
        perception.encoder.log_mel = lambda *args: self._mel(mel, *args)
        self.phases.watch(perception.encoder, "forward", "encoder")
        self.phases.watch(perception.connector, "forward", "qformer")
        self.phases.watch(model.decoder, "forward", "llm_forward")
        perception.connector.register_forward_hook(lambda module, args, out: self.phases.watch_gradient(out))
        self.own(model.parameters())
        accelerate(model, AccelerationConfig(**{f"checkpoint_{part}": True for part in options.checkpoint}))
        self.forwards = {layer: layer.forward for layer in model.decoder.layers}

    def _mel(self, mel, *args):
        with self.phases("mel"):
            return mel(*args)

    def choose_attention(self) -> None:
        for layer, forward in self.forwards.items():  # with checkpointing, if any
            layer.forward = forward
        self.model.base_llm.set_attn_implementation(NAME)
        self.model.perception.encoder.whisper.set_attn_implementation("sdpa")

    def size(self, batch: dict) -> tuple[int, int, Work]:
        work = Work.of_packed(batch)
        return len(batch["ids"]), int(work.targets), work

    def prepare(self, batch: dict) -> dict:
        return to_device(batch, self.device)

    def forward(self, batch: dict) -> torch.Tensor:
        return self.model.training_step(batch, 0)["loss"]


class Plain(Way):
    name = "plain"

    def __init__(self, model: DeSTAModel, options: argparse.Namespace, phases: Phases) -> None:
        super().__init__(model, options, phases)
        self.step = Reference(model, self.phases).train()
        self.step.llm.eval()
        self.step.encoder.eval()
        self.own(self.step.connector.parameters())

    def choose_attention(self) -> None:
        for layer in self.model.decoder.layers:
            vars(layer).pop("forward", None)
        self.step.attend_eagerly()

    def size(self, batch: list) -> tuple[int, int, Work]:
        length = max(len(e.rendered.input_ids) for e in batch)
        work = Work.of_padded(len(batch), length, len(batch))
        return len(batch), sum(sum(e.rendered.target_mask) for e in batch), work

    def prepare(self, batch: list):
        return self.step.prepare([e.rendered for e in batch], [[workloads.wave_of(e)] for e in batch])

    def forward(self, batch) -> torch.Tensor:
        return self.step(batch)


def compare(ours: Ours, plain: Plain, examples: list, tolerance: float) -> float:
    """The difference of the two paths' losses on the same records, without dropout."""
    plain.step.connector.load_state_dict(ours.model.perception.connector.state_dict())
    ours.model.eval()
    plain.step.eval()
    with torch.no_grad():
        one = float(ours.loss(ours.prepare(workloads.pack(examples, plain.step.pad))))
        other = float(plain.loss(plain.prepare(examples)))
    ours.model.train()
    plain.step.connector.train()
    if abs(one - other) > tolerance:
        raise SystemExit(f"the paths differ: loss {one} and {other}; nothing was measured")
    return abs(one - other)
