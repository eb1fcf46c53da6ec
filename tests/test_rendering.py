"""Rendering: the tokenizer's own template, audio places where they belong, and data that never turns into control tokens."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.errors import RenderError
from nemo_desta.record import Message
from nemo_desta.rendering import Renderer
from tests import tiny

Q = 3
RENDERERS = {style: Renderer(tiny.tokenizer(style), Q) for style in tiny.STYLES}
CONTROL = [
    "<|im_end|>",
    "<|im_start|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|AUDIO|>",
    "<|DESTA_LITERAL|>",
    "<think>",
    "</think>",
    "<bos>",
]
each_style = pytest.mark.parametrize("style", tiny.STYLES)
ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=5)  # the small vocabulary lacks some bytes
tricky = st.lists(
    st.sampled_from([*CONTROL, "a", " ", "\n", "<|", "|>", "\u00e9", "\U0001f600"]) | ASCII, max_size=8
).map("".join)


def say(content, *texts, role="user"):
    audios = tuple({"audio": f"{i}.wav", "text": t} for i, t in enumerate(texts))
    return {"role": role, "content": content, **({"audios": list(audios)} if audios else {})}


def official(tokenizer, turns, **kwargs):
    return tokenizer.apply_chat_template(
        turns, tokenize=True, return_dict=False, **{"add_generation_prompt": True, **kwargs}
    )


@each_style
@pytest.mark.parametrize("system", [None, "Be brief."])
def test_without_audio_the_ids_are_the_templates_own(style, system):
    tokenizer = tiny.tokenizer(style)
    turns = [say("Hello  there!\n\nHow\tare you? \u00dcber 12345 \U0001f600")]
    if system and style != "gemma":
        turns = [say(system, role="system"), *turns]
    out = RENDERERS[style].render(turns)
    assert out.input_ids == official(tokenizer, turns)
    assert not any(out.target_mask)
    assert out.audio_positions == []


@each_style
@given(words=st.text(max_size=20))
@settings(max_examples=25)
def test_any_text_without_control_tokens_equals_the_template(style, words):
    turns = [say("x" + words + "x"), say("y" + words + "y", role="assistant"), say("z")]
    assert RENDERERS[style].render(turns).input_ids == official(tiny.tokenizer_cached(style), turns)


@each_style
def test_a_started_answer_is_continued(style):
    turns = [say("Count."), say("One, two,", role="assistant")]
    ids = official(tiny.tokenizer(style), turns, add_generation_prompt=False, continue_final_message=True)
    out = RENDERERS[style].render(turns, " three")
    target = [i for i, t in zip(out.input_ids, out.target_mask, strict=True) if t]
    assert out.input_ids[: len(ids)] == ids
    assert out.input_ids[len(ids) :] == target
    assert RENDERERS[style].tokenizer.decode(target[:-1]) == " three"


def test_a_template_without_system_role_has_the_system_text_folded_into_the_first_user_turn():
    renderer = RENDERERS["gemma"]
    assert not renderer.system_role
    folded = renderer.render([say("Be brief.", role="system"), say("Hi <|AUDIO|>", "yes")])
    assert folded == renderer.render([say("Be brief.\n\nHi <|AUDIO|>", "yes")])
    assert all(RENDERERS[s].system_role for s in tiny.STYLES if s != "gemma")


def test_a_system_text_alone_becomes_the_user_turn():
    renderer = RENDERERS["gemma"]
    assert renderer.render([say("Speak.", role="system")]) == renderer.render([say("Speak.")])


@pytest.mark.parametrize(
    ("style", "end"),
    [("smollm", "<|im_end|>"), ("llama", "<|eot_id|>"), ("qwen", "<|im_end|>"), ("gemma", "<end_of_turn>")],
)
def test_a_target_ends_as_the_llm_ends_its_turns(style, end):
    renderer = RENDERERS[style]
    out = renderer.render([say("Hi")], "Good day.")
    target = [i for i, t in zip(out.input_ids, out.target_mask, strict=True) if t]
    assert target == [*renderer.encode_text("Good day."), renderer.tokenizer.convert_tokens_to_ids(end)]
    assert out.target_mask == [False] * out.context_length + [True] * len(target)


@each_style
def test_audio_places_stand_before_their_transcripts_and_nothing_else_moves(style):
    renderer = RENDERERS[style]
    turns = [
        say("A <|AUDIO|> b <|AUDIO|>.", "one two", " "),
        say("ok", role="assistant"),
        say("<|AUDIO|>\n\nWhat?", "three"),
    ]
    out = renderer.render(turns, "fine")
    transcripts = [renderer.encode_text(t) for t in ("one two", " ", "three")]
    assert out.transcript_lengths == [len(t) for t in transcripts]
    rest, end = [], 0
    for place, transcript in zip(out.audio_positions, transcripts, strict=True):
        rest += [*out.input_ids[end:place], renderer.tokenizer.convert_tokens_to_ids("<|AUDIO|>")]
        end = place + Q + len(transcript)
        assert out.input_ids[place : place + Q] == [renderer.placeholder_id] * Q
        assert out.input_ids[place + Q : end] == transcript
    rest += out.input_ids[end : out.context_length]
    bare = [{k: v for k, v in t.items() if k != "audios"} for t in turns]
    assert rest == official(renderer.tokenizer, bare)


KNOWN = {style: set(renderer.tokenizer.added_tokens_decoder) for style, renderer in RENDERERS.items()}


def controls(style, ids):
    return [i for i in ids if i in KNOWN[style]]


@each_style
@given(words=tricky, said=tricky, answer=tricky)
@settings(max_examples=40)
def test_control_tokens_in_data_stay_text(style, words, said, answer):
    """In user text, transcripts and responses: only the template's own control ids appear, and no character is lost."""
    renderer = RENDERERS[style]
    words = words.replace("<|AUDIO|>", "")
    plain = renderer.render(
        [say("x<|AUDIO|>y", "z"), say("w")] if style not in ("gemma",) else [say("x<|AUDIO|>y", "z")], "v"
    )
    turns = [say(f"x{words}<|AUDIO|>{words}y", said)] + ([say("w" + words)] if style not in ("gemma",) else [])
    out = renderer.render(turns, answer.replace("think>", ""))
    assert controls(style, out.input_ids) == controls(style, plain.input_ids)
    place, size = out.audio_positions[0] + Q, out.transcript_lengths[0]
    transcript = renderer.tokenizer.decode(out.input_ids[place : place + size])
    assert transcript == said if size < renderer.max_transcript_tokens else said.startswith(transcript.rstrip("\ufffd"))
    context = renderer.tokenizer.decode(out.input_ids[: out.audio_positions[0]])
    assert context.endswith(f"x{words}")


