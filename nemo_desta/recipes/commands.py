"""`desta-lhotse`: all of Lhotse's commands, with the recipes of nemo_desta added to `prepare`."""

from __future__ import annotations

import click
from lhotse.bin.modes import cli, prepare
from lhotse.utils import Pathlike

from nemo_desta.errors import DeSTAError
from nemo_desta.recipes.desta_mini import prepare_desta_mini
from nemo_desta.recipes.plan import SPLITS

__all__ = ["cli"]


@prepare.command(name="desta-mini", context_settings={"show_default": True})
@click.argument("output_dir", type=click.Path())
@click.option("-n", "--num-clips", type=int, default=480, help="Number of clips in all.")
@click.option(
    "--split-size",
    type=(click.Choice(SPLITS), int),
    multiple=True,
    help="Number of clips of one split (repeat the option); then only the named splits are made.",
)
@click.option("--seed", type=int, default=0, help="Another seed makes another corpus.")
@click.option("-j", "--num-jobs", type=int, default=1, help="Number of processes; the result does not depend on it.")
def desta_mini(
    output_dir: Pathlike, num_clips: int, split_size: tuple[tuple[str, int], ...], seed: int, num_jobs: int
) -> None:
    """Make desta-mini: speech, sounds and music with true attributes, synthesised without any download."""
    try:
        prepare_desta_mini(output_dir, dict(split_size) or num_clips, seed=seed, num_jobs=num_jobs)
    except DeSTAError as error:
        raise click.ClickException(str(error)) from error
