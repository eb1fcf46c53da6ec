"""Which responses decline to answer, and which only look like it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.evaluation.refusals import declines


@pytest.mark.parametrize(
    "response",
    [
        "I cannot determine the emotion of the speaker.",
        "I can’t identify the animal from this recording.",
        "I'm sorry, but I can't assist with that.",
        "I'm sorry, but I am unable to hear the audio clip.",
        "Sorry, I can't help with that request.",
        "Sorry, can't help you.",
        "As an AI language model, I do not have the ability to listen to audio.",
        "As a text-based model, I don't have access to the audio file. Please describe it.",
        "Unfortunately, I'm not able to process audio.",
        "I apologize, but I cannot answer this question.",
        "I am afraid that I cannot answer your question.",
        "I'm sorry for any misunderstanding, but as a chatbot made for language, I don't have the ability to hear.",
        "I do not actually have access to any audio or images, so I can only guess.",
        "I won't provide instructions for that.",
        "I will not comply.",
        "I don't have enough information to answer.",
        "There is not enough information to decide.",
        "There is no audio in your message.",
        "No audio was provided.",
        "The audio file was not provided.",
        "I'm sorry, but the recording wasn't provided.",
        "There is no audio.",
        "Unable to determine the gender.",
        "It is impossible to tell from the recording.",
        "I don't know.",
        "I'm sorry, I don't know the answer.",
        "I have no idea!",
        "A man speaks.\nI cannot determine his emotion.",
        "**I cannot determine** the language.",
        "I CANNOT TELL WHO IS SPEAKING.",
        "I can't tell you what instrument it is.",
    ],
)
def test_declined(response):
    assert declines(response)


@pytest.mark.parametrize(
    "response",
    [
        "",
        "   ",
        "(b) dog",
        'The correct answer is: "dog"',
        "I cannot hear the audio well, but the answer is (b) dog.",
        "I'm unable to identify it with certainty. It is most likely a cat.",
        "I can't determine the exact age, but I would say thirty.",
        "I don't know, I think it is a violin.",
        'The speaker says "I cannot help you with that."',
        "The man says that I cannot provide help.",
        "She tells him: I can't answer your question.",
        "I can't help falling in love with you",
        "I cannot tell a lie",
        "I can't hear you",
        "I can't stop loving this song.",
        "I can't answer the phone right now.",
        "Sorry seems to be the hardest word.",
        "The speaker apologises and sounds sad.",
        "I do not like green eggs.",
        "I don't know why you say goodbye.",
        "It is illegal to do this.",
        "There is no music, only speech.",
        "There was a dog. It barked. I cannot identify its breed.",
        "As an AI, I find that the animal is a dog.",
        "The sound can't be identified as a dog; it is a cat.",
        "No, the audio is loud.",
        "The audio was provided in French.",
        "There is no audio of a dog; it is a cat.",
    ],
)
def test_not_declined(response):
    assert not declines(response)


@given(st.text(max_size=300))
@settings(max_examples=50)
def test_any_text_is_read_and_what_stands_far_back_changes_nothing(text):
    assert declines(text) in (True, False)
    assert not declines("A dog. It barks. It is loud. " + text.replace("know", ""))


def test_long_responses_cost_no_time():
    assert not declines("I can't, " * 20_000)
    assert not declines("very sorry, but that " * 20_000)
