"""The routes of the server: who may ask, how much may be sent, what comes back and when. Imports Starlette."""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from finetune.answering.settings import Settings, changed
from finetune.answering.writing import Writing
from finetune.serving.engine import Coming, Engine, failed
from finetune.serving.reading import Asked, chat_asked, plain_asked
from finetune.serving.refusing import Refused
from finetune.serving.shapes import DONE, Shape, event, model, models, usage_of

BODY_SECONDS = 30.0
"""A body that takes longer to arrive is not waited for."""
Rows = list[tuple[list[int], Settings]]


@dataclass(frozen=True)
class Door:
    """`key`: what a request must bring, if anything; `hosts`: by which names the server may be called, if not by any;
    `body_bytes`: what may be sent at most."""

    name: str
    key: str | None
    hosts: frozenset[str] | None
    body_bytes: int


def app_of(engine: Engine, door: Door) -> Starlette:
    """The whole server."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        engine.start()
        try:
            yield
        finally:
            await asyncio.to_thread(engine.stop)

    routes = [*_showing(engine, door), *_answering(engine, door)]
    faults: dict[Any, Any] = {Refused: _refused, HTTPException: _http, Exception: _ours}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=faults)


def _showing(engine: Engine, door: Door) -> list[Route]:
    """What is here, and how it is."""
    created = int(time.time())

    async def listed(request: Request) -> Response:
        _may_enter(request, door)
        return JSONResponse(models((door.name,), created))

    async def one(request: Request) -> Response:
        _may_enter(request, door)
        if request.path_params["name"] != door.name:
            raise Refused(404, f"there is no model {request.path_params['name']!r} here", "model", "model_not_found")
        return JSONResponse(model(door.name, created))

    async def health(request: Request) -> Response:
        del request
        return JSONResponse({"status": "ok", "writing": engine.writers.writing, "waiting": engine.waiting})

    return [Route("/v1/models", listed), Route("/v1/models/{name:path}", one), Route("/health", health)]


def _answering(engine: Engine, door: Door) -> list[Route]:
    trained, names = engine.trained, (door.name,)

    async def chat(request: Request) -> Response:
        asked = chat_asked(await _body(request, door), names, trained.style, trained.settings)
        return await _answered(request, engine, asked, Shape(door.name, chat=True))

    async def plain(request: Request) -> Response:
        asked = plain_asked(await _body(request, door), names, trained.settings)
        return await _answered(request, engine, asked, Shape(door.name, chat=False))

    return [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/completions", plain, methods=["POST"]),
    ]


async def _refused(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, Refused)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(error.status)
    return JSONResponse(error.as_json(), error.status, headers)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}: {error.detail}"
    return await _refused(request, Refused(error.status_code, what))


async def _ours(request: Request, error: Exception) -> Response:
    return await _refused(request, Refused(500, f"a fault of the server: {type(error).__name__}"))


def _may_enter(request: Request, door: Door) -> None:
    """Refused for a page of another site that a browser here shows, and for who has no key."""
    host = request.headers.get("host", "").rsplit(":", 1)[0].strip("[]").lower()
    if door.hosts is not None and host not in door.hosts:
        raise Refused(403, f"this server is not called {host!r}", code="wrong_host")
    if door.key is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), door.key.encode()):
        raise Refused(401, "the key is missing or wrong: send Authorization: Bearer KEY", code="invalid_api_key")


async def _body(request: Request, door: Door) -> Any:
    """The JSON of a request that may enter."""
    _may_enter(request, door)
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, f"Content-Type must be application/json, not {kind or 'nothing'}")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            text = await _read(request, door.body_bytes)
    except TimeoutError:
        raise Refused(408, f"the body did not arrive within {BODY_SECONDS:.0f} s") from None
    except ClientDisconnect:
        raise Refused(400, "the client left before its request was whole") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {error}") from None


async def _read(request: Request, most: int) -> bytes:
    length = request.headers.get("content-length", "0")
    parts, size = [], 0
    if not length.isdigit() or int(length) <= most:
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            if size > most:
                break
        else:
            return b"".join(parts)
    raise Refused(413, f"the body is larger than {most:,} bytes", code="body_too_large")


async def _answered(request: Request, engine: Engine, asked: Asked, shape: Shape) -> Response:
    rows = await asyncio.to_thread(_rows, engine, asked)
    coming = Coming(engine, rows, asked.others)  # before the first byte goes out: who gets a stream has a place
    prompt_tokens = sum(len(ids) for ids, _ in rows) // asked.choices
    if asked.stream:
        return _Stream(coming, _streamed(coming, shape, prompt_tokens if asked.usage else None))
    try:
        texts = await _unless_gone(request, _whole(coming))
    finally:
        coming.close()
    if texts is None:
        return Response(status_code=499)
    usage = usage_of(prompt_tokens, sum(len(row.new) for row, _ in texts))
    answers = [(row.text, ended, None if asked.others is None else tuple(row.likely)) for row, ended in texts]
    return JSONResponse(shape.whole(answers, usage))


def _rows(engine: Engine, asked: Asked) -> Rows:
    """Each answer's prompt and settings; of several to one question each has its own seed."""
    found = []
    for prompt in asked.prompts:
        ids = engine.ids_of(prompt)
        settings = engine.fitting(ids, asked.settings)
        for number in range(asked.choices):
            seed = settings.seed
            found.append((ids, settings if seed is None else changed(settings, {"seed": seed + number})))
    return found


class _Stream(StreamingResponse):
    """Closes what is coming when it ends, also where the client left before its first byte."""

    def __init__(self, coming: Coming, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._coming = coming

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._coming.close()


async def _whole(coming: Coming) -> list[tuple[Writing, str]]:
    """Each answer, and how it ended."""
    found: dict[int, tuple[Writing, str]] = {}
    async for number, piece, row in coming.pieces():
        fault = failed(piece)
        if fault is not None:
            raise fault
        if piece.ended is not None:
            found[number] = (row, piece.ended)
    return [found[number] for number in range(len(coming.rows))]


async def _unless_gone(request: Request, work: Awaitable[Any]) -> Any:
    """What the work comes to; None, and the work is ended, if the client leaves before."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _streamed(coming: Coming, shape: Shape, prompt_tokens: int | None) -> AsyncIterator[bytes]:
    """Events as OpenAI sends them; `prompt_tokens`: where a count was asked for."""
    tokens = 0
    for number in range(len(coming.rows)):
        if first := shape.begins(number):
            yield first
    async for number, piece, row in coming.pieces():
        fault = failed(piece)
        if fault is not None:
            yield event(fault.as_json())
            return
        if piece.text or piece.likely:
            yield shape.piece(number, piece.text, None if row.others is None else piece.likely)
        if piece.ended is not None:
            tokens += len(row.new)
            yield shape.ends(number, piece.ended)
    if prompt_tokens is not None:
        yield shape.usage(usage_of(prompt_tokens, tokens))
    yield DONE
