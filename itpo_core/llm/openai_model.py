"""A language model behind any OpenAI-compatible API: the one adapter of the `openai` client.

The client's own retries and timeouts are switched off. Its timeouts are per read, so a server that drips
keeps a call for ever; its retries know no deadline and cannot be counted call by call. Both are kept here:
one thread runs all requests, and a call that is out of time is cut wherever it stands.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from itpo_core.llm.answer_schema import check_schema
from itpo_core.llm.base import Call, CallStatus, Question
from itpo_core.llm.json_text import MalformedAnswer
from itpo_core.llm.openai_answers import Body, read_answer, read_bill, request_body
from itpo_core.llm.openai_errors import GivenUp, PassingError, meaning
from itpo_core.llm.openai_settings import OpenAiSettings
from itpo_core.llm.spending import Spending
from itpo_core.llm.tally import Tally

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai._types import RequestOptions

PATH = "/chat/completions"
# A shorter key is a placeholder ("EMPTY", "none") that honest answers may contain.
SHORTEST_SECRET = 8


class OpenAiModel:
    """Asks one model; may be asked from many threads. See `LanguageModel`.

    `spending` is the purse of the process and `places` the calls that may be on their way at once: give the
    same to several models to share them. Raises ValueError where a cap is set and no price is known: such a
    cap would never hold.
    """

    def __init__(
        self,
        settings: OpenAiSettings,
        *,
        api_key: str | None = None,
        spending: Spending | None = None,
        places: threading.Semaphore | None = None,
    ) -> None:
        self.digest = settings.digest
        self._settings = settings
        self._spending = spending or Spending()
        if self._spending.cap_usd is not None and settings.prices is None:
            raise ValueError(f"model {settings.model!r} has no prices: a cost cap cannot hold without them")
        self._places = places or threading.BoundedSemaphore(settings.concurrency)
        self._secret = api_key or ""
        self._served_model = settings.served_model
        self._client = _client(settings, api_key)
        self._options = _options(api_key)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm-calls", daemon=True)
        self._thread.start()

    def ask(self, question: Question) -> Call:
        """See `LanguageModel.ask`. Raises ValueError for a schema that could not be asked for."""
        check_schema(question.answer_schema)
        with self._places:
            return asyncio.run_coroutine_threadsafe(self._call(question), self._loop).result()

    def close(self) -> None:
        """Let go of the connections and of the thread."""
        asyncio.run_coroutine_threadsafe(self._client.close(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    async def _call(self, question: Question) -> Call:
        deadline_s = self._settings.patience.deadline_s
        tally = Tally(self._settings.prices, ends_s=self._loop.time() + deadline_s)
        try:
            async with asyncio.timeout_at(tally.ends_s):
                return tally.call(CallStatus.ANSWERED, "", answer=await self._answered(question, tally))
        except TimeoutError:
            last = f"; the last trouble: {tally.trouble}" if tally.trouble else ""
            cause = f"no whole answer within {deadline_s:g} s and {tally.tries} requests{last}"
            return tally.call(CallStatus.TIMED_OUT, self._shown(cause))
        except GivenUp as error:
            return tally.call(error.status, self._shown(str(error)))

    async def _answered(self, question: Question, tally: Tally) -> Mapping[str, object]:
        askings = self._settings.patience.askings
        for asking in range(askings):
            raw = await self._served(request_body(question, self._settings, asking=asking), tally)
            try:
                return self._read(raw, question, tally=tally)
            except MalformedAnswer as error:
                tally.trip(error.code, str(error))
        raise GivenUp(CallStatus.FAILED, f"{tally.trouble}; asked {askings} times")

    def _read(self, raw: bytes, question: Question, *, tally: Tally) -> Mapping[str, object]:
        found = read_answer(raw, question, form=self._settings.answer_form)
        tally.notes += found.notes
        is_secret = len(self._secret) >= SHORTEST_SECRET
        if is_secret and any(self._secret in text for text in _texts(found.document)):
            raise GivenUp(CallStatus.FAILED, "the answer repeats the API key: have another key made")
        return found.document

    async def _served(self, body: Body, tally: Tally) -> bytes:
        """The bytes of an answer, after as many tries as it takes and as there are."""
        try:
            return await self._tried(body, tally)
        except PassingError as error:
            # Most calls never come here: to count the tries of each would be a tenth of what a call costs.
            return await self._served_after(error, body, tally=tally)

    async def _served_after(self, first: PassingError, body: Body, *, tally: Tally) -> bytes:
        tries = self._settings.patience.tries
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(PassingError),
            stop=stop_after_attempt(tries),
            wait=self._waits(tally),
            reraise=True,
        )
        has_failed = iter((first,))

        async def again() -> bytes:
            for error in has_failed:
                raise error
            return await self._tried(body, tally)

        try:
            return await retrying(again)
        except PassingError as error:
            status = CallStatus.TIMED_OUT if error.is_hang else CallStatus.FAILED
            raise GivenUp(status, f"{error}; given up after {tries} tries") from None

    def _waits(self, tally: Tally) -> Callable[[RetryCallState], float]:
        patience = self._settings.patience
        jittered = wait_random_exponential(patience.first_wait_s, patience.longest_wait_s)

        def wait_s(state: RetryCallState) -> float:
            error = state.outcome and state.outcome.exception()
            asked_s = error.wait_s if isinstance(error, PassingError) else 0.0
            # To wait past the deadline would only keep a place from others.
            if self._loop.time() + asked_s > tally.ends_s:
                past = f"past the deadline of {patience.deadline_s:g} s"
                raise GivenUp(CallStatus.TIMED_OUT, f"{error}; it asks to wait {asked_s:g} s, {past}")
            return max(asked_s, jittered(state))

        return wait_s

    async def _tried(self, body: Body, tally: Tally) -> bytes:
        if refusal := self._spending.refusal():
            raise GivenUp(CallStatus.FAILED, refusal)
        try:
            raw = await self._posted(body, tally)
        except PassingError as error:
            tally.trip(error.note, str(error))
            raise
        model, usage = read_bill(raw)
        self._spending.add(tally.bill(usage))
        self._check_model(self._shown(model), tally)
        return raw

    async def _posted(self, body: Body, tally: Tally) -> bytes:
        from openai import APIConnectionError, APIStatusError

        tally.sent()
        try:
            async with asyncio.timeout(self._settings.patience.try_s):
                raw = await self._client.post(PATH, cast_to=bytes, body=body, options=self._options)
        except TimeoutError:
            cause = f"no whole answer to a request within {self._settings.patience.try_s:g} s"
            raise PassingError("hung", cause, is_hang=True) from None
        except APIConnectionError as error:
            why = _root(error)
            cause = f"{self._settings.address}: {type(why).__name__} {why}".rstrip()
            raise PassingError("connection", cause) from None
        except APIStatusError as error:
            tally.heard()
            said = error.response
            raise meaning(said.status_code, said.content, headers=said.headers, now=_now()) from None
        tally.heard()
        return raw

    def _check_model(self, model: str, tally: Tally) -> None:
        if not model:
            tally.notes.append("model_unnamed")
            return
        tally.model = model
        self._served_model = self._served_model or model
        if model == self._served_model:
            return
        tally.notes.append("model_changed")
        if self._settings.model_change == "fail":
            raise GivenUp(
                CallStatus.FAILED,
                f"model {model!r} answered where {self._served_model!r} did before: "
                'name the one that is meant in served_model, or set model_change to "note"',
            )

    def _shown(self, text: str) -> str:
        return text.replace(self._secret, "[key]") if self._secret else text


def _client(settings: OpenAiSettings, api_key: str | None) -> "AsyncOpenAI":
    from openai import AsyncOpenAI, DefaultAioHttpClient

    # A plain address needs no certificates: an empty store takes no time to read and trusts nobody.
    trusted = settings.address.startswith("https:") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return AsyncOpenAI(
        base_url=settings.address,
        api_key=api_key or "none",
        max_retries=0,
        timeout=None,
        # Over aiohttp a request costs the same however many are open; httpx looks through all connections.
        # What is followed is not what the settings name, and the prompts would go there.
        http_client=DefaultAioHttpClient(timeout=None, verify=trusted, follow_redirects=False),
    )


def _options(api_key: str | None) -> "RequestOptions":
    from openai import Omit

    # What is sent is what the settings say: the client fills these in from variables of its own.
    own: dict[str, str | Omit] = {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
    return {"headers": own if api_key else {**own, "Authorization": Omit()}}


def _root(error: BaseException) -> BaseException:
    """What went wrong first: the layers above call a connection that was reset a time-out."""
    return error if error.__cause__ is None else _root(error.__cause__)


def _now() -> datetime:
    return datetime.now(UTC)


def _texts(value: object) -> Iterator[str]:
    """Every text inside a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        yield from value
        yield from _texts(list(value.values()))