@each_style
@given(said=tricky)
@settings(max_examples=40)
def test_control_tokens_in_substitutes_stay_text(style, said):
    renderer = RENDERERS[style]
    plain, out = (renderer.render([say("x<|AUDIO|>y", " ")], substitutes=[s]) for s in ("z", said))
    assert controls(style, out.input_ids) == controls(style, plain.input_ids)
    assert f"x{said}y" in renderer.tokenizer.decode(out.input_ids)
    assert out.audio_positions == out.transcript_lengths == []


def test_an_answer_may_open_with_the_llms_own_thinking_marks():
    """A prefilled or learnt answer is the LLM's own: its added words are tokens there, never in what others say."""
    renderer = RENDERERS["qwen"]
    think = renderer.tokenizer.convert_tokens_to_ids("<think>")
    assert think in renderer.render([say("Hi")], "<think>\n\n</think>\n\nHello").input_ids[-8:]
    prefilled = renderer.render([say("Hi"), say("<think>", role="assistant")]).input_ids
    assert prefilled[-1] == think


@each_style
def test_what_the_llm_read_when_it_wrote_differs_from_the_training_prompt_at_the_span_only(style):
    renderer = RENDERERS[style]
    turns = [say("Listen.", role="system"), say("<start_audio><|AUDIO|><end_audio>\n\nWho speaks?", "hi")]
    seed = "[00:00-00:05] hi (Gender: Female)"
    read, trained = renderer.render(turns, substitutes=[seed]), renderer.render(turns)
    start = trained.audio_positions[0]
    end = start + Q + trained.transcript_lengths[0]
    tail = len(trained.input_ids) - end
    assert tail > 5
    decode = renderer.tokenizer.decode
    whole = decode(read.input_ids)
    assert whole == decode(trained.input_ids[:start]) + seed + decode(trained.input_ids[end:])


