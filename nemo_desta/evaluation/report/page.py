"""Scores to one self-contained HTML page: nothing is fetched, everything from the data is escaped."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nemo_desta.evaluation.items import Data
from nemo_desta.evaluation.paired import p_text
from nemo_desta.evaluation.report import figures
from nemo_desta.evaluation.report.answers import listings
from nemo_desta.evaluation.report.sections import Section, sections
from nemo_desta.evaluation.report.sounds import Sounds
from nemo_desta.files import whole_file
from nemo_desta.view.html import assets, environment
from nemo_desta.view.sound import frequency_marks

__all__ = ["write_report"]

_HERE, _VIEW = "nemo_desta.evaluation.report", "nemo_desta.view"


def write_report(
    scores_files: Sequence[Path],
    output: Path,
    audio_root: Path | None = None,
    data: Mapping[str, Data] | None = None,
) -> Path:
    """Write the page.

    Args:
        scores_files: scores.json of each predictor and benchmark.
        output: the page.
        audio_root: folder that the clips' paths are relative to, for all benchmarks.
        data: questions by benchmark; their roots serve where `audio_root` is None.

    Returns:
        `output`.

    Raises:
        EvaluationError: there are no scores, or a file is none.
    """
    found = sections(scores_files)
    sounds = Sounds(_roots(found, audio_root, data))
    jinja = environment(_HERE)
    jinja.filters.update(number=figures.number, signed=figures.signed, p=p_text)
    jinja.globals.update(interval=figures.interval, figure=figures.figure, charts=figures.charts)
    page = jinja.get_template("page.html").render(
        sections=found, listings=listings(found, sounds, data), marks=frequency_marks() if sounds.roots else [],
        **assets(((_VIEW, "page.css"), (_HERE, "page.css")), (_HERE, "page.js")),
    )  # fmt: skip
    with whole_file(Path(output)) as file:
        file.write(page.encode())
    return Path(output)


def _roots(found: Sequence[Section], audio_root: Path | None, data: Mapping[str, Data] | None) -> dict[str, Path]:
    names = [s.main.scores.benchmark for s in found]
    if audio_root is not None:
        return {name: Path(audio_root) for name in names}
    return {name: data[name].root for name in names if data and name in data}
