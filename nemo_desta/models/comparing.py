"""Possible answers compared by log-probability; many questions about one clip in one row: what they share is computed once.

A row is a tree of token segments: the common beginning of the conversations (system prompt, clip, transcript), then
the rest of each conversation, then its choices. A token sees its own segment up to itself and the segments above it,
at the positions it would have in a conversation of its own; so the numbers are those of scoring each alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nemo_desta.errors import RecordError
from nemo_desta.models.scoring import backbone_only, batches_by_kind, log_probs, make_batch
from nemo_desta.record import Message, parse_messages
from nemo_desta.rendering import Rendered

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel

__all__ = ["Question", "score_choices", "score_groups"]

Question = tuple[tuple[Message, ...], tuple[str, ...]]
"""A conversation, and its possible answers."""


@dataclass
class _Tree:
    """Tokens of one row; per token its segment, its position and the index of the token that predicts it."""

    ids: list[int] = field(default_factory=list)
    segment: list[int] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    above: list[set[int]] = field(default_factory=list)
    end: list[tuple[int, int]] = field(default_factory=list)  # of each segment: next position, index of its last token

    def put(self, tokens: Sequence[int], parent: int | None) -> int:
        """Add a segment under another; returns its number."""
        number = len(self.above)
        start, last = (0, -1) if parent is None else self.end[parent]
        self.above.append({number} | (set() if parent is None else self.above[parent]))
        for i, token in enumerate(tokens):
            self.before.append(last)
            last = len(self.ids)
            self.ids.append(token)
            self.segment.append(number)
            self.position.append(start + i)
        self.end.append((start + len(tokens), last))
        return number


def score_choices(
    model: "DeSTAModel",
    conversations: Sequence,
    choices: Sequence[Sequence[str]],
    audio_root: str | None,
    batch_size: int,
) -> list[Tensor]:
    """See DeSTAModel.score_choices: one float32 (num_choices,) per conversation.

    Raises:
        RecordError: the numbers of conversations and of choice lists differ, or a list is empty.
    """
    if len(conversations) != len(choices) or not all(choices):
        raise RecordError(
            f"{len(conversations)} conversations and {len(choices)} lists of choices; give each a non-empty list."
        )
    parsed = [parse_messages(c, f"conversation {i}") for i, c in enumerate(conversations)]
    groups = [[(messages, tuple(answers))] for messages, answers in zip(parsed, choices, strict=True)]
    return [found[0] for found in score_groups(model, groups, audio_root, batch_size)]


@torch.inference_mode()
def score_groups(
    model: "DeSTAModel", groups: Sequence[Sequence[Question]], audio_root: str | None = None, batch_size: int = 4
) -> list[list[Tensor]]:
    """Log-probabilities of all choices, sums over a choice's tokens, end of sequence included.

    Args:
        groups: conversations of one group have the same clips at the same places (or none); the more of their
            beginning they share, the more is saved.
        audio_root: of the clips' paths.
        batch_size: groups in one forward pass.

    Returns:
        For each group, for each of its questions, float32 (num_choices,).

    Raises:
        ValueError: conversations of one group have different clips.
    """
    model.eval()
    out: list[list[Tensor]] = [[] for _ in groups]
    contexts = [
        [model.renderer.render(m, where=f"conversation {i}") for m, _ in group] for i, group in enumerate(groups)
    ]
    trees = [_tree(model, c, g) for c, g in zip(contexts, groups, strict=True)]
    audios = [[a for m in group[0][0] for a in m.audios] for group in groups]
    for rows in batches_by_kind([bool(a) for a in audios], [len(tree.ids) for tree, _ in trees], batch_size):
        rendered = [_as_rendered(trees[i][0], contexts[i][0]) for i in rows]
        batch = make_batch(model, rendered, [audios[i] for i in rows], audio_root, [f"conversation {i}" for i in rows])
        with backbone_only(model, len(batch["audio_index"])):
            scores = _forward(model, batch, [trees[i] for i in rows])
        for i, found in zip(rows, scores, strict=True):
            out[i] = found
    return out


def _tree(
    model: "DeSTAModel", contexts: Sequence[Rendered], group: Sequence[Question]
) -> tuple[_Tree, list[list[int]]]:
    """The row of one group, and for each question the segment numbers of its choices."""
    if any(
        [a for m in messages for a in m.audios] != [a for m in group[0][0] for a in m.audios] for messages, _ in group
    ) or any(c.audio_positions != contexts[0].audio_positions for c in contexts):
        raise ValueError("the conversations of a group must have the same clips at the same places.")
    tree = _Tree()
    shared = _shared_length([c.input_ids for c in contexts])
    root = tree.put(contexts[0].input_ids[:shared], None)
    choices = []
    for context, (_, answers) in zip(contexts, group, strict=True):
        rest = tree.put(context.input_ids[shared:], root)
        choices.append([tree.put([*model.renderer.encode_text(a), model.renderer.eos_id], rest) for a in answers])
    return tree, choices


def _shared_length(rows: Sequence[Sequence[int]]) -> int:
    """How many first tokens are the same in all rows, the last token of the shortest left out."""
    most = min(map(len, rows)) - 1
    return next((i for i in range(most) if len({row[i] for row in rows}) > 1), most)


def _as_rendered(tree: _Tree, context: Rendered) -> Rendered:
    return Rendered(tree.ids, [False] * len(tree.ids), context.audio_positions, context.transcript_lengths)


def _forward(model: "DeSTAModel", batch: dict, trees: Sequence[tuple[_Tree, list[list[int]]]]) -> list[list[Tensor]]:
    ids = batch["input_ids"]
    width = ids.shape[1]
    attend = torch.eye(width, dtype=torch.bool, device=ids.device).repeat(len(ids), 1, 1)  # padding attends itself
    positions = torch.zeros_like(ids)
    causal = torch.ones((width, width), dtype=torch.bool, device=ids.device).tril()
    for row, (tree, _) in enumerate(trees):
        pad = width - len(tree.ids)
        segment = torch.tensor(tree.segment, device=ids.device)
        sees = torch.tensor([[b in above for b in range(len(tree.above))] for above in tree.above], device=ids.device)
        attend[row, pad:, pad:] = sees[segment][:, segment] & causal[pad:, pad:]
        positions[row, pad:] = torch.tensor(tree.position, device=ids.device)
    predicted = [_predicted(tree, choices, width) for tree, choices in trees]
    keep = sorted({p for _, before in predicted for p in before})  # questions are alike: rows share most of these
    logits = model.llm(
        inputs_embeds=model.embed(batch), attention_mask=attend[:, None], position_ids=positions,
        logits_to_keep=torch.tensor(keep, device=ids.device), use_cache=False,
    ).logits  # (B, len(keep), V)  # fmt: skip
    index = {p: i for i, p in enumerate(keep)}
    out = []
    for row, (places, before) in enumerate(predicted):
        scores = log_probs(logits[row, [index[p] for p in before]], ids[row, places])
        out.append(_split(scores, *trees[row]))
    return out


def _predicted(tree: _Tree, choices: list[list[int]], width: int) -> tuple[list[int], list[int]]:
    """Columns of the choices' tokens in order, and of the tokens that predict them."""
    pad = width - len(tree.ids)
    wanted = {segment for question in choices for segment in question}
    places = [i for i, segment in enumerate(tree.segment) if segment in wanted]
    return [pad + i for i in places], [pad + tree.before[i] for i in places]


def _split(scores: Tensor, tree: _Tree, choices: list[list[int]]) -> list[Tensor]:
    sizes = [tree.segment.count(segment) for question in choices for segment in question]
    sums = iter([part.sum() for part in scores.split(sizes)])
    return [torch.stack([next(sums) for _ in question]) for question in choices]
