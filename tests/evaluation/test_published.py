"""Published figures: where they come from, and that they agree with themselves or say that they do not."""

import math

import pytest

from nemo_desta.errors import ConfigError
from nemo_desta.evaluation.benchmarks import BENCHMARKS
from nemo_desta.evaluation.benchmarks.voicebench.sets import FIGURES
from nemo_desta.evaluation.published import figure_name, published_rows
from nemo_desta.evaluation.scores import Metric

ROWS = [(b, row) for b in BENCHMARKS for row in published_rows(b)]
NAMES = [f"{b}-{row.system}" for b, row in ROWS]


@pytest.mark.parametrize(("benchmark", "row"), ROWS, ids=NAMES)
def test_a_row_states_its_source_and_holds_possible_figures(benchmark, row):
    assert row.system and row.source and row.rule and row.data_version and row.figures
    for name, value in row.figures.items():
        rating = name in ("alpacaeval", "commoneval", "wildvoice")
        low, high = (1, 5) if rating else (-100, 0) if name == "delta" else (0, 100)
        assert math.isfinite(value) and low <= value <= high, name


def test_no_system_stands_twice_in_a_table():
    keys = [(b, row.source, row.system) for b, row in ROWS]
    assert len(keys) == len(set(keys))


def _rows(benchmark, name):
    return [pytest.param(row, id=row.system) for row in published_rows(benchmark, [name])]


@pytest.mark.parametrize("row", _rows("voicebench", "overall"))
def test_voicebench_overall_is_the_mean_of_nine(row):
    nine = sum(f.weight * row.figures[f.name] for f in FIGURES) / 9
    assert nine == pytest.approx(row.figures["overall"], abs=0.0051)


@pytest.mark.parametrize("hops", ["single", "multi"])
@pytest.mark.parametrize("row", _rows("sakura", "accuracy hops=single"))
def test_sakura_averages_are_means_of_tracks(row, hops):
    tracks = [v for k, v in row.figures.items() if k.startswith("accuracy test=") and k.endswith(f" {hops}")]
    assert len(tracks) == (3 if row.system == "GPT-4o Audio" else 4)
    assert sum(tracks) / len(tracks) == pytest.approx(row.figures[f"accuracy hops={hops}"], abs=0.0501)


@pytest.mark.parametrize("row", _rows("mmau", "accuracy"))
def test_mmau_averages_weigh_tasks_by_their_items_or_say_otherwise(row):
    mean = (
        sum(n * row.figures[f"accuracy task={t}"] for t, n in (("sound", 333), ("music", 334), ("speech", 333))) / 1000
    )
    assert abs(mean - row.figures["accuracy"]) < 0.05 or f"average {mean:.2f}" in row.note


@pytest.mark.parametrize("row", _rows("speech_ifeval", "cot"))
def test_speech_ifeval_rates_are_means_of_three_parts_or_say_otherwise(row):
    mean = sum(row.figures[p] for p in ("closed", "creative", "cot")) / 3
    assert abs(mean - row.figures["if_rate"]) < 0.0051 or f"average {mean:.2f}" in row.note


def test_speech_ifeval_deltas_are_against_the_references():
    by_name = {row.system: row.figures for row in published_rows("speech_ifeval")}
    reference = by_name["Llama3-8B-Instruct (text)"]["if_rate"]
    assert 100 * (by_name["DeSTA2"]["if_rate"] - reference) / reference == pytest.approx(-3.57, abs=0.005)


def test_how_many_there_are():
    assert len(published_rows("sakura")) == 9
    assert sum("33 systems" in row.source for row in published_rows("voicebench")) == 33
    assert [len(row.figures) for row in published_rows("dynamic_superb")] == [55] * 5


def test_dynamic_superbs_columns_are_its_instances():
    from nemo_desta.evaluation.benchmarks import get_benchmark

    instances = {f"accuracy instance={name}" for name in get_benchmark("dynamic_superb").subsets}
    assert all(set(row.figures) <= instances for row in published_rows("dynamic_superb"))


def test_rows_are_chosen_by_figure():
    assert {row.system for row in published_rows("speech_ifeval", ["delta"])} == {
        "DeSTA2",
        "DiVA",
        "BLSP-emo",
        "SALMONN",
        "LTU-AS",
    }
    assert published_rows("mmau", ["wer"]) == []
    assert all(row.verified for row in published_rows("mmau"))
    assert not all(row.verified for row in published_rows("speech_ifeval"))


def test_figures_are_called_as_the_scorers_call_metrics():
    assert figure_name(Metric("accuracy", "task=sound", 1, 1, 1, 1)) == "accuracy task=sound"
    assert figure_name(Metric("accuracy", "all", 1, 1, 1, 1)) == "accuracy"


def test_an_unknown_benchmark_is_refused():
    with pytest.raises(ConfigError, match="sakura"):
        published_rows("sakuraa")
