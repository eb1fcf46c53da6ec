"""From a cut and a draw to what is asked of the LLM: pure functions of the configuration, the cut and the draw."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nemo_desta.errors import SelfGenError
from nemo_desta.record import AUDIO_LOCATOR, AudioRef, Message, Record
from nemo_desta.selfgen.backends import Request
from nemo_desta.selfgen.config import SelfGenConfig, find_config
from nemo_desta.selfgen.manifests import Unreadable
from nemo_desta.selfgen.plan import audio_path
from nemo_desta.selfgen.prompts import Prompt, PromptPool, SystemPrompts, stable_hash
from nemo_desta.selfgen.seed import Seed, SeedFormatter

__all__ = ["Row", "RowMaker"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row before its response.

    Attributes:
        id: `<name of the cut>-<draw>`.
        record: without response and provenance.
        request: for the backend; None where `error` says why there is none.
        seed, prompt: what the response is judged by.
        error: what is wrong with the cut.
        provenance: of prompt and cut.
    """

    id: str
    record: Record
    request: Request | None = None
    seed: Seed | None = None
    prompt: Prompt | None = None
    error: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


class RowMaker:
    """Makes the rows of one self-generation.

    Args:
        config: checked.

    Raises:
        ConfigError: a YAML file it names is missing or wrong.
    """

    def __init__(self, config: SelfGenConfig) -> None:
        self.seed, self.dataset = config.seed, config.dataset
        self.root = os.path.abspath(config.audio_root or Path(config.cuts[0]).parent)
        self._own_mapping = Path(config.seed_config).suffix in {".yaml", ".yml"}
        self.formatter = SeedFormatter.from_yaml(find_config("seed", config.seed_config))
        self.pool = PromptPool.from_yaml([find_config("prompts", p) for p in config.pools], config.kind_weights)
        self.system = SystemPrompts.from_yaml(find_config("prompts", "system"), config.system_prompts)

    def __call__(self, name: str, cut: Any, draw: int) -> Row:
        """The row of one draw; a cut that cannot be used gives one with an error."""
        row_id = f"{name}-{draw}"
        empty = Record(id=row_id, messages=(), response="", dataset=self.dataset)
        if isinstance(cut, Unreadable):
            return Row(row_id, empty, error=f"cut {cut.id!r}: {cut.problem}")
        try:
            seed = self.formatter(cut)
            audio = audio_path(cut, self.root)
        except SelfGenError as err:
            return Row(row_id, empty, error=f"cut {cut.id!r}: {err}")
        except (TypeError, ValueError, AttributeError) as err:
            return Row(row_id, empty, error=f"cut {cut.id!r}: its metadata are of a wrong type ({err})")
        prompt = self.pool.choose(self.seed, name, draw, seed.domain, seed.attributes)
        if prompt is None:
            error = f"cut {cut.id!r}: no prompt of the pools fits domain {seed.domain} with {sorted(seed.attributes)}"
            return Row(row_id, empty, seed=seed, error=error)
        return self._asked(row_id, name, draw, audio, seed, prompt, round(cut.duration, 3))

    def unused_fields(self) -> list[str]:
        """Fields that the user's own mapping names and no cut has had; the shipped mappings name those of many corpora."""
        return self.formatter.unused if self._own_mapping else []

    def _asked(self, row_id: str, name: str, draw: int, audio: str, seed: Seed, prompt: Prompt, duration: float) -> Row:
        system_id, system = self.system.choose(self.seed, name, draw)
        content = f"<start_audio>{AUDIO_LOCATOR}<end_audio>\n\n{prompt.text}"
        user = Message("user", content, (AudioRef(audio, seed.transcript),))
        messages = ((Message("system", system),) if system else ()) + (user,)
        provenance = {
            "cut": name, "draw": draw, "pool": prompt.id.split("/")[0], "prompt_id": prompt.id, "kind": prompt.kind,
            "about": prompt.about, "system_prompt_id": system_id, "domain": seed.domain, "duration": duration,
        }  # fmt: skip
        return Row(
            row_id,
            Record(row_id, messages, "", self.dataset, seed.text, prompt.text),
            Request(row_id, messages, (seed.text,), stable_hash("sampling", self.seed, name, draw)),
            seed,
            prompt,
            provenance=provenance,
        )
