"""The one place that touches NeMo's registries."""

__all__ = ["register"]


def register() -> None:
    """Make NeMo know the `input_cfg` type `desta`; may be called any number of times.

    Worker processes inherit the registration where they are forked (Linux). Readers are built in the training
    process and only used in workers, so a spawned worker needs no registry either.
    """
    from nemo.collections.common.data.lhotse.cutset import data_type_parser

    from nemo_desta.data.source import read_desta

    data_type_parser("desta")(read_desta)
