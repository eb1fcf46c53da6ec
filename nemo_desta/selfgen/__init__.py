"""Self-generation: the backbone LLM writes the training targets from seed descriptions (DeSTA2.5, data construction)."""

__all__ = ["SelfGenConfig", "run_selfgen"]


def __getattr__(name: str):
    if name in __all__:
        from nemo_desta.selfgen import engine

        return getattr(engine, name)
    raise AttributeError(f"module 'nemo_desta.selfgen' has no attribute {name!r}")
