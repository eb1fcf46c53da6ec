"""`desta-lhotse`: all of Lhotse's commands, with the recipes of nemo_desta added to `prepare` (`vctk` takes the place of
Lhotse's command of that name and builds on it)."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import click
from lhotse.bin.modes import cli, prepare
from lhotse.utils import Pathlike

from nemo_desta.errors import DeSTAError
from nemo_desta.recipes.corpus import Manifests
from nemo_desta.recipes.crema_d import prepare_crema_d
from nemo_desta.recipes.desta_mini import prepare_desta_mini
from nemo_desta.recipes.esc50 import prepare_esc50
from nemo_desta.recipes.esd import prepare_esd
from nemo_desta.recipes.gtzan import prepare_gtzan
from nemo_desta.recipes.plan import SPLITS
from nemo_desta.recipes.vctk import prepare_vctk

__all__ = ["cli"]

_JOBS = click.option("-j", "--num-jobs", type=click.IntRange(1), default=1, help="Threads that read the audio headers.")
_MAX_BAD = click.option(
    "--max-bad",
    type=click.FloatRange(0, 1),
    default=0.01,
    help="Share of the clips that may be unusable; they are named in the log and left out.",
)
_MIC = click.option(
    "--mic", type=click.Choice(["mic1", "mic2"]), default="mic2", help="Microphone (release 0.92 has two)."
)


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


def _add(name: str, recipe: Callable[..., Manifests], about: str, *options: Callable[..., Any]) -> None:
    """Add `prepare NAME CORPUS_DIR OUTPUT_DIR`; the options are keywords of the recipe."""

    def command(corpus_dir: str, output_dir: str, **keywords: Any) -> None:
        try:
            manifests = recipe(corpus_dir, output_dir, **keywords)
        except DeSTAError as error:
            raise click.ClickException(str(error)) from error
        for part, sets in manifests.items():
            hours = sum(recording.duration for recording in sets["recordings"]) / 3600
            click.echo(f"{part}: {len(sets['recordings'])} clips, {hours:.2f} h")
        manifest = f"{output_dir}/{name}_cuts_all.jsonl.gz"
        click.echo(f"Paths are relative to {corpus_dir}. Next, for example:")
        click.echo(
            "  "
            + shlex.join(
                ["nemo-desta", "selfgen", f"cuts={manifest}", f"audio_root={corpus_dir}", "output_dir=records"]
            )
        )

    for option in options:
        command = option(command)
    command = click.argument("output_dir", type=click.Path(file_okay=False))(command)
    command = click.argument("corpus_dir", type=click.Path(exists=True, file_okay=False))(command)
    prepare.command(name=name, help=about, context_settings={"show_default": True})(command)


_add("esc50", prepare_esc50, "ESC-50: environmental sounds, one part a fold.", _JOBS, _MAX_BAD)
_add("crema-d", prepare_crema_d, "CREMA-D: acted emotions of 91 speakers of English.", _JOBS, _MAX_BAD)
_add("gtzan", prepare_gtzan, "GTZAN: music in ten genres, from .au or .wav files.", _JOBS, _MAX_BAD)
_add("esd", prepare_esd, "ESD: five emotions in Mandarin and English.", _JOBS, _MAX_BAD)
_add("vctk", prepare_vctk, "VCTK: 110 speakers of English, by Lhotse's recipe, with accents in words.", _MIC)
