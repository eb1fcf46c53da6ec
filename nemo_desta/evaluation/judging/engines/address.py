"""The address of an endpoint and its key: used in requests, shown nowhere."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from nemo_desta.errors import ConfigError

__all__ = ["Address"]

_SHORTEST = 8  # characters of a secret; shorter keys ("none", "EMPTY") are words that replies may hold


@dataclass(frozen=True)
class Address:
    """Where requests go.

    Attributes:
        shown: without user, password and query; for people.
        base_url: without query; None: the client's default.
        query: of every request.
        key: sent with every request.
        key_env: variable that it came from.
    """

    shown: str
    key_env: str
    base_url: str | None = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    key: str = field(repr=False)
    _secrets: tuple[str, ...] = field(repr=False)

    @classmethod
    def find(cls, base_url: str | None, key_env: str) -> "Address":
        """From the settings and the environment.

        Args:
            base_url: None: $OPENAI_BASE_URL, or else the address of OpenAI itself.
            key_env: variable that holds the key; at an address of one's own it may be unset.

        Raises:
            ConfigError: the address is none.
        """
        key = os.environ.get(key_env, "").strip()
        url = base_url or os.environ.get("OPENAI_BASE_URL", "").strip() or None
        if url is None:
            return cls("OpenAI", key_env, None, {}, key, _long(key))
        try:
            parts = urlsplit(url)
            host = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
        except ValueError:
            host = parts = None
        if not host or parts.scheme not in ("http", "https") or parts.hostname is None:
            raise ConfigError("the judge's base_url is no address; it looks like http://HOST:PORT/v1.")
        if ":" in parts.hostname:
            host = host.replace(parts.hostname, f"[{parts.hostname}]", 1)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        hidden = [*(t for t in (parts.username, parts.password) if t), *query.values()]
        secrets = [key, *hidden, *map(quote, hidden), *map(unquote, hidden)]
        return cls(
            shown=urlunsplit((parts.scheme, host, parts.path, "", "")),
            key_env=key_env,
            base_url=urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")),
            query=query,
            key=key or "none",
            _secrets=_long(*secrets),
        )

    def check(self) -> None:
        """Nothing can be asked without a key where one is needed.

        Raises:
            ConfigError: OpenAI itself is meant, and there is no key.
        """
        if self.base_url is None and not self.key:
            raise ConfigError(
                f"the judge's key is not there: set the environment variable {self.key_env}, or give the address of an "
                "endpoint of your own (openai:MODEL@http://HOST:PORT/v1), or use a local judge (local:MODEL)."
            )

    def without_key(self, text: str) -> str:
        """A reply, with the key taken out should the endpoint have repeated it."""
        return text.replace(self.key, "***") if len(self.key) >= _SHORTEST else text

    def without_secrets(self, text: str) -> str:
        """A message, with the key and all that the address hides taken out: endpoints like to repeat them."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _long(*secrets: str) -> tuple[str, ...]:
    return tuple(sorted({s for s in secrets if len(s) >= _SHORTEST}, key=len, reverse=True))
