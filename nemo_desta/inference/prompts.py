"""System prompts by id, as they stand in self-generation and training."""

import yaml

from nemo_desta.errors import ConfigError
from nemo_desta.paths import conf_dir

__all__ = ["system_prompt"]


def system_prompt(id_or_text: str) -> str:
    """The text behind an id of conf/prompts/system.yaml; what contains a space is a prompt itself; "" is none.

    Raises:
        ConfigError: one word that is no id.
    """
    known = yaml.safe_load((conf_dir() / "prompts" / "system.yaml").read_text(encoding="utf-8"))["prompts"]
    if id_or_text in known:
        return known[id_or_text] or ""
    if id_or_text and " " not in id_or_text:
        raise ConfigError(
            f"no system prompt has the id {id_or_text!r}; there are: {', '.join(known)}, or give a sentence"
        )
    return id_or_text
