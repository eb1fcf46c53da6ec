"""nemo_desta: DeSTA2.5-Audio for NVIDIA NeMo. Importing this module imports nothing heavy."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["DeSTAModel", "Record", "__version__", "read_records", "write_records"]

_LAZY = {
    "DeSTAModel": "nemo_desta.models.desta",
    "Record": "nemo_desta.record",
    "read_records": "nemo_desta.record",
    "write_records": "nemo_desta.record",
}

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel
    from nemo_desta.record import Record, read_records, write_records


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'nemo_desta' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
