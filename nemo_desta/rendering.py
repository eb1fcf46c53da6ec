"""Messages to token ids: the one place where text meets the tokenizer.

A conversation goes through the tokenizer's own chat template and is tokenised once, as the official code does
it. Places for audio, and control tokens that stand in the data, are marked by two locator tokens and spliced in
as ids afterwards; nothing is turned back into text. So a `<|im_start|>` inside a transcript stays plain text.
"""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tokenizers import AddedToken

from nemo_desta.errors import RenderError
from nemo_desta.record import AUDIO_LOCATOR, Message, parse_messages

__all__ = ["Rendered", "Renderer"]

_LITERAL = "<|DESTA_LITERAL|>"


@dataclass
class Rendered:
    """A conversation as ids.

    Attributes:
        input_ids: T ids; the Q places of each clip's audio features hold the placeholder id.
        target_mask: T booleans, true on the response and the token that ends it.
        audio_positions: for each clip, in order, the index of its first place.
        transcript_lengths: for each clip, how many transcript tokens follow its Q places.
        num_queries: Q.
    """

    input_ids: list[int] = field(default_factory=list)
    target_mask: list[bool] = field(default_factory=list)
    audio_positions: list[int] = field(default_factory=list)
    transcript_lengths: list[int] = field(default_factory=list)
    num_queries: int = 0

    @property
    def audio_end(self) -> int:
        """Index behind the last audio place; 0 without audio."""
        return self.audio_positions[-1] + self.num_queries if self.audio_positions else 0

    @property
    def context_length(self) -> int:
        """Tokens before the target."""
        return len(self.target_mask) - sum(self.target_mask)


