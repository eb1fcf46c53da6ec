"""The rule on languages, with the real detector and real sentences."""

import pytest
import yaml

from nemo_desta.paths import conf_dir
from nemo_desta.selfgen.config import load_yaml
from nemo_desta.selfgen.language import LanguageRule

PROMPT = "What is going on in this clip?"


@pytest.fixture(scope="module")
def rule():
    return LanguageRule(load_yaml(conf_dir() / "filters" / "default.yaml")["language"])


@pytest.fixture(scope="module")
def sentences(request):
    path = request.config.rootpath / "nemo_desta" / "recipes" / "data" / "sentences.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_english_passes_and_other_languages_do_not(rule, sentences):
    def share(language):  # two sentences: what a short response has
        pairs = [f"{a} {b}" for a, b in zip(sentences[language], sentences[language][1:], strict=False)]
        return sum(rule(p, PROMPT) is not None for p in pairs) / len(pairs)

    assert share("English") == 0
    assert all(share(other) > 0.97 for other in sentences if other != "English")


def test_no_prompt_of_the_pools_forbids_english(rule):
    answer = "The speaker sounds calm and friendly, and the room is quiet."
    wrong = []
    for pool in ("speech", "sound", "music"):
        groups = yaml.load((conf_dir() / "prompts" / f"{pool}.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
        wrong += [p for g in groups["groups"] for p in g["prompts"] if rule(answer, str(p))]
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize(
    ("response", "prompt", "spoken"),
    [
        ("Il est tard.", PROMPT, ""),  # short
        ("The man says “il fait très beau aujourd'hui à Paris”.", PROMPT, ""),
        ('He says: "Nous attendons le prochain train depuis une heure."', PROMPT, ""),
        (
            "Nous attendons le prochain train de nuit pour Marseille.\n\nHe waits.",
            PROMPT,
            "nous attendons le prochain train de nuit pour Marseille.",
        ),
        ("Une femme parle lentement dans une pièce calme.", "Tell me in French what you hear.", ""),
        ("Une femme parle lentement dans une pièce calme.", "Answer in the language of the speaker.", ""),
        ("Nous attendons le prochain train de nuit.", "Repeat what the speaker says.", ""),
        ("Une femme parle lentement dans une pièce calme.", "Décris ce que tu entends dans cet extrait.", ""),
        ('{"a": 1, "b": [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}', PROMPT, ""),
    ],
)
def test_quotes_short_answers_and_prompts_that_ask_for_it_are_not_hurt(rule, response, prompt, spoken):
    assert rule(response, prompt, spoken) is None


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("他很生气，而且声音很大，说话很快。", "zh"),
        ("Он очень злится и говорит громко.", "ru"),
        ("この人はとても怒っています。", "ja"),
    ],
)
def test_other_scripts_need_few_letters(rule, response, expected):
    assert rule(response, PROMPT) == f"{expected}, not en"


def test_one_language_can_be_asked_for_whatever_the_prompt():
    rule = LanguageRule({"expected": "de"})
    assert rule("A woman is speaking slowly in a quiet room.", PROMPT) == "en, not de"
    assert rule("Eine Frau spricht langsam in einem ruhigen Raum.", PROMPT) is None
