"""What every test shares: no hub, few threads, little noise, and markers that skip honestly where hardware is missing.

The environment is set before torch, transformers or NeMo can be imported, and subprocesses of tests inherit it.
"""

import os

import pytest
from hypothesis import HealthCheck, settings

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "WANDB_MODE": "disabled",
    "TOKENIZERS_PARALLELISM": "false",
    # torchao looks for CUDA libraries on import and complains at length beside a CPU build of torch.
    "TORCHAO_FORCE_SKIP_LOADING_SO_FILES": "1",
    # Tiny models gain nothing from threads, and tests that start two processes lose.
    "OMP_NUM_THREADS": "2",
    "MPLBACKEND": "Agg",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

# Machines differ in speed and are shared: no test fails for being slow, and CI tries the same examples every time.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_configure(config: pytest.Config) -> None:
    """Silence deprecations inside third-party packages; those raised from our own code stay visible."""
    for module in ("hydra", "jieba", "lhotse", "lightning", "nemo", "numba", "peft", "silero_vad", "torch", "torchao"):
        for category in (DeprecationWarning, FutureWarning, SyntaxWarning, UserWarning):
            config.addinivalue_line("filterwarnings", rf"ignore::{category.__name__}:{module}.*")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs hardware that this machine lacks; torch is imported only when some test asks for it."""
    for marker, needed in {"requires_gpu": 1, "requires_multi_gpu": 2}.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked and _cuda_devices() < needed:
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=f"needs {needed} CUDA device(s)"))


def _cuda_devices() -> int:
    import torch

    return torch.cuda.device_count()
