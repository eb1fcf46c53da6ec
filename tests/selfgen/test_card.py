import json

import pytest
import yaml

from nemo_desta.record import read_records
from nemo_desta.selfgen import run_selfgen
from nemo_desta.selfgen.closing.card import hub_license, size_category
from nemo_desta.selfgen.closing.corpora import corpora_of
from nemo_desta.selfgen.closing.markdown import fenced, plain
from nemo_desta.selfgen.closing.tally import Lengths
from tests.selfgen.corpus import write_corpus
from tests.selfgen.fake import FakeBackend

INFO = {
    "name": "Toy <b>corpus</b>",
    "license": "CC BY-NC 4.0, https://creativecommons.org/licenses/by-nc/4.0/",
    "citation": "Doe, J. (2020). A toy.",
    "homepage": "https://example.org/toy",
    "domain": "speech",
}


def make(tmp_path, info=INFO, prompts_per_cut=2):
    cuts = write_corpus(tmp_path / "data", 30)
    cuts = cuts.rename(tmp_path / "data" / "toy_cuts_train.jsonl")
    if info is not None:
        (tmp_path / "data" / "toy_corpus.json").write_text(info if isinstance(info, str) else json.dumps(info))
    run_selfgen(cuts, tmp_path / "out", backend=FakeBackend(), prompts_per_cut=prompts_per_cut, progress=False)
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_card_says_what_hubs_and_people_ask(tmp_path):
    front, body = make(tmp_path)
    assert front["license"] == "cc-by-nc-4.0" and front["size_categories"] == ["n<1K"]
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "records.jsonl"}]
    records = list(read_records(tmp_path / "out" / "records.jsonl"))
    clips = {r.audios[0].audio for r in records}
    assert f"| rows fit to train on | {len(records)} |" in body
    assert f"| clips, each once | {len(clips)} |" in body
    assert f"| hours of audio, each clip once | {3.0 * len(clips) / 3600:.2f} |" in body, "each clip lasts 3 s"
    for piece in ("The audio is not part of this data set", "CC BY-NC 4.0", "Doe, J. (2020)", "https://example.org/toy",
                  "temperature 0.05", "speech, sound, music", "fake, revision 1", "| Gender | ", "| kind | rows |"):  # fmt: skip
        assert piece in body
    assert "<b>" not in body and str(tmp_path) not in body, "no markup out of data, no paths of this machine"


@pytest.mark.parametrize("info", [None, "{", "[]", {"license": "x"}])
def test_a_corpus_without_card_is_said_to_state_no_licence(tmp_path, info):
    front, body = make(tmp_path, info)
    assert front["license"] == "other" and "licence not stated" in body and "toy_cuts_train" in body


def test_provenance_names_all_that_made_a_response(tmp_path):
    make(tmp_path)
    assert {r.provenance.keys() >= {
        "backbone", "backbone_revision", "engine", "sampling", "seed", "pool", "prompt_id", "kind", "about", "system_prompt_id", "domain",
        "cut", "draw", "duration", "recipe", "package_version", "finish_reason", "num_tokens",
    } for r in read_records(tmp_path / "out" / "records.jsonl")} == {True}  # fmt: skip


def test_a_manifest_belongs_to_the_longest_prefix(tmp_path):
    for name in ("esd", "esd_en"):
        (tmp_path / f"{name}_corpus.json").write_text(json.dumps({**INFO, "name": name}))
    found = corpora_of(
        [tmp_path / "esd_en_cuts_all.jsonl.gz", tmp_path / "esd_cuts_all.jsonl.gz", tmp_path / "esd_cuts_dev.jsonl.gz"]
    )
    assert [c["name"] for c in found] == ["esd_en", "esd"]


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("CC BY 4.0", "cc-by-4.0"),
        ("Creative Commons Attribution-NonCommercial 3.0 Unported (CC BY-NC 3.0)", "cc-by-nc-3.0"),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0", "cc-by-nc-sa-4.0"),
        ("CC-BY-SA-3.0", "cc-by-sa-3.0"),
        ("Open Data Commons Open Database License (ODbL) v1.0", "odbl"),
        ("Apache License 2.0", "apache-2.0"),
        ("CC0 1.0", "cc0-1.0"),
        ("for research only, on request", None),
        ("permitted use only", None),
        ("", None),
    ],
)
def test_licences_are_called_as_hubs_call_them(text, identifier):
    assert hub_license(text) == identifier


@pytest.mark.parametrize(
    ("rows", "name"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (5_000_000, "1M<n<10M"), (10**9, "n>100M")]
)
def test_sizes(rows, name):
    assert size_category(rows) == name


def test_text_from_data_is_no_markdown():
    assert plain("a | b\n<i>*x*</i>") == "a \\| b \\<i\\>\\*x\\*\\</i\\>"
    assert fenced("``` and ````").startswith("`````\n")
    assert plain("half \ud800 pair") == "half ? pair"


def test_quantiles_are_exact():
    lengths = Lengths()
    for n in range(1, 101):
        lengths.add(n)
    assert (lengths.mean, lengths.quantile(0.05), lengths.quantile(0.5), lengths.quantile(1.0)) == (50.5, 5, 50, 100)
    assert Lengths().mean == Lengths().quantile(0.5) == 0
