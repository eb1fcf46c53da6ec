"""From the LLM's answers to rows that are fit, filtered or failed: rules first, then, if asked for, an LLM.

The LLM that judges and rephrases is the backbone itself unless another one is named: targets are to stay the backbone's
own words. Both happen before a row is logged, so each row is reviewed once, whatever dies in between.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from nemo_desta.errors import ConfigError, RenderError, SelfGenError
from nemo_desta.record import Message
from nemo_desta.schema import from_dict
from nemo_desta.selfgen.backends import Backend, Generation, Request, Sampling
from nemo_desta.selfgen.config import check_keys, find_config, load_yaml
from nemo_desta.selfgen.filters import BETRAYS, ResponseFilter
from nemo_desta.selfgen.prompts import stable_hash
from nemo_desta.selfgen.rows import Row

__all__ = ["Outcome", "ReviewOptions", "Reviewer"]

_PLACES = re.compile(r"\{(seed_description|prompt|response)\}")
_UNPARSABLE = "unparsable"
_REPLY = 200  # characters of the LLM's reply that provenance keeps
_BETRAYED = (BETRAYS, "judge:betrays")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReviewOptions:
    """The `review` section of conf/desta_selfgen.yaml."""

    judge: bool = False
    """Let an LLM judge each response that passes the rules; costs one short answer a row."""
    rephrase: bool = False
    """Let an LLM say once more, as a listener, what betrays the text behind the audio; costs one answer for each such row."""
    template: str = "default"
    """What it is asked: a name in conf/judge/ or a path."""
    unparsable: Literal["keep", "drop"] = "keep"
    """What becomes of a row whose verdict cannot be read; it is counted in either case."""
    llm: str | None = None
    """Another LLM for both tasks; None: the backbone."""
    backend: dict[str, Any] | None = None
    """Engine of that LLM, as in `backend`; None: the one that writes the responses."""

    @classmethod
    def parse(cls, section: Mapping[str, Any]) -> "ReviewOptions":
        """From the configuration.

        Raises:
            ConfigError: an unknown key, a value of another type, or an LLM without its engine.
        """
        try:
            options = from_dict(cls, section)
        except ConfigError as err:
            raise ConfigError(f"review: {err}") from err
        if (options.llm is None) != (options.backend is None):
            raise ConfigError("review: llm and backend go together; give both for another LLM, none for the backbone.")
        return options

    @property
    def active(self) -> bool:
        """Whether there is anything to do."""
        return self.judge or self.rephrase


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a row.

    Attributes:
        answer: the response that is kept; its error is set when the row failed.
        reason: why the row is filtered or failed; None when it is fit.
        provenance: what the review adds to the record's: `matched`, `review`, `rephrased`.
    """

    answer: Generation
    reason: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """ok, filtered or failed."""
        return "failed" if self.answer.error is not None else "ok" if self.reason is None else "filtered"


