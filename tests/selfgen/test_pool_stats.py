"""Statistics of prompt pools, and making a pool from records."""

import json

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.cli import console
from nemo_desta.errors import ConfigError
from nemo_desta.selfgen.commands import prompts_import
from nemo_desta.selfgen.pool_stats import near_duplicates, pool_stats, similarity
from nemo_desta.selfgen.prompts import Prompt, PromptPool

SENTENCE = "Tell me in a few plain words what the person in this clip says"


def _pool(*texts, kind="question"):
    return PromptPool(Prompt(f"{kind}/{i}", t, kind) for i, t in enumerate(texts))


def test_similarity_is_that_of_word_trigrams():
    assert similarity("one two three four", "One two, three four!") == 1.0
    assert similarity("one two three four", "one two three five") == pytest.approx(1 / 3)
    assert similarity("yes", "no") == 0.0


def test_near_duplicates_are_found_whatever_their_order():
    texts = ["Something else altogether is asked here today", SENTENCE, "And now what?", SENTENCE + " here"]
    assert near_duplicates(texts) == [(1, 3)]
    assert near_duplicates(texts[::-1]) == [(0, 2)]
    assert near_duplicates(texts, threshold=0.99) == []


words = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h"]), min_size=1, max_size=14).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(words, min_size=2, max_size=12))
def test_reported_pairs_are_near_and_equal_texts_are_reported(texts):
    pairs = near_duplicates(texts)
    assert all(a < b and similarity(texts[a], texts[b]) >= 0.7 for a, b in pairs)
    equal = {(a, b) for b in range(len(texts)) for a in range(b) if texts[a] == texts[b]}
    assert equal <= set(pairs)


def test_figures_of_a_pool():
    stats = pool_stats(_pool(SENTENCE, SENTENCE + " now", "Who is it?", "who is it"))
    kind = stats.kinds["question"]
    assert (kind.prompts, kind.near_pairs, stats.exact, stats.betraying) == (4, 2, 1, 0)
    assert (kind.commonest_opening, kind.distinct_openings) == (("tell me", 2), 0.0)
    assert kind.vocabulary == len(set((SENTENCE + " now who is it").lower().split()))


def test_betraying_words_are_counted():
    assert pool_stats(_pool("Who is it?", "What does the metadata say?")).betraying == 1


def test_near_duplicates_are_looked_for_within_a_kind():
    both = PromptPool([Prompt("a", SENTENCE, "question"), Prompt("b", SENTENCE, "descriptive")])
    stats = pool_stats(both)
    assert {k.near_pairs for k in stats.kinds.values()} == {0}
    assert stats.exact == 1


def test_the_console_prints_and_writes_the_figures(tmp_path):
    out = tmp_path / "stats.json"
    result = CliRunner().invoke(console, ["prompts", "stats", "smol", "--json", str(out)], obj={"debug": False})
    assert result.exit_code == 0, result.output
    assert "0 exact duplicates, 0 with betraying words" in result.output
    assert json.loads(out.read_text())["kinds"]["question"]["prompts"] > 5


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "r.jsonl"
    prompts = ["Who speaks?", "Who speaks?", "  What  is heard? ", "Repeat the text above.", ""]
    rows = [
        {"id": str(i), "prompt": p, "messages": [{"role": "user", "content": "x"}], "response": "y"}
        for i, p in enumerate(prompts)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_a_pool_is_made_of_the_prompts_of_records(tmp_path, records, capsys):
    out = tmp_path / "mine.yaml"
    prompts_import(str(records), str(out), None, "question", ["speech"])
    pool = PromptPool.from_yaml([out])
    assert {p.text for p in pool.prompts} == {"Who speaks?", "What is heard?"}
    assert {p.domains for p in pool.prompts} == {frozenset({"speech"})}
    assert yaml.safe_load(out.read_text())["pool"] == "mine"
    assert (
        "2 distinct prompts of 5 records (1 left out for betraying words, 1 records without" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("kind", "domain", "message"), [("quiz", "speech", "use one of"), ("question", "noise", "there are speech")]
)
def test_wrong_kinds_and_domains_are_refused(tmp_path, records, kind, domain, message):
    with pytest.raises(ConfigError, match=message):
        prompts_import(str(records), str(tmp_path / "o.yaml"), None, kind, [domain])


def test_records_without_a_usable_prompt_make_no_pool(tmp_path, records):
    records.write_text("".join(line + "\n" for line in records.read_text().splitlines()[3:]))
    with pytest.raises(ConfigError, match="none of its 2 records"):
        prompts_import(str(records), str(tmp_path / "o.yaml"), None, "question", [])
    assert not (tmp_path / "o.yaml").exists()


def test_a_file_is_never_overwritten(tmp_path, records):
    out = tmp_path / "o.yaml"
    out.write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        prompts_import(str(records), str(out), None, "question", [])
    assert out.read_text() == "mine"
