"""Google's 25 instruction checkers: each rule at its edge, worked out by hand, and the eight variants of the loose check."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.ifeval.content import detect_language
from nemo_desta.evaluation.ifeval.google import INSTRUCTIONS, check_loose, check_strict, drawn_at_random, variants


def case(name: str, kwargs: dict[str, Any], response: str, follows: bool, rule: str) -> Any:
    return pytest.param(name, kwargs, response, follows, id=f"{name.split(':')[1]}: {rule}")


def at_least(**number: int) -> dict[str, Any]:
    return {"relation": "at least", **number}


def less_than(**number: int) -> dict[str, Any]:
    return {"relation": "less than", **number}


WORDS, SENTENCES = "length_constraints:number_words", "length_constraints:number_sentences"
PARAGRAPHS, FIRST = "length_constraints:number_paragraphs", "length_constraints:nth_paragraph_first_word"
EXISTENCE, FREQUENCY = "keywords:existence", "keywords:frequency"
FORBIDDEN, LETTERS = "keywords:forbidden_words", "keywords:letter_frequency"
PLACES, POSTSCRIPT = "detectable_content:number_placeholders", "detectable_content:postscript"
BULLETS, HIGHLIGHTS = "detectable_format:number_bullet_lists", "detectable_format:number_highlighted_sections"
SECTIONS, JSON, TITLE = (f"detectable_format:{n}" for n in ("multiple_sections", "json_format", "title"))
TWO, REPEAT = "combination:two_responses", "combination:repeat_prompt"
END, QUOTES = "startend:end_checker", "startend:quotation"
CAPITAL, LOWER = "change_case:english_capital", "change_case:english_lowercase"
CAPITAL_WORDS, COMMA = "change_case:capital_word_frequency", "punctuation:no_comma"
LANGUAGE, CONSTRAINED = "language:response_language", "detectable_format:constrained_response"

CASES = [
    case(WORDS, at_least(num_words=4), "I don't know", True, "an apostrophe parts two words"),
    case(WORDS, less_than(num_words=3), "one two three", False, "less than is strict"),
    case(WORDS, at_least(num_words=3), "one two three", True, "at least holds at the number"),
    case(SENTENCES, less_than(num_sentences=2), "Dr. Smith is in.", True, "an abbreviation ends none"),
    case(SENTENCES, at_least(num_sentences=2), "It is. Is it?", True, "two"),
    case(SENTENCES, less_than(num_sentences=2), 'Did you mean "How?" - or not?', False, "a quoted question ends one"),
    case(PARAGRAPHS, {"num_paragraphs": 2}, "a\n***\nb", True, "parted by three asterisks"),
    case(PARAGRAPHS, {"num_paragraphs": 2}, "***\na\n***\nb\n***", True, "empty ends are not counted"),
    case(PARAGRAPHS, {"num_paragraphs": 2}, "a\n***\n***\nb", False, "an empty part inside fails"),
    case(PARAGRAPHS, {"num_paragraphs": 2}, "a\n\nb", False, "an empty line parts nothing"),
    case(FIRST, {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Well"}, "a\n\nwell, b", True, "case and comma"),
    case(FIRST, {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "b"}, "a\n\n'\"b\" c", True, "leading quotes go"),
    case(FIRST, {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "b"}, "a\n\n\"'b\" c", False, "double then single"),
    case(FIRST, {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "b"}, "a\n\n\n\nb", False, "n counts empty parts"),
    case(FIRST, {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "a"}, "a\n\nb", False, "exactly so many"),
    case(EXISTENCE, {"keywords": ["cat", "Dog"]}, "Education of dogs", True, "part of a word will do, case ignored"),
    case(EXISTENCE, {"keywords": ["amazed"]}, "in amazement", False, "another form will not"),
    case(EXISTENCE, {"keywords": ["a.c"]}, "abc", True, "a keyword is a pattern"),
    case(FREQUENCY, at_least(keyword=" cat ", frequency=2), "cat, bobcat", True, "stripped, no word boundaries"),
    case(FREQUENCY, less_than(keyword="cat", frequency=2), "cat CAT", False, "less than is strict"),
    case(FORBIDDEN, {"forbidden_words": ["cat"]}, "a bobcat", True, "a part of a word is allowed"),
    case(FORBIDDEN, {"forbidden_words": ["cat"]}, "Cat!", False, "case ignored"),
    case(LETTERS, {"letter": "E", "let_frequency": 2, "let_relation": "at least"}, "Eve", True, "case ignored"),
    case(LETTERS, {"letter": "!", "let_frequency": 2, "let_relation": "at least"}, "a!!", True, "what is no letter"),
    case(PLACES, {"num_placeholders": 2}, "[] [a]", True, "an empty one counts"),
    case(PLACES, {"num_placeholders": 1}, "[a\nb]", False, "within a line"),
    case(POSTSCRIPT, {"postscript_marker": "P.S."}, "x p. s. y", True, "anywhere, case and a blank"),
    case(POSTSCRIPT, {"postscript_marker": "P.S."}, "x P.S y", False, "with its last full stop"),
    case(POSTSCRIPT, {"postscript_marker": "P.P.S"}, "x P.P. S", True, "P.P.S needs none"),
    case(BULLETS, {"num_bullets": 2}, "* a\n- b", True, "asterisk and dash"),
    case(BULLETS, {"num_bullets": 1}, "**a**\n* b", True, "bold text is none"),
    case(BULLETS, {"num_bullets": 0}, "• a\n1. b", True, "dots and numbers are none"),
    case(CONSTRAINED, {}, "Well. My answer is no. So.", True, "stands somewhere"),
    case(CONSTRAINED, {}, "My answer is no", False, "with its full stop"),
    case(HIGHLIGHTS, {"num_highlights": 2}, "*a* and *b*", True, "two"),
    case(HIGHLIGHTS, {"num_highlights": 1}, "**a**", True, "bold is one"),
    case(HIGHLIGHTS, {"num_highlights": 2}, "**a**", False, "bold is not two"),
    case(HIGHLIGHTS, {"num_highlights": 1}, "* *", False, "holds something"),
    case(SECTIONS, {"section_spliter": "Section", "num_sections": 2}, "Section 1 a Section2 b", True, "blank or not"),
    case(SECTIONS, {"section_spliter": "Section", "num_sections": 1}, "SECTION 1", False, "case counts"),
    case(SECTIONS, {"section_spliter": "Section", "num_sections": 1}, "Section A", False, "a number follows"),
    case(JSON, {}, '```json\n{"a": 1}\n```', True, "between fences"),
    case(JSON, {}, "12", True, "a bare number"),
    case(JSON, {}, 'Here: {"a": 1}', False, "nothing beside it"),
    case(JSON, {}, '{"a": 1', False, "whole"),
    case(TITLE, {}, "x <<joy>> y", True, "anywhere"),
    case(TITLE, {}, "<< >>", False, "holds something"),
    case(TITLE, {}, "<<a\nb>>", False, "within a line"),
    case(TWO, {}, "a ****** b", True, "two"),
    case(TWO, {}, "****** a ****** b ******", True, "empty ends are not counted"),
    case(TWO, {}, "a ****** ****** b", False, "an empty part inside fails"),
    case(TWO, {}, "a ****** a ", False, "different"),
    case(REPEAT, {"prompt_to_repeat": " Say It "}, " say it: yes", True, "case and blanks ignored"),
    case(REPEAT, {"prompt_to_repeat": "Say"}, '"Say it', False, "not after a quote"),
    case(END, {"end_phrase": "The end."}, 'So. THE END." ', True, "case and a closing quote ignored"),
    case(END, {"end_phrase": "The end."}, "The end. Bye", False, "nothing follows"),
    case(QUOTES, {}, ' "a" ', True, "blanks around do no harm"),
    case(QUOTES, {}, '"', False, "one quote is not two"),
    case(CAPITAL, {}, "THIS IS A LONG ENGLISH SENTENCE.", True, "capitals, English"),
    case(CAPITAL, {}, "DAS IST EIN SCHÖNER DEUTSCHER SATZ.", False, "capitals, German"),
    case(LOWER, {}, "this is a long english sentence.", True, "lower case, English"),
    case(LOWER, {}, "12", False, "no letter at all is not lower case"),
    case(CAPITAL_WORDS, {"capital_relation": "at least", "capital_frequency": 2}, "I saw WELL-KNOWN", True, "I; hyphens"),
    case(CAPITAL_WORDS, {"capital_relation": "less than", "capital_frequency": 1}, "Ab", True, "a capital alone is none"),
    case(COMMA, {}, "a; b", True, "none"),
    case(COMMA, {}, "a, b", False, "one"),
    case(LANGUAGE, {"language": "fr"}, "Le chat est assis sur la table de la cuisine.", True, "French"),
    case(LANGUAGE, {"language": "fr"}, "123", True, "no language to detect counts as followed"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kwargs", "response", "follows"), CASES)
def test_the_rule_at_its_edge(name: str, kwargs: dict[str, Any], response: str, follows: bool) -> None:
    assert check_strict(name, kwargs, "", response) is follows


def test_there_are_25_instructions_and_each_is_tried_here() -> None:
    assert len(INSTRUCTIONS) == 25
    assert {c.values[0] for c in CASES} == set(INSTRUCTIONS)


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_an_empty_response_follows_nothing(name: str) -> None:
    assert not check_strict(name, {}, "", " \n")
    assert not check_loose(name, {}, "", "")


@pytest.mark.parametrize(
    ("response", "strict", "loose"),
    [
        pytest.param("Sure!\n{}", False, True, id="without the first line"),
        pytest.param("{}\nBye", False, True, id="without the last line"),
        pytest.param("Sure!\n{}\nBye", False, True, id="without both"),
        pytest.param("Sure!\n*{}*\nBye", False, True, id="without both and asterisks"),
        pytest.param("{}", True, True, id="as it is"),
        pytest.param("Sure!\nYes!\n{}", False, False, id="one line only"),
    ],
)
def test_loose_is_any_of_eight_variants(response: str, strict: bool, loose: bool) -> None:
    assert (check_strict(JSON, {}, "", response), check_loose(JSON, {}, "", response)) == (strict, loose)


def test_variants_are_stripped_where_lines_were_cut() -> None:
    assert variants("a\n *b* \nc") == ["a\n *b* \nc", "a\n b \nc", "*b* \nc", "b \nc", "a\n *b*", "a\n b", "*b*", "b"]


def test_nulls_and_keys_of_other_instructions_do_no_harm() -> None:
    kwargs = {"num_words": 1.0, "relation": "at least", "keywords": None, "first_word": "x"}
    assert check_strict(WORDS, kwargs, "", "one")


@pytest.mark.parametrize(
    ("name", "kwargs", "said"),
    [
        (WORDS, {"num_words": 3}, "relation must be 'less than' or 'at least'"),
        (WORDS, {"num_words": None, "relation": "at least"}, "num_words must be a number"),
        (WORDS, {"num_words": 2.5, "relation": "at least"}, "num_words must be a number"),
        (WORDS, {"num_words": float("nan"), "relation": "at least"}, "num_words must be a number"),
        (EXISTENCE, {"keywords": []}, "keywords must be a list"),
        (EXISTENCE, {"keywords": ["a(b"]}, "is no regular expression"),
        (END, {}, "end_phrase must be a text"),
        ("keywords:existance", {}, "keywords:existence"),
    ],
)
def test_arguments_that_google_would_draw_at_random_are_an_error(name: str, kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        check_strict(name, kwargs, "", "words")


def test_a_letter_that_is_none_is_told() -> None:
    assert drawn_at_random(LETTERS, {"letter": "#"}) == "letter '#'"
    assert drawn_at_random(LETTERS, {"letter": "Q"}) is None
    assert drawn_at_random(WORDS, {"letter": None}) is None


def test_the_language_of_a_text_never_changes() -> None:
    mixed = "hello le monde ist gut no es verdad"
    assert len({detect_language(mixed) for _ in range(5)}) == 1


@settings(max_examples=50)
@given(st.text(alphabet="aB1*-#.[]<>\"',! \n", max_size=40))
def test_what_passes_strictly_passes_loosely(response: str) -> None:
    for name, kwargs in ((BULLETS, {"num_bullets": 1}), (JSON, {}), (TITLE, {}), (COMMA, {}), (TWO, {}), (QUOTES, {})):
        assert check_strict(name, kwargs, "", response) <= check_loose(name, kwargs, "", response)
