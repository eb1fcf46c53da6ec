"""Computed attributes: what a corpus does not state about its cuts is measured, and turned into words by its quantiles.

After the pseudo-labels of DeSTA2.5 (pitch, volume, speaking speed, noise level) for corpora whose metadata is thin.
"""

__all__ = ["AttributesConfig", "run_attributes"]


def __getattr__(name: str):
    if name in __all__:
        from nemo_desta.attributes import run

        return getattr(run, name)
    raise AttributeError(f"module 'nemo_desta.attributes' has no attribute {name!r}")
