"""Sampled conversations to a batch: load each distinct clip once, render, collate."""

import torch
from lhotse import CutSet

from nemo_desta.audio import MAX_DURATION
from nemo_desta.data.batch import collate
from nemo_desta.data.clip import Clip
from nemo_desta.data.conversation import DeSTAConversation
from nemo_desta.data.tally import Tally
from nemo_desta.errors import AudioError
from nemo_desta.rendering import Renderer

__all__ = ["DeSTADataset"]


class DeSTADataset(torch.utils.data.Dataset):
    """Maps a CutSet of DeSTAConversation or ConversationGroup to the batch of `nemo_desta.data.batch.collate`.

    A clip is known by its address (file, or shard and member), never by a name, so equal file names in different
    folders cannot be confused, and several conversations about one clip load and encode it once.

    A conversation with a clip that cannot be read is left out of its batch, logged with its id and counted;
    nothing takes its place.

    Args:
        renderer: the model's renderer.
        pad_id: fills the left padding; attention never sees it.
        max_bad_share: share of unreadable records above which AudioError is raised, see Tally.
        packing: the batch is one row without padding, see packing.pack.
        max_duration: seconds; a longer clip counts as bad.
    """

    def __init__(
        self,
        renderer: Renderer,
        pad_id: int,
        max_bad_share: float = 0.01,
        packing: bool = False,
        max_duration: float = MAX_DURATION,
    ) -> None:
        self.renderer = renderer
        self.pad_id = pad_id
        self.packing = packing
        self.max_duration = max_duration
        self.tally = Tally(max_bad_share)

    def __getitem__(self, cuts: CutSet) -> dict:
        """The batch; a filler without targets when no conversation of it can be read, or there is none.

        Raises:
            AudioError: more records are bad than `max_bad_share` allows.
        """
        loaded: dict[Clip, object] = {}
        members = [m for c in cuts for m in getattr(c, "members", [c])]
        kept = [c for c in members if self._load(c, loaded)]
        if not kept:
            return self._filler()
        order = list(dict.fromkeys(clip for c in kept for clip in c.clips))
        index = {clip: i for i, clip in enumerate(order)}
        return collate(
            [c.rendered or self._render(c) for c in kept],
            [loaded[clip] for clip in order],
            [[index[clip] for clip in c.clips] for c in kept],
            [c.id for c in kept],
            self.pad_id,
            self.packing,
        )

    def _filler(self) -> dict:
        """A batch of one conversation without clip and without target: something to do where other ranks have more."""
        rendered = self.renderer.render([{"role": "user", "content": "."}])
        return collate([rendered], [], [[]], [], self.pad_id, self.packing)

    def _load(self, conversation: DeSTAConversation, loaded: dict) -> bool:
        """Fill `loaded` with the clips of one conversation; False when one of them is bad."""
        for clip in conversation.clips:
            if clip not in loaded:
                try:
                    loaded[clip] = clip.load(self.max_duration)
                except AudioError as err:
                    loaded[clip] = err
            if isinstance(loaded[clip], AudioError):
                self.tally.reject(conversation.id, loaded[clip])
                return False
        self.tally.accept()
        return True

    def _render(self, conversation: DeSTAConversation):
        record = conversation.record
        return self.renderer.render(record.messages, record.response, where=f"record {record.id}")
