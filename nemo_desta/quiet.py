"""Keeps known, harmless messages of third-party packages off a user's console. Everything else is let through."""

import logging
import os

__all__ = ["quiet_known_noise"]

_KNOWN = {
    "nv_one_logger.api.config": "OneLogger: Setting error_handling_strategy",  # NeMo's telemetry, which is off
    "nv_one_logger.training_telemetry.api.training_telemetry_provider": "No exporters were provided",
    "torch.utils._pytree": "<enum '",  # torchao registers enums in a way that torch 2.13 calls deprecated
    "torchao": "Skipping import of cpp extensions",
}
"""Logger -> how the message starts."""

_ENVIRONMENT = {
    "TORCHAO_FORCE_SKIP_LOADING_SO_FILES": "1",  # its CUDA libraries are not used, and fail at length beside a CPU torch
    "TOKENIZERS_PARALLELISM": "false",  # tokenizers warn whenever a data loader forks
}


def quiet_known_noise() -> None:
    """Call before NeMo is imported; costs nothing. Values that the user's environment sets are kept."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name, start in _KNOWN.items():
        logger = logging.getLogger(name)
        if not any(isinstance(known, _Drop) for known in logger.filters):
            logger.addFilter(_Drop(start))


class _Drop(logging.Filter):
    """Drops the messages that begin with a text."""

    def __init__(self, start: str) -> None:
        super().__init__()
        self.start = start

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self.start)
