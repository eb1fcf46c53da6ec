"""The one place that touches NeMo's and Lightning's registries."""

__all__ = ["register", "register_strategies"]


def register() -> None:
    """Make NeMo know the `input_cfg` type `desta`; may be called any number of times.

    Worker processes inherit the registration where they are forked (Linux). Readers are built in the training
    process and only used in workers, so a spawned worker needs no registry either.
    """
    from nemo.collections.common.data.lhotse.cutset import data_type_parser

    from nemo_desta.data.source import read_desta

    data_type_parser("desta")(read_desta)


def register_strategies() -> None:
    """Make Lightning know the strategies `desta_ddp` and `desta_fsdp2`; may be called any number of times."""
    from lightning.pytorch.strategies import StrategyRegistry

    from nemo_desta.training.strategies import DDP, FSDP2, DeSTADDPStrategy, DeSTAFSDP2Strategy, StrategyConfig

    for name, strategy in ((DDP, DeSTADDPStrategy), (FSDP2, DeSTAFSDP2Strategy)):
        if name not in StrategyRegistry:
            about = (strategy.__doc__ or "").partition("\n")[0]
            StrategyRegistry.register(name, strategy, about, options=StrategyConfig())