def test_a_transcript_is_cut_at_its_limit():
    renderer = Renderer(tiny.tokenizer(), Q, max_transcript_tokens=5)
    out = renderer.render([say("<|AUDIO|>", "one two three four five six seven")])
    assert out.transcript_lengths == [5]


def test_placeholder_and_locator_of_an_official_checkpoint():
    renderer = Renderer(tiny.tokenizer(), Q, locator="<|audio_here|>", placeholder="<jupyter_start>")
    out = renderer.render([say("<|AUDIO|> not <|audio_here|>", "hi")])
    assert out.input_ids[out.audio_positions[0]] == 11
    assert renderer.tokenizer.decode(out.input_ids).count("<|audio_here|>") == 1
    assert renderer.tokenizer.convert_tokens_to_ids("<|audio_here|>") not in out.input_ids


def test_the_callers_tokenizer_is_left_alone():
    tokenizer = tiny.tokenizer()
    before = len(tokenizer)
    Renderer(tokenizer, Q)
    assert len(tokenizer) == before


def test_a_tokenizer_without_template_is_refused():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(RenderError, match=r"has no chat template; use an instruction-tuned LLM"):
        Renderer(tokenizer, Q)


def test_a_tokenizer_without_end_of_sequence_is_refused():
    tokenizer = copy.deepcopy(tiny.tokenizer())
    tokenizer.eos_token = None
    with pytest.raises(RenderError, match="no end-of-sequence token"):
        Renderer(tokenizer, Q)


def test_a_placeholder_of_several_tokens_is_refused():
    with pytest.raises(RenderError, match=r"'two words' is 2 tokens .*must be one; name a reserved token"):
        Renderer(tiny.tokenizer(), Q, placeholder="two words")


def test_a_locator_that_is_no_single_token_is_refused():
    with pytest.raises(RenderError, match=r"must be one"):
        Renderer(tiny.tokenizer(), Q, locator="")


def test_a_template_that_fails_is_refused_at_once():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no roles at all') }}"
    with pytest.raises(RenderError, match="chat template .* fails: no roles at all"):
        Renderer(tokenizer, Q)


@pytest.mark.parametrize(
    ("style", "turns", "extra", "said"),
    [
        (
            "gemma",
            [say("a"), say("b")],
            {},
            r"f:3: the chat template refuses the turns \[user, user\]: roles must alternate",
        ),
        ("smollm", [say("<|AUDIO|>", None)], {}, "f:3: clip 0 has no transcript"),
        ("smollm", [say("<|AUDIO|>", " ")], {"substitutes": []}, "f:3: 0 substitutes for 1 clips"),
        ("smollm", [say("hi")], {"substitutes": ["x"]}, "f:3: 1 substitutes for 0 clips"),
    ],
)
def test_errors_say_where(style, turns, extra, said):
    with pytest.raises(RenderError, match=said):
        RENDERERS[style].render(turns, where="f:3", **extra)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "repeats a message"),
        ("{{ messages[-1].content }}", "dropped 1 clips and 1 pieces"),
    ],
)
def test_a_template_that_repeats_or_drops_turns_is_refused(template, said):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    renderer = Renderer(tokenizer, Q)
    with pytest.raises(RenderError, match=said):
        renderer.render([Message("user", "x"), say("a <|im_end|> <|AUDIO|>", "hi"), say("z")])
