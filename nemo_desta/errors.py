"""The exceptions of nemo_desta: one tree, so that a caller can catch all of it or just one kind.

Every message says what is wrong, where (file, line, id), and what to do about it.
"""

__all__ = [
    "AudioError",
    "CheckpointError",
    "ConfigError",
    "DeSTAError",
    "EngineDiedError",
    "EvaluationError",
    "ModelFetchError",
    "PreemptedError",
    "RecordError",
    "RenderError",
    "SelfGenError",
    "TrainingError",
]


class DeSTAError(Exception):
    """Base of every error that nemo_desta raises for its user.

    Attributes:
        exit_code: of a command that ends with it.
    """

    exit_code = 2


class RecordError(DeSTAError, ValueError):
    """A DeSTA record, or the file it stands in, breaks the schema."""


class RenderError(DeSTAError, ValueError):
    """A conversation cannot be turned into token ids (template, locator, length)."""


class AudioError(DeSTAError, ValueError):
    """An audio file is missing, empty, undecodable, not finite, or too long."""


class ConfigError(DeSTAError, ValueError):
    """A configuration value is missing, unknown, or contradicts another."""


class CheckpointError(DeSTAError, ValueError):
    """A checkpoint is damaged, or does not fit the frozen models at hand."""


class ModelFetchError(DeSTAError, OSError):
    """A pretrained model could not be fetched or failed its hash."""


class SelfGenError(DeSTAError, RuntimeError):
    """Self-generation cannot start, continue, or finish."""


class EvaluationError(DeSTAError, ValueError):
    """Questions, answers, or verdicts of a benchmark cannot be used."""


class TrainingError(DeSTAError, RuntimeError):
    """Training cannot go on."""


class PreemptedError(DeSTAError):
    """Training was told to stop, has saved itself, and can be continued."""

    exit_code = 75  # EX_TEMPFAIL: try again


class EngineDiedError(SelfGenError):
    """The engine that runs the LLM broke down; a new one may do."""
