"""The example that travels through NeMo's and Lhotse's samplers, and the tokenizer hook that renders it."""

from dataclasses import dataclass, field
from typing import Any

from nemo.collections.common.data.lhotse.text_adapters import Formattable
from nemo.collections.common.tokenizers.aggregate_tokenizer import TokenizerWrapper

from nemo_desta.data.clip import Clip
from nemo_desta.data.tally import Tally
from nemo_desta.record import Record
from nemo_desta.rendering import Rendered, Renderer

__all__ = ["ConversationGroup", "DeSTAConversation", "RenderingTokenizer"]


@dataclass
class DeSTAConversation(Formattable):
    """One record with the addresses of its clips; nothing is read from disk before a batch is built.

    NeMo measures an example by the lengths below. They are those of the sequence the LLM will see: text, Q places
    a clip, transcripts, target. A record that is left out measures 0 and NeMo's length filter drops it, for which
    `min_tokens` must be at least 1 (`resolve_data_cfg` sees to it).

    Attributes:
        record: the example.
        clips: one address for each clip, in the order of the locators.
        where: "file" or "shard" the record is from, for messages.
        max_length: longest sequence in tokens, None for no limit.
        rendered: ids and masks, set by `tokenize`.
        custom: NeMo's place for tags.
    """

    record: Record
    clips: tuple[Clip, ...]
    where: str = ""
    max_length: int | None = None
    rendered: Rendered | None = None
    custom: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def input_length(self) -> int:
        """Tokens before the target."""
        return self.rendered.context_length if self.rendered else 0

    @property
    def output_length(self) -> int:
        """Target tokens, the end-of-sequence token included."""
        return self.total_length - self.input_length

    @property
    def total_length(self) -> int:
        return len(self.rendered.input_ids) if self.rendered else 0

    def tokenize(self, tokenizer: "RenderingTokenizer") -> "DeSTAConversation":
        """NeMo's hook: render, and leave the record out if it exceeds `max_length`."""
        record, name = self.record, f"{self.where}: record {self.record.id}"
        rendered = tokenizer.renderer.render(record.messages, record.response, where=name)
        total, context = len(rendered.input_ids), rendered.context_length
        if self.max_length is None or total <= self.max_length:
            self.rendered = rendered
            tokenizer.tally.accept()
        elif context >= self.max_length:
            tokenizer.tally.skip(name, f"its prompt alone is {context} tokens, the limit is {self.max_length}")
        else:
            tokenizer.tally.skip(
                name,
                f"{context} prompt and {total - context} target tokens exceed the limit of {self.max_length}, the target would be cut",
            )
        return self


@dataclass
class ConversationGroup(Formattable):
    """Conversations about the same clips that are sampled as one example, so that a batch encodes the clips once.

    `batch_size` counts groups; lengths, and so `batch_tokens`, are sums over the members.

    Attributes:
        members: at least one; those too long are dropped by `tokenize`.
        custom: NeMo's place for tags.
    """

    members: list[DeSTAConversation]
    custom: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.members[0].id if self.members else ""

    @property
    def input_length(self) -> int:
        return sum(m.input_length for m in self.members)

    @property
    def output_length(self) -> int:
        return sum(m.output_length for m in self.members)

    @property
    def total_length(self) -> int:
        return sum(m.total_length for m in self.members)

    def tokenize(self, tokenizer: "RenderingTokenizer") -> "ConversationGroup":
        """NeMo's hook: render the members, leave out those that exceed their `max_length`."""
        self.members = [m for m in self.members if m.tokenize(tokenizer).rendered]
        return self


class RenderingTokenizer(TokenizerWrapper):
    """What is handed to NeMo's DataModule as tokenizer: plain text becomes ids, conversations are rendered.

    Attributes:
        renderer: the model's renderer.
        tally: counts of this process.
    """

    def __init__(self, renderer: Renderer) -> None:
        super().__init__(renderer.encode_text)
        self.renderer = renderer
        self.tally = Tally()
