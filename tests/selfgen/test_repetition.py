import time

import pytest

from nemo_desta.selfgen.repetition import RepetitionRule

RULE = RepetitionRule({"ngram": 4, "max_count": 2})


@pytest.mark.parametrize(
    "text",
    [
        "it is a mix of a mix of a mix of a mix",
        "ha" * 30,
        "a" * 60,
        "Listen: " + "la-di-da-" * 12 + " and so on.",
        "谢谢" * 20,
        "这个人听起来很高兴，这个人听起来很高兴，这个人听起来很高兴，还有一点累。",
        "เสียงดังมาก" * 4,
        "0" * 50,
        "word-without-end " * 6,
    ],
)
def test_loops_are_found_in_words_characters_and_scripts_without_spaces(text):
    assert RULE(text)


@pytest.mark.parametrize(
    "text",
    [
        "Ha ha ha ha! That was a good one, hahahaha.",
        "Knock, knock, knock. Then silence.",
        "Aaaaaaah! And a long brrrrrrr.",
        "-" * 80,
        "| a | b | c | d | e | f |\n" + "| --- " * 12 + "|",
        "=" * 40 + "\n" + "." * 60,
        "这个声音很高兴，那个声音很难过，第三个声音很生气。",
        "A B",
        "",
    ],
)
def test_laughter_rulers_and_lists_are_no_loops(text):
    assert RULE(text) is None


def test_what_is_repeated_is_told():
    assert RULE("go on and on and go on and on and go on and on") == "go on and on"
    assert RULE("ha" * 30) == "hahaha..."


@pytest.mark.parametrize("unit", ["a", "ab", "abcdefghij", "abc def ghijklm", "x" * 5 + "y" * 33])
@pytest.mark.parametrize("offset", range(0, 21, 3))
def test_a_loop_is_found_wherever_it_begins(unit, offset):
    loop = unit * (max(40, 4 * len(unit)) // len(unit) + 1)
    lead = "Quite another sentence before."[:offset]
    assert RepetitionRule({"ngram": 50})(lead + loop + " end.")


def test_ten_thousand_characters_take_milliseconds():
    text = " ".join(str(i * 7919 % 10007) for i in range(2000))
    started = time.perf_counter()
    for _ in range(10):
        RULE(text)
    assert time.perf_counter() - started < 2
