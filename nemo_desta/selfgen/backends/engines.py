"""The LLMs of a run: each is loaded when it is first asked, and once in a process."""

from functools import cached_property

from nemo_desta.selfgen.backends import Backend
from nemo_desta.selfgen.backends.options import BackendOptions, backend_options
from nemo_desta.selfgen.config import SelfGenConfig
from nemo_desta.selfgen.review import ReviewOptions

__all__ = ["Engines"]


class Engines:
    """Who answers, and who reviews. Finding out that a run is complete needs neither.

    Args:
        config: of the run, or of all shards of it.
        backend: the engine's settings, or the engine.
    """

    def __init__(self, config: SelfGenConfig, backend: BackendOptions | Backend) -> None:
        self.config, self.given = config, backend

    @property
    def options(self) -> BackendOptions | None:
        """Settings of the engine that answers; None where the engine itself was given."""
        return self.given if isinstance(self.given, BackendOptions) else None

    @cached_property
    def backbone(self) -> Backend:
        """Writes the responses."""
        if self.options is None:
            return self.given
        return self.options.build(self.config.llm, self.config.max_prompt_tokens)

    @cached_property
    def reviewer(self) -> Backend:
        """Judges and rephrases: the backbone, unless `review` names another."""
        review = ReviewOptions.parse(self.config.review)
        if review.backend is None:
            return self.backbone
        return backend_options(review.backend).build(review.llm, None)
