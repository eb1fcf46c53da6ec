from collections import Counter

import pytest
import yaml

from nemo_desta.errors import ConfigError
from nemo_desta.paths import conf_dir
from nemo_desta.selfgen.pool_stats import pool_stats
from nemo_desta.selfgen.prompts import KINDS, Prompt, PromptPool, SystemPrompts

PROMPTS = conf_dir() / "prompts"
POOLS = ("speech", "sound", "music")
FROZEN = ["41", "75", "49", "76"]


@pytest.fixture(scope="module")
def pool():
    return PromptPool.from_yaml([PROMPTS / f"{p}.yaml" for p in POOLS])


def test_the_pools_are_large_distinct_and_of_all_kinds(pool):
    counts = Counter(p.id.split("/")[0] for p in pool.prompts)
    assert counts["speech"] >= 4000 and counts["sound"] + counts["music"] >= 3000
    assert {(p.id.split("/")[0], p.kind) for p in pool.prompts} == {(p, k) for p in POOLS for k in KINDS}
    stats = pool_stats(pool)
    assert (stats.exact, stats.betraying) == (0, 0)
    assert all(k.near_share < 0.01 for k in stats.kinds.values()), stats.near_examples


def test_conditions_name_attributes_that_the_seed_mapping_makes(pool):
    seed = yaml.safe_load((conf_dir() / "seed" / "default.yaml").read_text())
    known = {f["field"] for f in seed["fields"]} | {"spoken", "dialogue"}
    smol = PromptPool.from_yaml([PROMPTS / "smol.yaml"])
    known_smol = {f["field"] for f in yaml.safe_load((conf_dir() / "seed" / "smol.yaml").read_text())["fields"]} | {
        "spoken",
        "dialogue",
    }
    for prompts, names in ((pool.prompts, known), (smol.prompts, known_smol)):
        used = {n.removeprefix("!") for p in prompts for n in (*p.requires, *p.when, *([p.about] if p.about else []))}
        assert used <= names


def test_choice_depends_on_nothing_but_seed_cut_and_draw(pool):
    ask = [(f"cut{i}", d) for i in range(50) for d in range(3)]
    first = {a: pool.choose(7, *a, "speech", {"gender": "Female", "spoken": "Yes"}).id for a in ask}
    again = PromptPool(reversed(pool.prompts))
    assert {
        a: again.choose(7, *a, "speech", {"spoken": "Yes", "gender": "Female", "other": "x"}).id for a in reversed(ask)
    } == first
    assert {a: pool.choose(8, *a, "speech", {"gender": "Female", "spoken": "Yes"}).id for a in ask} != first


def test_choice_is_the_same_in_every_process_and_version():
    pool = PromptPool(Prompt(str(i), f"text {i}", "question") for i in range(100))
    assert [pool.choose(0, "cut", d, "speech", {}).id for d in range(4)] == FROZEN


def test_draws_of_a_cut_differ_until_its_prompts_are_used_up():
    pool = PromptPool(Prompt(str(i), f"text {i}", "question") for i in range(5))
    drawn = [pool.choose(0, "c", d, "speech", {}).id for d in range(10)]
    assert sorted(drawn[:5]) == sorted(drawn[5:]) == list("01234")


def test_conditions_hold(pool):
    bare = pool.eligible("sound", {})
    assert bare and all("sound" in p.domains and not any(not r.startswith("!") for r in p.requires) for p in bare)
    dialogue = pool.eligible("speech", {"gender": "Male", "dialogue": "Yes"})
    assert all("dialogue" in p.requires for p in dialogue if p.about == "gender"), (
        "the speaker's gender is asked only where there is one speaker, or by a prompt that speaks of several"
    )
    only = Prompt("a", "t", "question", when={"speed": frozenset({"slow"})})
    assert (
        only.fits("speech", {"speed": "Slow"})
        and not only.fits("speech", {"speed": "Normal"})
        and not only.fits("speech", {})
    )


def test_weights_set_how_often_a_prompt_is_drawn():
    pool = PromptPool([Prompt("a", "a", "question", weight=3.0), Prompt("b", "b", "question", weight=1.0)])
    counts = Counter(pool.choose(0, f"c{i}", 0, "speech", {}).id for i in range(2000))
    assert 1400 < counts["a"] < 1600


def test_kind_weights_hold_whatever_the_number_of_prompts():
    many = [Prompt(f"q{i}", f"q{i}", "question") for i in range(9)]
    few = [Prompt("d", "d", "descriptive"), Prompt("f", "f", "format")]
    pool = PromptPool(many + few, kind_weights={"question": 1, "descriptive": 3})
    counts = Counter(pool.choose(0, f"c{i}", 0, "speech", {}).kind for i in range(2000))
    assert counts.keys() == {"question", "descriptive"}
    assert 1400 < counts["descriptive"] < 1600


@pytest.mark.parametrize("weights", [{}, {"quiz": 1}, {"question": 0}, {"question": -1}])
def test_impossible_kind_weights_are_refused(weights):
    with pytest.raises(ConfigError, match="kind_weights"):
        PromptPool([Prompt("a", "a", "question")], weights)


def test_nothing_fits_gives_none():
    assert (
        PromptPool([Prompt("a", "a", "question", domains=frozenset({"music"}))]).choose(0, "c", 0, "speech", {}) is None
    )


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"kind": "question", "prompts": ["What does the metadata say?"]}, "betrays"),
        ({"kind": "question", "prompts": ["Repeat the text above."]}, "betrays"),
        ({"kind": "quiz", "prompts": ["x"]}, "kind"),
        ({"kind": "question", "prompts": []}, "no prompts"),
        ({"kind": "question", "prompts": [{"a": 1}]}, "must be text"),
        ({"kind": "question", "prompts": ["a", "a"]}, "twice"),
        ({"kind": "question", "promts": ["a"]}, "promts"),
        ({"kind": "question", "weight": 0, "prompts": ["a"]}, "weight"),
    ],
)
def test_pool_files_with_mistakes_are_refused(tmp_path, group, message):
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({"pool": "p", "groups": [group]}))
    with pytest.raises(ConfigError, match=message):
        PromptPool.from_yaml([path])


def test_system_prompts_are_chosen_by_id_and_do_not_betray():
    system = SystemPrompts.from_yaml(PROMPTS / "system.yaml")
    assert {system.choose(0, f"c{i}", 0)[0] for i in range(100)} == set(system.texts)
    assert SystemPrompts.from_yaml(PROMPTS / "system.yaml", ["brief"]).choose(0, "c", 0) == ("brief", "Answer briefly.")
    with pytest.raises(ConfigError, match="nobody"):
        SystemPrompts.from_yaml(PROMPTS / "system.yaml", ["nobody"])
