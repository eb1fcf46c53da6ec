"""Responses that decline to answer: a test of ours, for a count beside the score, never for the score itself.

No benchmark but VoiceBench publishes a list of refusals, and that one also finds words that occur in answers ("Sorry",
"I do not"). This one is meant to miss rather than to accuse: English only, the first two sentences only, nothing that
is quoted, and no response that goes on to commit itself.
"""

import re

__all__ = ["declines"]

_SENTENCES = 2
_QUOTED = re.compile(r'"[^"]*"|(?<!\w)\'[^\']*\'(?!\w)')
_BREAK = re.compile(r"(?<=[.!?])\s+|\n+")

_ADVERB = r"(?:\w+ly\ )?"
_NOT = r"do(?:\ not|n't)"
_UNABLE = r"""(?:can(?:\ ?no|')t|could(?:\ not|n't)|(?:am|'m)\ (?:unable|not\ able)\ to|will\ not|won't)"""
_SOUND = r"(?:audio|recording|sound|clip|speech|music|file|speaker|voice|anything)"
_REQUEST = r"(?:question|request|query|task|instruction|prompt)"
_TO_DO = rf"""{_ADVERB}(?:
      (?:determine|identify|provide|ascertain|discern|assess|evaluate|analy[sz]e|classify|recogni[sz]e|verify|comply|assist)\b
    | (?:fulfill?|complete|process)\ (?:\w+\ ){{0,2}}(?:{_REQUEST}|{_SOUND})
    | (?:answer|respond)(?:\ to)?(?=[.!]|$|\ (?:this|that|the|your|any|such)\ (?:\w+\ )?{_REQUEST})
    | (?:help|do)(?:\ you)?(?=[.!]|$|\ (?:with\ )?(?:this|that)(?:\ {_REQUEST})?[.!,]?$)
    | help(?:\ you)?\ (?:with|answer|identify|determine)\b
    | (?:give|offer)\ (?:you\ )?(?:an?|any|the)\ (?:\w+\ )?(?:answer|response|opinion|advice|information)
    | (?:hear|listen\ to|access|play|open)\ (?:\w+\ ){{0,3}}{_SOUND}s?\b
    | (?:hear|listen\ to|process)\ (?:or\ \w+\ )?(?:audio|sounds?|speech)
    | (?:tell|say)\ (?:you\ )?(?:who|what|which|whether|how\ many)\b
)"""
_NOT_THERE = rf"""{_NOT}\ {_ADVERB}have\ (?:access\ to\ (?:\w+\ ){{0,3}}{_SOUND}|the\ (?:ability|capability|means)\ to
    |(?:enough|sufficient|any)\ (?:\w+\ )?(?:information|context|details?|data)|(?:an?|the)\ answer)"""
_LEAD = r"(?P<lead>(?:[^,;:]{0,90}?(?:[,;:]|\bbut|\bthat|\bafraid)\ +){0,3})"

_DECLINES = [
    re.compile(pattern, re.IGNORECASE | re.VERBOSE)
    for pattern in (
        rf"^{_LEAD}i\ ?(?:{_UNABLE}\ (?:{_TO_DO})|{_NOT_THERE})",
        rf"^(?P<lead>(?:so\ |very\ )?sorry,?\ (?:but\ )?|unfortunately,?\ |)(?:can(?:\ ?no|')t|(?:unable|not\ able)\ to)\ {_TO_DO}",
        rf"^{_LEAD}it\ is\ (?:not\ possible|impossible|not\ clear\ enough)\ (?:for\ me\ )?to\ (?:{_TO_DO}|tell|say|answer)",
        rf"^{_LEAD}(?:there\ is|there's|there\ was)\ (?:not\ enough|insufficient|no)\ (?:information|context)\b",
        rf"^{_LEAD}(?:there\ is|there's|there\ was)\ no\ (?:audio|recording)(?:[.!]|$|\ (?:file|clip|in\ your|provided|attached|to)\b)",
        rf"^{_LEAD}(?:no\ (?:audio|recording)(?:\ \w+)?\ (?:was|is|has\ been)|the\ (?:audio|recording)(?:\ \w+)?"
        r"\ (?:was|is|has)(?:n't|\ not)(?:\ been)?)\ (?:provided|attached|given)\b",
    )
]
_NO_IDEA = re.compile(
    r"(?:i'm |i am )?(?:sorry,? )?(?:but )?i (?:do not|don't) know(?: the answer(?: to (?:that|this|the) question)?)?\W*"
    r"|i have no idea\W*",
    re.IGNORECASE,
)
_SAID = re.compile(
    r"\b(?:say|ask|sing|shout|state|repl|tell|transcri)\w*|\b(?:said|told|sang|lyrics?)\b", re.IGNORECASE
)
_COMMITS = re.compile(
    r"\banswer(?: is|'s| would be| should be|:)|\b(?:most likely|probably|best guess|sounds like)\b"
    r"|\b(?:appears|seems|likely) to be\b|\bi(?: would|'d) (?:say|guess|choose|pick|go with)\b|\bi (?:think|believe|guess)\b",
    re.IGNORECASE,
)


def declines(response: str) -> bool:
    """Whether a response declines to answer: says that it cannot or will not, and leaves it at that.

    An empty response declines nothing; nor does one that hedges and then answers ("I cannot hear well, but the answer is
    a dog"), nor one that only reports such words ('She says "I cannot help you"').
    """
    text = _QUOTED.sub("...", _plain(response))
    if _NO_IDEA.fullmatch(text):
        return True
    sentences = [s.strip() for s in _BREAK.split(text) if s.strip()]
    return any(map(_is_refusal, sentences[:_SENTENCES])) and not _COMMITS.search(text)


def _is_refusal(sentence: str) -> bool:
    found = (pattern.search(sentence) for pattern in _DECLINES)
    return any(m is not None and not _SAID.search(m["lead"]) for m in found)


def _plain(text: str) -> str:
    """Straight quotes, single spaces, no Markdown around words."""
    for curly, straight in (("’", "'"), ("‘", "'"), ("“", '"'), ("”", '"')):
        text = text.replace(curly, straight)
    return re.sub(r"[ \t]+", " ", text.replace("*", "")).strip()