class Reviewer:
    """Reviews the answers to one batch.

    Args:
        rules: see `filters`.
        options: see `ReviewOptions`.
        backend: gives the engine that judges and rephrases.
        sampling: of the responses; rephrased ones are drawn in the same way, verdicts are greedy.

    Raises:
        ConfigError: the template is missing or wrong.
    """

    def __init__(
        self, rules: ResponseFilter, options: ReviewOptions, backend: Callable[[], Backend], sampling: Sampling
    ) -> None:
        self.rules, self.options, self.sampling = rules, options, sampling
        self._backend = backend
        if options.active:
            self.template = _Template.from_yaml(load_yaml(find_config("judge", options.template)))
        if options.rephrase and options.llm is not None:
            _log.warning("review.llm=%s rephrases: these targets will not be the backbone's own words.", options.llm)

    @property
    def backend(self) -> Backend:
        """Of the LLM that reviews."""
        return self._backend()

    def __call__(self, rows: Sequence[Row], answers: Sequence[Generation]) -> list[Outcome]:
        """One outcome a row, in order."""
        out = [self._by_rules(r, a) for r, a in zip(rows, answers, strict=True)]
        if self.options.judge:
            out = self._judged(rows, out)
        return self._rephrased(rows, out) if self.options.rephrase else out

    def _by_rules(self, row: Row, answer: Generation) -> Outcome:
        if answer.error is not None:
            return Outcome(answer, answer.error)
        verdict = self.rules(
            answer.text,
            answer.finish_reason,
            row.seed.attributes,
            row.prompt.about,
            row.prompt.text,
            row.seed.transcript,
        )
        if verdict is None:
            return Outcome(answer)
        return Outcome(answer, verdict.reason, {"matched": verdict.matched} if verdict.matched else {})

    def _judged(self, rows: Sequence[Row], outcomes: list[Outcome]) -> list[Outcome]:
        """With a verdict on each row that is fit so far."""
        template, wanted = self.template, [o.status == "ok" for o in outcomes]
        sampling = Sampling(0.0, 1.0, template.max_new_tokens)
        replies = self._ask("judge", template.judge, rows, outcomes, wanted, sampling)
        return [o if reply is None else self._verdict(o, reply) for o, reply in zip(outcomes, replies, strict=True)]

    def _verdict(self, outcome: Outcome, reply: Generation) -> Outcome:
        if reply.error is not None:
            error = f"judge: {reply.error}"
            return Outcome(Generation(error=error), error)
        word = self.template.word(reply.text)
        review = {
            "verdict": word or _UNPARSABLE,
            "by": self.backend.id,
            **({} if word else {"reply": reply.text[:_REPLY]}),
        }
        known = {**outcome.provenance, "review": review}
        name = self.template.verdicts[word] if word else (_UNPARSABLE if self.options.unparsable == "drop" else "keep")
        if name == "keep":
            return replace(outcome, provenance=known)
        return Outcome(outcome.answer, f"judge:{name}", {**known, "matched": reply.text[:_REPLY]})

    def _rephrased(self, rows: Sequence[Row], outcomes: list[Outcome]) -> list[Outcome]:
        """With a new response in place of each that betrays the text, where the new one is fit; the others stay as they are."""
        wanted = [o.status == "filtered" and o.reason in _BETRAYED for o in outcomes]
        replies = self._ask("rephrase", self.template.rephrase, rows, outcomes, wanted, self.sampling)
        again = [
            self._by_rules(row, reply) if reply is not None and reply.error is None else None
            for row, reply in zip(rows, replies, strict=True)
        ]
        if self.options.judge:
            places = [i for i, o in enumerate(again) if o is not None]
            judged = self._judged([rows[i] for i in places], [again[i] for i in places])
            again = [dict(zip(places, judged, strict=True)).get(i) for i in range(len(rows))]
        return [self._replaced(old, reply, new) for old, reply, new in zip(outcomes, replies, again, strict=True)]

    def _replaced(self, old: Outcome, reply: Generation | None, new: Outcome | None) -> Outcome:
        if reply is None:
            return old
        if reply.error is not None or (new is not None and new.status == "failed"):
            error = f"rephrase: {reply.error or new.reason}"
            return Outcome(Generation(error=error), error)
        if new.status != "ok":
            tried = {"response": reply.text, "reason": new.reason}
            return replace(old, provenance={**old.provenance, "rephrasing_failed": tried})
        original = {"response": old.answer.text, "reason": old.reason, "by": self.backend.id}
        return replace(new, provenance={**new.provenance, "rephrased": original})

    def _ask(
        self,
        task: str,
        texts: tuple[str, str],
        rows: Sequence[Row],
        outcomes: Sequence[Outcome],
        wanted: Sequence[bool],
        sampling: Sampling,
    ) -> list[Generation | None]:
        """The LLM's reply for each wanted row, None for the others."""
        requests, replies = {}, [None] * len(rows)
        for i, (row, outcome) in enumerate(zip(rows, outcomes, strict=True)):
            if wanted[i]:
                request = _request(task, texts, row, outcome.answer.text)
                try:
                    self.backend.prompt_length(request)
                    requests[i] = request
                except RenderError as err:
                    replies[i] = Generation(error=str(err))
        answers = self.backend.generate(list(requests.values()), sampling) if requests else []
        if len(answers) != len(requests):
            raise SelfGenError(
                f"backend {self.backend.id}: {len(answers)} responses to {len(requests)} requests; it must give one each."
            )
        for i, answer in zip(requests, answers, strict=True):
            replies[i] = answer
        return replies


@dataclass(frozen=True)
class _Template:
    """conf/judge/*.yaml, checked: (system, user) texts, verdicts by upper-case word."""

    judge: tuple[str, str]
    rephrase: tuple[str, str]
    verdicts: dict[str, str]
    max_new_tokens: int

    @classmethod
    def from_yaml(cls, data: Mapping[str, Any]) -> "_Template":
        check_keys(data, {"judge", "rephrase"}, "judge")
        judge, rephrase = data.get("judge"), data.get("rephrase")
        check_keys(judge, {"system", "user", "verdicts", "max_new_tokens"}, "judge, judge")
        check_keys(rephrase, {"system", "user"}, "judge, rephrase")
        verdicts = judge.get("verdicts")
        if not isinstance(verdicts, Mapping) or "keep" not in verdicts.values() or len(verdicts) < 2:
            raise ConfigError("judge: verdicts must name two words or more, at least one of them with keep.")
        wrong = [n for n, t in (("judge", judge), ("rephrase", rephrase)) if "{response}" not in str(t.get("user"))]
        if wrong:
            raise ConfigError(f"judge: the user text of {', '.join(wrong)} must hold {{response}}.")
        words = {str(word).upper(): str(name) for word, name in verdicts.items()}
        texts = [(str(t.get("system") or ""), str(t["user"])) for t in (judge, rephrase)]
        return cls(*texts, words, int(judge.get("max_new_tokens", 8)))

    def word(self, reply: str) -> str | None:
        """The verdict that a reply gives; None when its first line is anything else than one verdict."""
        lines = reply.strip().splitlines()
        found = re.fullmatch(r"\W*(\w+)\W*", lines[0]) if lines else None
        word = found[1].upper() if found else ""
        return word if word in self.verdicts else None


def _request(task: str, texts: tuple[str, str], row: Row, response: str) -> Request:
    """One pass over the template, so that nothing in the data is taken for a place to fill."""
    values = {"seed_description": row.record.seed_description, "prompt": row.record.prompt, "response": response}
    system, user = (_PLACES.sub(lambda m: values[m[1]], text) for text in texts)
    messages = ((Message("system", system),) if system else ()) + (Message("user", user),)
    return Request(f"{row.id} ({task})", messages, (), stable_hash(task, row.request.seed))
