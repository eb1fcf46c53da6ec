import pytest

from nemo_desta.errors import ConfigError
from nemo_desta.paths import conf_dir
from nemo_desta.selfgen.config import load_yaml
from nemo_desta.selfgen.filters import ResponseFilter


def reason(check: ResponseFilter, *args, **kwargs) -> str | None:
    verdict = check(*args, **kwargs)
    return verdict and verdict.reason


DEFAULT = load_yaml(conf_dir() / "filters" / "default.yaml")
STATEMENTS = {"gender": {"Female": ["woman|female|she"], "Male": ["man|male|he"]}}


@pytest.mark.parametrize(
    ("response", "finish", "verdict"),
    [
        ("A woman speaks calmly.", "stop", None),
        ("He describes the weather, and a contextual clue is given.", "stop", None),
        ("  \n", "stop", "empty"),
        ("A woman speaks", "length", "length"),
        ("The description mentions a woman.", "stop", "betrays_text"),
        ("According to the metadata, she is old.", "stop", "betrays_text"),
        ("The text says hello.", "stop", "betrays_text"),
        ("The boy ran. (Gender: Female, Language: English)", "stop", "betrays_text"),
        ("As an AI language model, I have no ears.", "stop", "refusal"),
        ("I cannot listen to audio.", "stop", "refusal"),
        ("<start_audio>[00:00-00:02] Hello.", "stop", "betrays_text"),
        ("[00:00-00:02] Hello.", "stop", "betrays_text"),
        ("La personne est une femme qui parle vite.", "stop", "wrong_language"),
        ("it is a mix of a mix of a mix of a mix of a mix of things", "stop", "repetition"),
    ],
)
def test_default_rules(response, finish, verdict):
    assert reason(ResponseFilter(DEFAULT), response, finish, {}, None, "Who is speaking in this clip?") == verdict


@pytest.mark.parametrize(
    ("response", "finish", "matched"),
    [
        ("According to the metadata, she is old.", "stop", "metadata"),
        ("Sorry, I cannot listen to audio.", "stop", "I cannot listen to audio"),
        ("la " * 30, "stop", "la la la la"),
        ("A voice that goes on and", "length", "A voice that goes on and"),
    ],
)
def test_a_verdict_says_what_was_found(response, finish, matched):
    assert ResponseFilter(DEFAULT)(response, finish, {}).matched == matched


def test_cut_responses_are_kept_only_on_request():
    assert ResponseFilter({"on_length": "keep"})("A woman speaks", "length", {}) is None


def test_words_of_another_value_contradict_the_seed():
    check = ResponseFilter({"statements": STATEMENTS})
    assert reason(check, "A female voice.", "stop", {"gender": "Female"}) is None
    assert reason(check, "A male voice.", "stop", {"gender": "Female"}) == "contradiction:gender"
    assert reason(check, "A woman or a man?", "stop", {"gender": "Female"}) == "contradiction:gender"
    assert reason(check, "A male voice.", "stop", {}) is None
    for denial in ("It is not a woman.", "It isn't really female.", "No woman at all."):
        assert reason(check, denial, "stop", {"gender": "Female"}) == "contradiction:gender"
    assert reason(check, "It is not loud, a woman speaks.", "stop", {"gender": "Female"}) is None


def test_forbidden_words_of_one_value():
    check = ResponseFilter({"contradictions": {"noise": {"Clean": ["hiss(es|ing)?"]}}})
    assert reason(check, "There is hissing.", "stop", {"noise": "clean"}) == "contradiction:noise"
    assert reason(check, "There is hissing.", "stop", {"noise": "Noisy"}) is None


def test_a_response_must_state_what_was_asked():
    check = ResponseFilter({"statements": STATEMENTS, "beside_the_point": True})
    assert reason(check, "Nice voice.", "stop", {"gender": "Male"}, about="gender") == "beside_the_point:gender"
    assert reason(check, "It is a man.", "stop", {"gender": "Male"}, about="gender") is None
    assert reason(check, "Nice voice.", "stop", {"gender": "Male"}) is None
    assert reason(check, "A piano plays.", "stop", {"instrument": "Piano"}, about="instrument") is None


@pytest.mark.parametrize(
    "config",
    [
        {"betrays": ["("]},
        {"on_length": "cut"},
        {"rules": []},
        {"statements": {"gender": ["x"]}},
        {"repetition": {"ngram": 0}},
        {"repetition": {"words": 3}},
        {"language": {"expected": "English"}},
        {"language": {"exempt": ["("]}},
        {"language": {"min_confidence": 2}},
    ],
)
def test_mistakes_in_rules_are_refused(config):
    with pytest.raises(ConfigError):
        ResponseFilter(config)
