"""One request answered: chosen, asked, logged; and beside it, unseen, the challenger of a shadow experiment."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx

from gateway import proxy
from gateway.auth import load_keys
from gateway.chat import ChatRequest, chunks, completion, usage
from gateway.config import GatewayConfig
from gateway.executions import Answered, Asked, By, execution
from gateway.metrics import Metrics
from gateway.problems import BUSY, MODEL_FAILED, MODEL_LATE, Problem
from gateway.routing import Choice, Loaded
from registry.records import Conversation, Predictor

_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """What goes back to the caller."""

    body: bytes | AsyncIterator[bytes]
    """An iterator for a stream."""
    seconds: float
    """What the model took, 0 for a stream whose end is not known yet."""


class _Shadowed(NamedTuple):
    asked: Asked
    by: By
    loaded: Loaded
    body: bytes


class Answering:
    """Asks models, in process and elsewhere, and logs what they did.

    Args:
        config: How long and how many.
        metrics: Where it is counted.
        write: Takes one event for the log at once; never waits.
    """

    def __init__(self, config: GatewayConfig, metrics: Metrics, write: Callable[[bytes], None]) -> None:
        self._config, self._metrics, self._write = config, metrics, write
        self._threads = ThreadPoolExecutor(config.model_threads, "gateway-model")
        self._unseen = ThreadPoolExecutor(1, "gateway-shadow")
        self._http = proxy.client(config.answer_seconds, load_keys(config.endpoint_keys))
        self._shadows: asyncio.Queue[_Shadowed] = asyncio.Queue(config.shadow_queue)
        self._worker = asyncio.get_running_loop().create_task(self._answer_shadows())
        self._under_way = 0

    async def close(self) -> None:
        """End; shadow answers that still wait are dropped and counted."""
        self._worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._worker
        self._metrics.dropped.labels("shadow").inc(self._shadows.qsize())
        await self._http.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._unseen.shutdown(wait=False, cancel_futures=True)

    async def answer(self, choice: Choice, asked: Asked, request: ChatRequest, body: bytes) -> Answer:
        """Answer a request, and log it.

        Raises:
            Problem: 502 the model failed, 504 it took too long (both are logged as well), 503 too many are under way.
        """
        if self._under_way >= self._config.answers_at_once:
            raise Problem(BUSY, "too many answers are under way", "come again", {"retry-after": "1"})
        by = By(choice.model, choice.served.number, choice.experiment, choice.arm)
        self._shadow(choice, asked, body)
        self._under_way += 1
        try:
            if choice.served.predictor is None and request.stream:
                return await self._stream(choice.served, asked, by, body)
            return await self._whole(choice.served, asked, by, request, body)
        finally:
            self._under_way -= 1

    async def _whole(self, served: Loaded, asked: Asked, by: By, request: ChatRequest, body: bytes) -> Answer:
        passed_on, answered = await self._logged(served, asked, by, body)
        if passed_on is not None:
            return Answer(passed_on, answered.seconds)
        spent = usage(asked.tokens_in, answered.tokens_out or 0)
        if not request.stream:
            return Answer(completion(asked.trace, by.model, answered.text, spent), answered.seconds)
        shown = spent if request.stream_options is not None and request.stream_options.include_usage else None
        return Answer(_each(chunks(asked.trace, by.model, answered.text, shown)), answered.seconds)

    async def _logged(self, served: Loaded, asked: Asked, by: By, body: bytes) -> tuple[bytes | None, Answered]:
        """Ask a version and log what came of it; also return the other server's own words where it has some."""
        began = time.perf_counter()
        try:
            passed_on, answered = await self._ask(served, asked, body, by.shadow)
        except Problem as problem:
            if problem.kind.status >= 500:
                self._failed(asked, by, problem, time.perf_counter() - began)
            raise
        self._record(asked, by, answered)
        return passed_on, answered

    async def _ask(self, served: Loaded, asked: Asked, body: bytes, unseen: bool) -> tuple[bytes | None, Answered]:
        """Return a version's answer; exactly one of the two ways of asking it applies."""
        began = time.perf_counter()
        name = f"{served.servable.version.name} version {served.number}"
        try:
            async with asyncio.timeout(self._config.answer_seconds):
                if served.predictor is None:
                    reply = await proxy.ask(
                        self._http, served.servable, proxy.request_body(served.servable, body, stream=False)
                    )
                    return reply.body, _of_reply(reply.text, reply.usage, time.perf_counter() - began)
                threads = self._unseen if unseen else self._threads
                loop = asyncio.get_running_loop()
                return None, await loop.run_in_executor(threads, _answer, served.predictor, asked.messages)
        except TimeoutError:
            raise Problem(MODEL_LATE, f"{name} did not answer in time", "try again, or ask for less") from None
        except Problem:
            raise
        except Exception as error:  # a model is code: it may fail in any way
            _log.exception("%s failed", name)
            what = f"{name} failed: {type(error).__name__}"
            raise Problem(MODEL_FAILED, what, "try again; if it stays so, roll back") from error

    async def _stream(self, served: Loaded, asked: Asked, by: By, body: bytes) -> Answer:
        """Pass on another server's stream; it is logged when it ends, however it ends."""
        began = time.perf_counter()
        try:
            response = await proxy.open_answer(
                self._http, served.servable, proxy.request_body(served.servable, body, stream=True)
            )
        except Problem as problem:
            if problem.kind.status >= 500:
                self._failed(asked, by, problem, time.perf_counter() - began)
            raise
        return Answer(self._passed_on(response, asked, by, began), time.perf_counter() - began)

    async def _passed_on(self, response: httpx.Response, asked: Asked, by: By, began: float) -> AsyncIterator[bytes]:
        said = proxy.Streamed()
        try:
            async for chunk in proxy.passed_on(response, said):
                yield chunk
        finally:
            status = "error" if said.failed else "success" if said.finished else "incomplete"
            answered = _of_reply(said.text, said.usage, time.perf_counter() - began)
            self._record(asked, by, answered._replace(status=status, reason=said.failed))
            await response.aclose()

    # --- the log ---------------------------------------------------------------------------------------------------

    def _failed(self, asked: Asked, by: By, problem: Problem, seconds: float) -> None:
        status = "timeout" if problem.kind is MODEL_LATE else "error"
        self._record(
            asked, by, Answered("", status, seconds, tokens_out=0, reason=f"{problem.kind.code}: {problem.what}")
        )

    def _record(self, asked: Asked, by: By, answered: Answered) -> None:
        """Log an answer. What cannot be logged is counted: an answer never waits for the log, nor fails with it."""
        self._metrics.answers.labels(by.model, by.version, by.arm or "", answered.status).inc()
        self._metrics.model_latency.labels(by.model, by.version).observe(answered.seconds)
        try:
            self._write(execution(self._config.source, asked, by, answered))
        except Exception as error:  # a full disk, or a bug: the caller gets the answer all the same
            self._metrics.dropped.labels("log").inc()
            _log.error("the answer %s could not be logged: %s", asked.trace, error)

    # --- shadow ----------------------------------------------------------------------------------------------------

    def _shadow(self, choice: Choice, asked: Asked, body: bytes) -> None:
        if choice.shadow is None:
            return
        by = By(choice.model, choice.shadow.number, choice.shadow_experiment, choice.shadow_arm, shadow=True)
        try:
            self._shadows.put_nowait(_Shadowed(asked, by, choice.shadow, body))
        except asyncio.QueueFull:
            self._metrics.dropped.labels("shadow").inc()

    async def _answer_shadows(self) -> None:
        while True:
            waiting = await self._shadows.get()
            with contextlib.suppress(Problem):  # it is in the log
                await self._logged(waiting.loaded, waiting.asked, waiting.by, waiting.body)


def _answer(predictor: Predictor, messages: Conversation) -> Answered:
    began = time.perf_counter()
    answers = predictor.answer([messages])
    seconds, text = time.perf_counter() - began, answers.responses[0]
    return Answered(text, "success", seconds, float(answers.confidences[0]), tokens_out=len(text.split()))


def _of_reply(text: str, spent: dict[str, object], seconds: float) -> Answered:
    counts = {name: value for name, value in spent.items() if isinstance(value, int)}
    return Answered(
        text, "success", seconds, None, counts.get("prompt_tokens"), counts.get("completion_tokens")
    )  # fmt: skip


async def _each(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