class Renderer:
    """Renders conversations for training, generation, evaluation and self-generation alike.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template and an end-of-sequence token; it is copied.
        num_queries: audio places per clip (Q).
        locator: token that stands for a clip while the template is tokenised (`audio_locator` of official
            checkpoints). Message contents always mark a clip by the record's own <|AUDIO|>.
        placeholder: token whose id fills the audio places (official checkpoints name one); None takes the
            id that ends a target. Its embedding is never read.
        max_transcript_tokens: transcripts are cut to this many tokens (100 in the official training).

    Raises:
        RenderError: the tokenizer has no chat template or no end-of-sequence token, or locator or placeholder
            is not one token.
    """

    def __init__(
        self,
        tokenizer,
        num_queries: int,
        locator: str = AUDIO_LOCATOR,
        placeholder: str | None = None,
        max_transcript_tokens: int = 100,
    ) -> None:
        name = getattr(tokenizer, "name_or_path", "?")
        if not getattr(tokenizer, "chat_template", None):
            raise RenderError(
                f"tokenizer {name!r} has no chat template; use an instruction-tuned LLM, or set tokenizer.chat_template."
            )
        if tokenizer.eos_token_id is None:
            raise RenderError(f"tokenizer {name!r} has no end-of-sequence token; the model could never learn to stop.")
        self.tokenizer = copy.deepcopy(tokenizer)
        self.tokenizer.add_tokens([locator, _LITERAL], special_tokens=True)
        named = _named_by_template(tokenizer)
        self._plain = self.tokenizer
        if named:  # only special tokens can be split into text
            self._plain = copy.deepcopy(self.tokenizer)
            self._plain.add_tokens(
                [AddedToken(t, special=True, normalized=False) for t in sorted(named)], special_tokens=True
            )
        self.num_queries = num_queries
        self.locator = locator
        self.max_transcript_tokens = max_transcript_tokens
        self.eos_id = self._end_of_turn()
        self.placeholder_id = self.eos_id if placeholder is None else self._single_id(placeholder)
        self._locator_id = self._single_id(locator)
        self._literal_id = self._single_id(_LITERAL)
        special = {t.content for t in self.tokenizer.added_tokens_decoder.values() if t.special}
        special |= {*self.tokenizer.all_special_tokens, AUDIO_LOCATOR} - {""}
        self._special = _any_of(special)
        self._control = _any_of(special | named)
        self.system_role = self._accepts_system_role()

    def _single_id(self, token: str) -> int:
        ids = self.tokenizer.encode(token, add_special_tokens=False)
        if len(ids) != 1:
            raise RenderError(
                f"{token!r} is {len(ids)} tokens for tokenizer {self.tokenizer.name_or_path!r}, it must be one; "
                "name a reserved token of this tokenizer as locator or placeholder."
            )
        return ids[0]

    def _end_of_turn(self) -> int:
        """The token that ends a target: the one the template puts after the assistant's words, where it is special.

        Mostly that is the tokenizer's end-of-sequence token, as in the official code; Gemma and Phi have another one,
        and it is the one they write.
        """
        probe = "probe-of-the-end"
        turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": probe}]
        try:
            text = self.tokenizer.apply_chat_template(turns, tokenize=False)
        except Exception:  # jinja raises whatever the template's author chose; _accepts_system_role reports it
            return self.tokenizer.eos_token_id
        after = self.tokenizer.encode(text.rpartition(probe)[2], add_special_tokens=False)[:1]
        special = [
            i
            for i in after
            if i in self.tokenizer.added_tokens_decoder and self.tokenizer.added_tokens_decoder[i].special
        ]
        return special[0] if special else self.tokenizer.eos_token_id

    def _accepts_system_role(self) -> bool:
        """Whether the chat template takes a system message and shows it; Gemma's does not."""
        probe = [{"role": "system", "content": "probe-of-the-system-role"}, {"role": "user", "content": "x"}]
        try:
            text = self.tokenizer.apply_chat_template(probe, tokenize=False, add_generation_prompt=True)
        except Exception as err:  # jinja raises whatever the template's author chose
            if "system" in str(err).lower():
                return False
            raise RenderError(f"the chat template of {self.tokenizer.name_or_path!r} fails: {err}") from err
        return "probe-of-the-system-role" in text

    def encode_text(self, text: str) -> list[int]:
        """Ids of what the LLM itself says; special tokens in it stay text, its added words (`<think>`) are tokens."""
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def _encode_plain(self, text: str) -> list[int]:
        """Ids of text from outside; whatever the template could mean something by stays text."""
        return self._plain.encode(text, add_special_tokens=False, split_special_tokens=True)

    def render(
        self,
        messages: Sequence[Message | dict],
        response: str | None = None,
        substitutes: Sequence[str] | None = None,
        where: str = "conversation",
    ) -> Rendered:
        """Turn a conversation into ids.

        Args:
            messages: the turns up to the answer. If the last one is the assistant's, it is continued.
            response: the target; None leaves the conversation open for generation.
            substitutes: one text per clip, put where the clip would be (self-generation, text references).
                None renders audio places and transcripts.
            where: shown in errors.

        Raises:
            RenderError: the template refuses the conversation, a transcript is missing, or the number of
                substitutes differs from the number of clips.
            RecordError: the messages are malformed.
        """
        parsed = parse_messages(list(messages), where)
        clips = [a for m in parsed for a in m.audios]
        if substitutes is not None and len(substitutes) != len(clips):
            raise RenderError(f"{where}: {len(substitutes)} substitutes for {len(clips)} clips; give one for each.")
        pieces: list[list[int]] = []
        turns = self._turns(parsed, substitutes, pieces)
        ids = self._apply_template(turns, where)
        transcripts = (
            [] if substitutes is not None else [self._transcript(a.text, where, i) for i, a in enumerate(clips)]
        )
        out = self._splice(ids, pieces, transcripts, where)
        if response is not None:
            target = [*self.encode_text(response), self.eos_id]
            out.input_ids += target
            out.target_mask += [True] * len(target)
        return out

    def _turns(
        self, messages: Sequence[Message], substitutes: Sequence[str] | None, pieces: list[list[int]]
    ) -> list[dict]:
        """Template-ready turns; control strings of the data are replaced by a mark and their ids go to `pieces`."""
        fill = None if substitutes is None else iter(substitutes)
        turns = []
        for message in messages:
            segments = message.content.split(AUDIO_LOCATOR) if message.audios else [message.content]
            control = self._special if message.role == "assistant" else self._control
            if fill is None:
                content = self.locator.join(self._protect(s, pieces, control) for s in segments)
            else:
                content = self._protect(segments[0] + "".join(next(fill) + s for s in segments[1:]), pieces, control)
            turns.append({"role": message.role, "content": content})
        return turns if self.system_role else _fold_system(turns)

    def _protect(self, text: str, pieces: list[list[int]], control: re.Pattern) -> str:
        def mark(match: re.Match) -> str:
            pieces.append(self._encode_plain(match.group()))
            return _LITERAL

        return control.sub(mark, text)

    def _apply_template(self, turns: list[dict], where: str) -> list[int]:
        continued = turns[-1]["role"] == "assistant"
        try:
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=not continued, continue_final_message=continued
            )
        except Exception as err:  # jinja raises whatever the template's author chose
            roles = ", ".join(t["role"] for t in turns)
            raise RenderError(f"{where}: the chat template refuses the turns [{roles}]: {err}") from err
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _transcript(self, text: str | None, where: str, clip: int) -> list[int]:
        if text is None:
            raise RenderError(
                f"{where}: clip {clip} has no transcript; give its text, or ' ' when nothing is spoken, or transcribe it first."
            )
        return self._encode_plain(text)[: self.max_transcript_tokens]

    def _splice(self, ids: list[int], pieces: list[list[int]], transcripts: list[list[int]], where: str) -> Rendered:
        out, literals, clips = Rendered(num_queries=self.num_queries), iter(pieces), iter(transcripts)
        for token in ids:
            if token == self._literal_id:
                out.input_ids += next(literals, [])
            elif token == self._locator_id:
                transcript = next(clips, None)
                if transcript is None:
                    raise RenderError(f"{where}: the chat template repeats a message; its clips cannot be placed.")
                out.audio_positions.append(len(out.input_ids))
                out.transcript_lengths.append(len(transcript))
                out.input_ids += [self.placeholder_id] * self.num_queries + transcript
            else:
                out.input_ids.append(token)
        lost_clips, lost_pieces = sum(1 for _ in clips), sum(1 for _ in literals)
        if lost_clips or lost_pieces:
            raise RenderError(
                f"{where}: the chat template dropped {lost_clips} clips and {lost_pieces} pieces of text; "
                "some templates leave out earlier turns: shorten the conversation."
            )
        out.target_mask = [False] * len(out.input_ids)
        return out


def _named_by_template(tokenizer) -> set[str]:
    """Added tokens that are not special but that the chat template writes or looks for, such as Qwen's <tool_call>."""
    template = str(tokenizer.chat_template)
    added = (t.content for t in tokenizer.added_tokens_decoder.values() if not t.special)
    return {t for t in added if t.strip() and t in template}


def _any_of(texts: set[str]) -> re.Pattern:
    return re.compile("|".join(re.escape(t) for t in sorted(texts, key=len, reverse=True)))


def _fold_system(turns: list[dict]) -> list[dict]:
    """For templates without a system role: the system text opens the first user turn, a blank line between."""
    out: list[dict] = []
    held = ""
    for turn in turns:
        if turn["role"] == "system":
            held += turn["content"] + "\n\n"
        elif turn["role"] == "user" and held:
            out.append({"role": "user", "content": held + turn["content"]})
            held = ""
        else:
            out.append(turn)
    return out if not held else [*out, {"role": "user", "content": held.rstrip()}]
