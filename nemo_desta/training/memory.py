"""Memory of a device, or of this process on a CPU: how much there is, how much is taken, how much was taken at most."""

import re
from pathlib import Path

import torch

from nemo_desta.errors import ConfigError

__all__ = ["available", "high_water", "in_use", "watch"]

_STATUS, _CLEAR, _INFO = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/meminfo")


def available(device: torch.device) -> float:
    """Bytes that this process may have in all: the GPU, or on a CPU what is free and what it has already.

    Raises:
        ConfigError: the system does not tell (no Linux).
    """
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return _read(_INFO, "MemAvailable") + in_use(device)


def in_use(device: torch.device) -> float:
    """Bytes taken now."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    return _read(_STATUS, "VmRSS")


def watch(device: torch.device) -> None:
    """Let `high_water` count from now on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        _CLEAR.write_text("5", encoding="ascii")


def high_water(device: torch.device) -> float:
    """Bytes taken at most since `watch`."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return _read(_STATUS, "VmHWM")


def _read(file: Path, name: str) -> float:
    try:
        return 1024.0 * int(re.search(rf"{name}:\s+(\d+)", file.read_text(encoding="ascii")).group(1))
    except (OSError, AttributeError) as err:
        raise ConfigError(f"{file} does not tell {name}; give the limit by budgets.limit_gb.") from err
