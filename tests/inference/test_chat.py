"""A chat remembers its turns and shows its clips once."""

import io
from pathlib import Path

import pytest

from nemo_desta.errors import ConfigError
from nemo_desta.inference.chat import Chat, run_chat
from nemo_desta.inference.prompts import system_prompt

PARITY = Path(__file__).parents[1] / "data" / "parity"
CLIP = str(PARITY / "a0.wav")


class Echo:
    """Answers with the number of messages, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked = []

    def generate(self, conversations, **sampling):
        self.asked.append((conversations, sampling))
        return [f"{len(conversations[0])} messages"]


def test_clips_stand_in_the_first_question_and_every_turn_is_remembered():
    model = Echo()
    chat = Chat(model, ["a.wav", "b.wav"], system="Be brief.", max_new_tokens=5)
    assert chat.ask("Which is louder?") == "2 messages"
    assert chat.ask("Why?") == "4 messages"
    ((conversation,), sampling) = model.asked[1]
    assert sampling == {"max_new_tokens": 5}
    assert conversation == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": "<|AUDIO|><|AUDIO|>\n\nWhich is louder?",
            "audios": [{"audio": "a.wav", "text": None}, {"audio": "b.wav", "text": None}],
        },
        {"role": "assistant", "content": "2 messages"},
        {"role": "user", "content": "Why?"},
    ]


def test_without_clips_the_question_stands_as_it_is():
    model = Echo()
    Chat(model).ask("Hello?")
    assert model.asked[0][0] == [[{"role": "user", "content": "Hello?"}]]


def test_a_transcript_needs_exactly_one_clip():
    with pytest.raises(ConfigError, match="there are 2"):
        Chat(Echo(), ["a.wav", "b.wav"], transcript="hi")


def test_system_prompt_is_an_id_or_a_sentence():
    assert " " in system_prompt("brief")
    assert system_prompt("Say less.") == "Say less."
    assert system_prompt("") == ""
    with pytest.raises(ConfigError, match="no system prompt has the id 'breif'; there are: "):
        system_prompt("breif")


def test_a_real_checkpoint_answers_typed_questions_until_an_empty_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("What is it?\nAgain?\n\nnever asked\n"))
    run_chat([CLIP], str(PARITY), transcript="a b", max_new_tokens=3)
    typed = capsys.readouterr().out
    assert typed.count("\n") == 2
    run_chat([CLIP], str(PARITY), question="What is it?", transcript="a b", max_new_tokens=3)
    assert capsys.readouterr().out == typed.splitlines(keepends=True)[0]
