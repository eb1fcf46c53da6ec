"""A judge behind an OpenAI-compatible endpoint: many requests at once, retried with growing pauses, within a budget."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError, AsyncOpenAI

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.judging import JudgePrompt
from nemo_desta.evaluation.judging.engines import Keep
from nemo_desta.evaluation.judging.engines.address import Address
from nemo_desta.evaluation.judging.engines.completion import Completion, NonsenseError, read_completion, short
from nemo_desta.evaluation.judging.engines.pauses import LONGEST_WAIT, pause_after, wanted_pause
from nemo_desta.evaluation.judging.engines.running import Run, StoppedError, run_anywhere
from nemo_desta.evaluation.judging.recorded import Raw

__all__ = ["OpenAIEngine"]

_IN_A_ROW = 25  # prompts in trouble, none between with a reply: the endpoint is gone
_SPENT_QUOTA = "insufficient_quota"


class _NoReplyError(Exception):
    """One prompt has no reply; `trouble` is whether another try at another time may have one."""

    def __init__(self, message: str, trouble: bool) -> None:
        super().__init__(message)
        self.trouble = trouble


class OpenAIEngine:
    """Chat completions, asynchronous, at most `concurrency` under way.

    Args:
        model: its name at the endpoint.
        address: with the key.
        concurrency: requests under way at once.
        max_retries: after 429, 5xx, time-outs, lost connections and bodies that are no completion.
        timeout: seconds for one request, all of it.
        max_calls: requests to send, retries counted; None: no limit.
        max_total_tokens: prompt and reply tokens together; what is under way when it is reached is finished.
    """

    def __init__(
        self,
        model: str,
        address: Address,
        concurrency: int = 16,
        max_retries: int = 8,
        timeout: float = 120.0,
        max_calls: int | None = None,
        max_total_tokens: int | None = None,
    ) -> None:
        self.model, self.address = model, address
        self.concurrency, self.max_retries, self.timeout = concurrency, max_retries, timeout
        self.max_calls, self.max_total_tokens = max_calls, max_total_tokens
        self.calls = self.tokens = 0
        self._single = False  # the endpoint gives one reply a request
        self._token_limit = "max_tokens"  # newer models of OpenAI know it as max_completion_tokens

    def settings(self, prompt: JudgePrompt) -> dict[str, Any]:
        """None: the same model is served at several addresses."""
        return {}

    def answer(self, prompts: Sequence[JudgePrompt], keep: Keep) -> None:
        """See `Engine.answer`. Replies under way are waited for and kept before an error is raised.

        Raises:
            ConfigError: the key is not there.
            EvaluationError: the budget is spent, the key or the model is refused, or the endpoint is gone.
        """
        self.address.check()
        run = Run(prompts, keep)
        run_anywhere(self._all(run))
        if run.error is not None:
            raise EvaluationError(run.error)

    def describe(self) -> dict[str, Any]:
        """Address without user, password and query; requests and tokens of this run."""
        limits = {"max_calls": self.max_calls, "max_total_tokens": self.max_total_tokens}
        return {
            "engine": "openai",
            "model": self.model,
            "base_url": self.address.shown,
            "calls": self.calls,
            **{k: v for k, v in limits.items() if v is not None},
        }

    async def _all(self, run: Run) -> None:
        client = AsyncOpenAI(
            base_url=self.address.base_url,
            api_key=self.address.key,
            default_query=dict(self.address.query) or None,
            max_retries=0,
            timeout=self.timeout,
        )
        async with client:
            workers = min(self.concurrency, len(run.prompts))
            await asyncio.gather(*(self._work(client, run) for _ in range(workers)))

    async def _work(self, client: AsyncOpenAI, run: Run) -> None:
        for number in run.queue:
            if run.stopped.is_set():
                return
            start = time.monotonic()
            try:
                raw = await self._replies(client, run, run.prompts[number])
                raw = replace(raw, seconds=time.monotonic() - start)
            except _NoReplyError as err:
                raw = Raw(error=str(err), seconds=time.monotonic() - start)
                self._count_failure(run, err)
            except StoppedError:
                return
            else:
                run.in_a_row = 0
            run.keep(number, raw)

    def _count_failure(self, run: Run, err: _NoReplyError) -> None:
        """Stop the run where the endpoint seems to be gone; prompts that it refuses say nothing of that."""
        run.in_a_row += err.trouble
        if err.trouble and run.in_a_row >= _IN_A_ROW:
            run.stop(f"{self.address.shown}: {run.in_a_row} prompts in a row had no reply, the last: {err}.")

    async def _replies(self, client: AsyncOpenAI, run: Run, prompt: JudgePrompt) -> Raw:
        """All n replies to one prompt; one request each where the endpoint gives no more."""
        got: list[Completion] = []
        while (missing := prompt.n - sum(len(c.texts) for c in got)) > 0:
            count = 1 if self._single else missing
            try:
                completion = await self._request(client, run, prompt, count)
            except _NoReplyError as err:
                if err.trouble or count == 1:
                    raise
                completion = await self._request(client, run, prompt, 1)
            if len(completion.texts) < count:
                self._single = True
            got.append(completion)
        usage = {}
        for completion in got:
            for name, value in self._used(prompt, completion).items():
                usage[name] = usage.get(name, 0) + value if name != "estimated" else value
        texts = tuple(self.address.without_key(t) for c in got for t in c.texts)[: prompt.n]
        reasons = tuple(r for c in got for r in c.finish_reasons)[: prompt.n]
        return Raw(texts, None, reasons, usage, got[-1].served)

    def _used(self, prompt: JudgePrompt, completion: Completion) -> dict[str, Any]:
        """Tokens of one request; about four bytes each where the endpoint does not count."""
        if "total_tokens" in completion.usage:
            return dict(completion.usage)
        length = sum(len(t.encode(errors="replace")) for t in (*(t for _, t in prompt.messages), *completion.texts))
        return {"total_tokens": length // 4 + 1, "estimated": True}

    async def _request(self, client: AsyncOpenAI, run: Run, prompt: JudgePrompt, count: int) -> Completion:
        """One request, tried until it succeeds or the retries are used up."""
        tried = 0
        while True:
            await run.wait_for_turn()
            self._check_budget(run)
            self.calls += 1
            body = self._body(prompt, count)
            try:
                completion = await self._send(client, body)
                self.tokens += self._used(prompt, completion)["total_tokens"]
                return completion
            except APIStatusError as err:
                if self._learns(err, body):
                    continue
                self._refused(run, err)
                trouble = f"the endpoint answered {err.status_code}: {self._said(err.response.text)}"
                wait = wanted_pause(err.response.headers)
            except (NonsenseError, APIConnectionError, APIError, TimeoutError) as err:
                trouble, wait = self._trouble(err), None
            except ValueError as err:  # half a surrogate pair
                raise _NoReplyError(f"the prompt cannot be sent: {self._said(err)}", trouble=False) from None
            if wait is not None and wait > LONGEST_WAIT:
                run.stop(f"{self.address.shown} asks to be left alone for {wait:.0f} s ({trouble}).")
                raise StoppedError
            tried += 1
            if tried > self.max_retries:
                raise _NoReplyError(f"{trouble} (tried {tried} times)", trouble=True)
            if wait is not None:
                run.rest(wait)
            await run.sleep(pause_after(tried) if wait is None else wait + random.uniform(0, 0.1) * wait)

    async def _send(self, client: AsyncOpenAI, body: dict[str, Any]) -> Completion:
        async with asyncio.timeout(self.timeout):
            response = await client.chat.completions.with_raw_response.create(**body)
        return read_completion(response.content)

    def _body(self, prompt: JudgePrompt, count: int) -> dict[str, Any]:
        sampling = {"temperature": prompt.temperature, "top_p": prompt.top_p, self._token_limit: prompt.max_tokens}
        return {
            "model": self.model,
            "messages": [{"role": role, "content": text} for role, text in prompt.messages],
            **{k: v for k, v in sampling.items() if v is not None},
            **({"n": count} if count > 1 else {}),
        }

    def _learns(self, err: APIStatusError, body: dict[str, Any]) -> bool:
        """Whether the same request can be put in another way."""
        if err.status_code != 400 or "max_tokens" not in body or "max_completion_tokens" not in err.response.text:
            return False
        self._token_limit = "max_completion_tokens"
        return True

    def _refused(self, run: Run, err: APIStatusError) -> None:
        """Return where another try may help.

        Raises:
            StoppedError: no prompt can have a reply.
            _NoReplyError: this one cannot.
        """
        if err.status_code in (401, 403, 404):
            run.stop(
                f"{self.address.shown} answered {err.status_code}: {self._said(err.response.text)}. Check the address, the model "
                f"({self.model}) and the key in ${self.address.key_env}."
            )
            raise StoppedError
        if err.status_code == 429 and _SPENT_QUOTA in err.response.text:
            run.stop(f"{self.address.shown}: the account's quota is spent: {self._said(err.response.text)}.")
            raise StoppedError
        if err.status_code not in (408, 409, 425, 429) and err.status_code < 500:
            raise _NoReplyError(
                f"the endpoint answered {err.status_code}: {self._said(err.response.text)}", trouble=False
            )

    def _check_budget(self, run: Run) -> None:
        for name, used in (("max_calls", self.calls), ("max_total_tokens", self.tokens)):
            limit = getattr(self, name)
            if limit is not None and used >= limit:
                run.stop(
                    f"the judge's budget is spent: {used} of {name}={limit}; raise it, or spend as much once more."
                )
                raise StoppedError

    def _trouble(self, err: Exception) -> str:
        if isinstance(err, (TimeoutError, APITimeoutError)):
            return f"no reply within {self.timeout:g} s"
        lost = isinstance(err, APIConnectionError)
        return f"lost connection: {self._said(err.__cause__ or err)}" if lost else self._said(err)

    def _said(self, message: object) -> str:
        """For people: secrets are taken out before it is cut, or half of one would stay."""
        return short(self.address.without_secrets(str(message)) or type(message).__name__)
