"""Chat: the transcript is shown, turns are remembered, a bad file ends nothing."""

import pytest

from nemo_desta.errors import AudioError, ConfigError
from nemo_desta.record import AudioRef
from nemo_desta.serving import chat
from tests import tiny


class Echo:
    """A model that answers with the number of the question and keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def generate(self, conversations, max_new_tokens):
        self.asked.append(conversations[0])
        return [f" answer {len(self.asked)} "]


@pytest.fixture
def clip(tmp_path):
    tiny.write_clip(tmp_path / "a b.wav", 0.3)
    return str(tmp_path / "a b.wav")


def start(monkeypatch, checkpoint=None, lines=(), **kwargs):
    model, said, typed = Echo(), [], iter(lines)

    def read(_):
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(chat, "open_model", lambda *_: model)
    chat.run_chat("checkpoint", say=said.append, read=read, **kwargs)
    return model.asked, said


def test_one_question_shows_the_transcript_and_the_answer(monkeypatch, clip):
    asked, said = start(monkeypatch, audio=[clip], transcript=["hello"], question=["Who?"], system="Be brief.")
    assert said == [f'[{clip}] transcript: "hello"', "answer 1"]
    assert [(m.role, m.content) for m in asked[0]] == [("system", "Be brief."), ("user", "<|AUDIO|>\n\nWho?")]
    assert asked[0][1].audios == (AudioRef(clip, "hello"),)


def test_several_questions_are_one_conversation(monkeypatch, clip):
    asked, said = start(monkeypatch, audio=[clip], transcript=["hello"], question=["Who?", "Why?"], system="")
    assert said[1:] == ["answer 1", "answer 2"]
    assert [m.content for m in asked[1]] == ["<|AUDIO|>\n\nWho?", "answer 1", "Why?"]


def test_no_speech_is_said(monkeypatch, clip):
    assert "no speech" in start(monkeypatch, audio=[clip], transcript=[" "], question=["Who?"])[1][0]


def test_the_default_system_prompt_is_one_of_ours(monkeypatch, clip):
    asked, _ = start(monkeypatch, audio=[clip], transcript=[" "], question=["Who?"])
    assert asked[0][0].content == "Answer briefly."


def test_without_a_recording_the_backbone_hears_only_what_was_typed(monkeypatch):
    asked, said = start(monkeypatch, question=["Hi <|AUDIO|>"])
    assert [(m.role, m.content) for m in asked[0]] == [("user", "Hi the audio")]
    assert said == ["answer 1"]


def test_a_conversation_remembers_and_forgets(monkeypatch, clip):
    asked, _ = start(
        monkeypatch, audio=[clip], transcript=["x"], system="", lines=["One?", "", "Two?", "/new", "Three?"]
    )
    assert [[m.content for m in turns] for turns in asked] == [
        ["<|AUDIO|>\n\nOne?"],
        ["<|AUDIO|>\n\nOne?", "answer 1", "Two?"],
        ["<|AUDIO|>\n\nThree?"],
    ]


def test_other_recordings_begin_a_new_conversation_and_bad_ones_do_not(monkeypatch, clip):
    monkeypatch.setattr("nemo_desta.models.generation.transcriber_of", lambda _: lambda audio: "heard")
    lines = [
        "One?",
        "/audio gone.wav",
        "Two?",
        f"/audio '{clip}' '{clip}'",
        "Three?",
        "/audio 'x",
        "/what",
        "/quit",
        "Four?",
    ]
    asked, said = start(monkeypatch, system="", lines=lines)
    assert said[1].startswith("error: recording: gone.wav: no such audio file")
    assert said[3:5] == [f'[{clip}] transcript: "heard"'] * 2
    assert asked[-1][0].content == "<|AUDIO|>\n<|AUDIO|>\n\nThree?"
    assert [len(turns) for turns in asked] == [1, 3, 1]
    assert [a.text for a in asked[-1][0].audios] == ["heard", "heard"]
    assert "cannot be read" in said[-2]
    assert said[-1] == chat.HELP


def test_bad_recordings_and_transcripts_are_refused_at_the_start(monkeypatch, clip):
    with pytest.raises(AudioError, match="no such audio file"):
        start(monkeypatch, audio=["gone.wav"], question=["x"])
    with pytest.raises(ConfigError, match="2 transcripts for 1 recordings"):
        start(monkeypatch, audio=[clip], transcript=["a", "b"], question=["x"])


def test_an_official_checkpoint_talks(clip):
    said = []
    chat.run_chat(
        str(tiny.PARITY), [clip], ["Who?"], transcript=["hi"], max_new_tokens=3, device="cpu", say=said.append
    )
    assert len(said) == 2
