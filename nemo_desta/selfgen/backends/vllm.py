"""Responses from vLLM's offline engine, whose scheduler batches by itself and remembers what prompts have in common."""

import os
from collections.abc import Sequence

# Read when vLLM is imported; how much it says is the user's own choice.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
# The engine stays in this process: one of its own outlives a kill -9 of this one, GPU memory and all, and where that one
# is killed, this one waits for ever.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"

from transformers import AutoTokenizer, GenerationConfig
from vllm import LLM, SamplingParams
from vllm.exceptions import VLLMClientError, VLLMError

from nemo_desta import pypi_models
from nemo_desta.errors import ConfigError, EngineDiedError
from nemo_desta.selfgen.backends import Generation, Request, Sampling
from nemo_desta.selfgen.backends.encoding import RequestEncoder
from nemo_desta.selfgen.backends.options import VLLMOptions

__all__ = ["VLLMBackend"]

_SEED_BITS = 2**63 - 1
_REFUSALS = (VLLMClientError, ValueError)  # of a request; everything else is the engine's own trouble


class VLLMBackend:
    """Token ids in, token ids out: chat template and control tokens are handled here, as in training.

    With a temperature, each row has vLLM's sampling with its own seed; at 0 it is greedy, and equals backend=hf but
    where two tokens are almost equally likely: vLLM's sums depend on what else is in its batch.

    Args:
        llm: path, hub id, or `pypi:` name of an instruction-tuned causal LM.
        options: of the engine.
        max_prompt_tokens: longer prompts are refused (row failed), never cut; None: as long as `max_model_len` lets one
            token be written.

    Raises:
        ConfigError: vLLM cannot load this LLM with these settings.
        RenderError: the tokenizer has no chat template.
    """

    def __init__(self, llm: str, options: VLLMOptions, max_prompt_tokens: int | None = None) -> None:
        path = str(pypi_models.resolve(llm))
        self.id = llm
        self._engine = _load(llm, path, options)
        config = self._engine.model_config
        self.revision = getattr(config.hf_config, "_commit_hash", None)
        self.encoder = RequestEncoder(
            AutoTokenizer.from_pretrained(path), min(max_prompt_tokens or _SEED_BITS, config.max_model_len - 1)
        )
        self.stop_ids = sorted({self.encoder.renderer.eos_id, *_declared_stops(path)})

    def prompt_ids(self, request: Request) -> list[int]:
        """See `RequestEncoder.encode`."""
        return self.encoder.encode(request)

    def prompt_length(self, request: Request) -> int:
        """In tokens."""
        return len(self.prompt_ids(request))

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """See `Backend.generate`.

        Raises:
            EngineDiedError: the engine broke down (out of memory, a lost process).
        """
        prompts = [self.prompt_ids(r) for r in requests]
        params = [self._params(r, sampling) for r in requests]
        try:
            return self._ask(prompts, params)
        except _REFUSALS:  # vLLM names one request and drops the others with it
            return [self._ask_one(p, s) for p, s in zip(prompts, params, strict=True)]

    def _params(self, request: Request, sampling: Sampling) -> SamplingParams:
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_new_tokens,
            seed=request.seed & _SEED_BITS,
            stop_token_ids=self.stop_ids,
            detokenize=False,
        )

    def _ask(self, prompts: Sequence[list[int]], params: Sequence[SamplingParams]) -> list[Generation]:
        try:
            replies = self._engine.generate([{"prompt_token_ids": p} for p in prompts], list(params), use_tqdm=False)
        except _REFUSALS:
            raise
        except Exception as err:  # whatever comes out of CUDA, its drivers and vLLM's processes
            raise EngineDiedError(
                f"vLLM's engine has died: {_short(err)}. What it wrote above says more; where it lacks memory, lower "
                "backend.gpu_memory_utilization or backend.max_model_len. Finished rows are kept: start again."
            ) from err
        return [self._read(reply) for reply in replies]

    def _ask_one(self, prompt: list[int], params: SamplingParams) -> Generation:
        try:
            return self._ask([prompt], [params])[0]
        except _REFUSALS as err:
            return Generation(error=f"vLLM refuses the request: {_short(err)}")

    def _read(self, reply) -> Generation:
        out = reply.outputs[0]
        if out.finish_reason not in ("stop", "length"):
            return Generation(error=f"vLLM ended the request with finish reason {out.finish_reason!r}")
        ids = list(out.token_ids)
        stopped = bool(ids) and ids[-1] in self.stop_ids
        return Generation(self.encoder.decode(ids[:-1] if stopped else ids), out.finish_reason, len(ids))


def _load(llm: str, path: str, options: VLLMOptions) -> LLM:
    try:
        return LLM(
            model=path,
            dtype=options.dtype,
            max_model_len=options.max_model_len,
            tensor_parallel_size=options.tensor_parallel_size,
            gpu_memory_utilization=options.gpu_memory_utilization,
            enforce_eager=options.enforce_eager,
            enable_prefix_caching=True,
            generation_config="vllm",  # no penalties or temperatures that the LLM's folder may hold
        )
    except (VLLMError, ValueError, RuntimeError, OSError) as err:
        raise ConfigError(
            f"vLLM cannot load {llm!r} with {options}: {_short(err)}; what it wrote above says more."
        ) from err


def _declared_stops(path: str) -> list[int]:
    try:
        declared = GenerationConfig.from_pretrained(path).eos_token_id
    except OSError:  # the folder has none
        return []
    return [i for i in (declared if isinstance(declared, list) else [declared]) if i is not None]


def _short(value: object) -> str:
    text = " ".join(str(value).split()) or type(value).__name__
    return text if len(text) <= 300 else text[:297] + "..."
