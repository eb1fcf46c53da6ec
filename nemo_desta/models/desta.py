"""DeSTAModel: a frozen Whisper, a trainable connector and a frozen LLM, as a LightningModule in NeMo's manner."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import get_cosine_with_min_lr_schedule_with_warmup

from nemo_desta.audio import SAMPLING_RATE
from nemo_desta.errors import ConfigError
from nemo_desta.models import checkpoint, comparing, generation, scoring, trainable
from nemo_desta.models.building import build_perception, head_is_plain
from nemo_desta.models.config import DeSTAConfig
from nemo_desta.models.frozen import add_lora, load_encoder, load_llm, load_tokenizer
from nemo_desta.models.loss import target_loss
from nemo_desta.models.packed import last_pass, use_packed_attention
from nemo_desta.models.parallel import TENSOR, lay_out, whole
from nemo_desta.modules.cache import StateCache
from nemo_desta.record import Record
from nemo_desta.rendering import Renderer

__all__ = ["DeSTAModel"]

log = logging.getLogger(__name__)


class DeSTAModel(LightningModule):
    """DeSTA2.5-Audio (arXiv 2507.02768).

    Args:
        cfg: the `model:` section of a YAML (see DeSTAConfig). Kept as `self.cfg`; hyper-parameters are saved as
            plain Python so that checkpoints load with `weights_only=True`.
        frozen_from_rank_0: of several processes, rank 0 alone reads the frozen weights; the others build empty modules and
            get them in `configure_model`.

    Raises:
        ConfigError: unknown or impossible values.
        RenderError: the LLM's tokenizer cannot carry conversations with audio.
    """

    def __init__(self, cfg: Mapping[str, Any] | DictConfig, frozen_from_rank_0: bool = False) -> None:
        super().__init__()
        plain = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else dict(cfg)
        config = DeSTAConfig.from_dict(plain)
        self.cfg = OmegaConf.create(config.to_dict())
        self.save_hyperparameters({"cfg": config.to_dict()})
        self.strict_loading = False  # checkpoints hold trainable weights only
        self.config = config
        self.tokenizer = load_tokenizer(config.llm)
        self.renderer = Renderer(
            self.tokenizer,
            config.connector.num_queries,
            config.locator,
            config.placeholder,
            config.max_transcript_tokens,
        )
        self.frozen_from_rank_0 = frozen_from_rank_0
        read = not frozen_from_rank_0 or rank_zero_only.rank == 0
        encoder, encoder_mark = load_encoder(config.encoder, getattr(torch, config.encoder_dtype), read)
        llm, llm_mark = load_llm(config.llm, getattr(torch, config.llm_dtype), read)
        self.fingerprints = {"llm": llm_mark, "encoder": encoder_mark}
        self.names = {"llm": config.llm, "encoder": config.encoder}
        self.official_config: dict[str, Any] = {}  # this and the next as read, where the checkpoint was an official one
        self.official_metadata: dict[str, str] | None = {"format": "pt"}
        self.perception = build_perception(config, encoder, llm, read)
        self.llm = llm if config.lora is None else add_lora(llm, config.lora)
        self.zero_audio = False  # ablation: features of zero in the clips' places
        self.packs = use_packed_attention(self.base_llm)
        self._plain_head = True
        if read:
            checkpoint.check_fingerprints(config, self.fingerprints)
            self._plain_head = head_is_plain(self.base_llm)
        self._laid_out = False
        self._val: dict[str, list[Tensor]] = defaultdict(list)
        self.train(self.training)
        trainable.log_groups(self)

    def setup(self, stage: str) -> None:
        """Lightning's hook, before training or validation: the encoder's states from disk, if `encoder_cache` says so.

        Raises:
            ConfigError: the encoder is sharded.
        """
        options = self.config.encoder_cache
        if options.folder is None:
            return
        if self._device_mesh is not None:
            raise ConfigError(
                "model.encoder_cache: desta_fsdp2 shards the encoder, and a process that finds its clips on disk would leave "
                "the others waiting for its shards; use desta_ddp, or set encoder_cache.folder=null."
            )
        self.perception.cache = StateCache(options.folder, options.max_gb, lambda: self.fingerprints["encoder"])

    def configure_model(self) -> None:
        """Lightning's hook, with the processes connected: weights from rank 0, and shards where a mesh says so."""
        mesh = self._device_mesh
        if self._laid_out or (mesh is None and not self.frozen_from_rank_0):
            return
        if dist.is_initialized():
            facts = [self.fingerprints, self._plain_head]
            dist.broadcast_object_list(facts, src=0)
            self.fingerprints, self._plain_head = facts
        lay_out(self, self.trainer.strategy.root_device, mesh)
        self._laid_out = True

    # -- what trains ---------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> "DeSTAModel":
        """Train or evaluate; frozen modules stay in eval mode, LoRA's dropout follows `mode`."""
        super().train(mode)
        self.perception.encoder.eval()
        self.llm.eval()
        for name, module in self.llm.named_modules():
            if "lora_dropout" in name:
                module.train(mode)
        return self

    def parameter_groups(self) -> dict[str, list[tuple[str, nn.Parameter]]]:
        """Named groups `connector`, `lora`, `encoder`, `llm`: every parameter is in exactly one."""
        return trainable.parameter_groups(self)

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """The parameters that train, detached and whole, on the CPU; a collective where they are sharded."""
        return {name: whole(p) for name, p in self.named_parameters() if p.requires_grad}

    def load_trainable(self, state: Mapping[str, Tensor], where: str = "checkpoint") -> None:
        """Load trainable weights; every one must be there, in shape, and nothing else.

        Raises:
            CheckpointError: naming what is missing, surplus or of another shape.
        """
        trainable.load(self, state, where)

    def on_save_checkpoint(self, ckpt: dict[str, Any]) -> None:
        trains = {n for n, p in self.named_parameters() if p.requires_grad}
        ckpt["state_dict"] = {k: v for k, v in ckpt["state_dict"].items() if k in trains}
        ckpt["fingerprints"] = dict(self.fingerprints)

    def on_load_checkpoint(self, ckpt: dict[str, Any]) -> None:
        checkpoint.compare_fingerprints(ckpt.get("fingerprints"), self.fingerprints, "the checkpoint to resume from")
        trainable.compare(self, ckpt["state_dict"], "the checkpoint to resume from")

    # -- numbers -------------------------------------------------------------------------------------------------

    def embed(self, batch: dict) -> Tensor:
        """Embeddings (B, T, H) of a batch, audio features at their places."""
        embeds = self.llm.get_input_embeddings()(batch["input_ids"])
        position, index = batch["audio_position"], batch["audio_index"]
        if len(index) == 0:
            return embeds if self._alone() else embeds + self._unheard().to(embeds.dtype) * 0.0
        features = self.perception(batch["audio_signal"], batch["audio_len"]).to(embeds.dtype)
        if self.zero_audio:
            features = torch.zeros_like(features)
        places = position[:, 1:] + torch.arange(features.shape[1], device=embeds.device)  # (A, Q)
        return embeds.index_put((position[:, :1].expand_as(places), places), features[index])

    def forward(self, batch: dict, reduce: bool = False) -> tuple[Tensor, Tensor]:
        """What the LLM makes of the target tokens. Logits of no other place are computed.

        Args:
            batch: see data.batch.collate; M target tokens in all.
            reduce: without logits of the whole batch in memory.

        Returns:
            Logits that predict the target tokens, and those tokens: (M, V) and (M,), row by row. With `reduce` the sum
            of their cross-entropies and how many are the likeliest token: float32 () and ().
        """
        if self._plain_head:
            states, labels = self.target_states(batch)
            return target_loss(states, self.head, labels) if reduce else (self.head(states), labels)
        inputs, chosen = self._last_pass(batch)  # for LLMs that do more to their logits
        logits, labels = self.llm(**inputs).logits[:, :-1][chosen], batch["input_ids"][batch["target_mask"]]
        if not reduce:
            return logits, labels
        return cross_entropy(logits.float(), labels, reduction="sum"), (logits.argmax(-1) == labels).sum().float()

    def target_states(self, batch: dict) -> tuple[Tensor, Tensor]:
        """The LLM's last states that predict target tokens, and those tokens: (M, H) and (M,)."""
        inputs, chosen = self._last_pass(batch)
        return self.decoder(**inputs).last_hidden_state[:, :-1][chosen], batch["input_ids"][batch["target_mask"]]

    def _last_pass(self, batch: dict) -> tuple[dict, Tensor]:
        """Arguments of the LLM for the places that have a gradient, and which of them, but the last, predict a target."""
        embeds, targets = self.embed(batch), batch["target_mask"]
        if "segment_lengths" not in batch:
            inputs = {"attention_mask": batch["attention_mask"], "position_ids": batch["position_ids"]}
            return {"inputs_embeds": embeds, **inputs, "use_cache": False}, targets[:, 1:]
        if not self.packs:
            raise ConfigError(
                f"llm={self.config.llm!r} has an attention of its own and takes no packed rows; set data.packing=false."
            )
        apart = self.config.lora is None and self._device_mesh is None
        inputs, first = last_pass(self.decoder, batch, embeds, apart)
        return inputs, targets[:, first + 1 :]

    @property
    def base_llm(self) -> nn.Module:
        """The LLM without PEFT's wrapping; LoRA's layers, where there are any, are in it."""
        return self.llm if self.config.lora is None else self.llm.get_base_model()

    @property
    def decoder(self) -> nn.Module:
        """The LLM up to its last states."""
        return self.base_llm.get_decoder()

    @property
    def head(self) -> nn.Module:
        """The LLM's output layer."""
        return self.base_llm.get_output_embeddings()

    def training_step(self, batch: dict, batch_idx: int) -> dict[str, Tensor]:
        """Mean cross-entropy over the target tokens of the global batch (all ranks).

        Returns:
            `loss`, and `counts`: samples and target tokens of the global batch, float32 (2,).
        """
        total, _ = self(batch, reduce=True)
        counts = torch.tensor([len(batch["ids"]), 0.0], device=total.device)
        counts[1] = count = batch["target_mask"].sum().float()
        everywhere, ranks = counts.clone(), 1
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(everywhere)
            ranks = dist.get_world_size()
        # gradients are averaged over ranks, so this sum over all tokens is what one process would compute
        loss = total * ranks / everywhere[1].clamp(min=1)
        self._log_step(loss, batch, count)
        return {"loss": loss, "counts": everywhere / self._repeats()}

    def _repeats(self) -> int:
        """Processes that see the same batch: those among which the LLM's layers are cut."""
        return 1 if self._device_mesh is None else self._device_mesh[TENSOR].size()

    def _alone(self) -> bool:
        """Whether nobody waits for this process: neither for gradients nor for its shards of the weights."""
        return not torch.is_grad_enabled() and self._device_mesh is None

    def _unheard(self) -> Tensor:
        """Perception of a moment of silence: a batch without clips makes the calls that one with clips makes."""
        silence = torch.zeros((1, SAMPLING_RATE // 10), device=self.device)
        return self.perception(silence, torch.tensor([silence.shape[1]], device=self.device)).sum()

    def _log_step(self, loss: Tensor, batch: dict, count: Tensor) -> None:
        if self._trainer is None:
            return
        mask = batch["attention_mask"]
        self.log("loss", loss, on_step=True, prog_bar=True, sync_dist=True)
        values = {
            "learning_rate": torch.as_tensor(self.trainer.optimizers[0].param_groups[0]["lr"]),
            "batch_size": float(len(batch["ids"])),
            "sequence_length": float(mask.shape[1]),
            "num_frames": count,
            "target_to_input_ratio": count / mask.numel(),
            "padding_ratio": mask.float().mean(),  # SALM's name and meaning: the share that is not padding
            "padding_share": 1 - mask.float().mean(),
        }
        self.log_dict(values, on_step=True)

    def validation_step(self, batch: dict, batch_idx: int) -> None:
        for name, part in batch.items():
            if part is None:
                continue  # this set is exhausted, a longer one goes on
            loss, hits = self(part, reduce=True)
            self._val[name].append(torch.stack([loss, hits, part["target_mask"].sum().float()]))

    def on_validation_epoch_end(self) -> None:
        losses, accuracies = [], []
        for name, parts in self._val.items():
            sums = torch.stack(parts).sum(0)
            if dist.is_available() and dist.is_initialized():
                dist.all_reduce(sums)
            losses.append(sums[0] / sums[2])
            accuracies.append(sums[1] / sums[2])
            self.log(f"val_loss_{name}", losses[-1], on_epoch=True, sync_dist=True)
            self.log(f"val_acc_{name}", accuracies[-1], on_epoch=True, sync_dist=True)
        self._val.clear()
        if losses:
            self.log("val_loss", torch.stack(losses).mean(), on_epoch=True, sync_dist=True)
            self.log("val_acc", torch.stack(accuracies).mean(), on_epoch=True, sync_dist=True)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW over the trainable parameters, cosine with linear warm-up, stepped every batch."""
        c, s = self.config.optimizer, self.config.lr_scheduler
        trains = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trains, lr=c.lr, betas=tuple(c.betas), weight_decay=c.weight_decay)
        steps = s.max_steps or int(self.trainer.estimated_stepping_batches)
        scheduler = get_cosine_with_min_lr_schedule_with_warmup(optimizer, s.warmup_steps, steps, min_lr=s.min_lr)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # -- use -----------------------------------------------------------------------------------------------------

    def score(
        self, records: Sequence[Record | dict], audio_root: str | None = None, batch_size: int = 8
    ) -> list[Tensor]:
        """Log-probability of every target token, end of sequence included: one float32 (T_i,) per record."""
        return scoring.score(self, records, audio_root, batch_size)

    def score_choices(
        self,
        conversations: Sequence,
        choices: Sequence[Sequence[str]],
        audio_root: str | None = None,
        batch_size: int = 8,
    ) -> list[Tensor]:
        """Log-probability of each possible answer to each conversation: one float32 (num_choices,) each."""
        return comparing.score_choices(self, conversations, choices, audio_root, batch_size)

    def generate(
        self,
        conversations: Sequence,
        audio_root: str | None = None,
        max_new_tokens: int = 512,
        do_sample: bool = False,
        batch_size: int = 8,
        **sampling: Any,
    ) -> list[str]:
        """Answer conversations (message lists as the official `generate` takes them); see generation.generate."""
        return generation.generate(self, conversations, audio_root, max_new_tokens, do_sample, batch_size, **sampling)

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str,
        llm: str | None = None,
        encoder: str | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> "DeSTAModel":
        """Open a checkpoint of ours or of the official code; see checkpoint.load."""
        return checkpoint.load(cls, path_or_hub_id, llm, encoder, dtype)

    def save_pretrained(self, folder: str, write: bool = True) -> None:
        """Write safetensors of the trainable weights and config.json; see checkpoint.save."""
        checkpoint.save(self, folder, write)

    def save_official(self, folder: str) -> None:
        """Write the checkpoint in the official DeSTA2.5 format; see checkpoint.save_official."""
        checkpoint.save_official(self, folder)

    def push_to_hub(self, repo_id: str, private: bool = False, official: bool = False) -> str:
        """Upload the checkpoint to the Hugging Face Hub and return its address; see checkpoint.push."""
        return checkpoint.push(self, repo_id, private, official)
