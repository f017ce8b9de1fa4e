"""A run behind OpenAI's chat API: what clients get, what is refused, and who waits for whom."""

import asyncio
import gc
import json
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn

from finetune.answering.settings import Settings
from finetune.answering.writing import Writing
from finetune.errors import MachineError, UsageError
from finetune.formats.meaning import Conversation, Message, Row
from finetune.generation import prompt_ids
from finetune.rendering.examples import IGNORED, tokenize_rows
from finetune.serving import running
from finetune.serving.app import Door, app_of
from finetune.serving.engine import Coming, Engine
from finetune.serving.reading import chat_asked
from finetune.serving.refusing import Refused
from finetune.trained import Trained, opened
from tests import tiny

KEY = "a-key"


class Served:
    """A server of this process, its engine, and a client."""

    def __init__(self, run: Path, **changes: Any) -> None:
        self.trained: Trained = opened(run)
        self.engine = Engine(self.trained, changes.pop("slots", 8), changes.pop("queue", 64))
        self.place = running.bound("127.0.0.1", 0)
        self.port = self.place.getsockname()[1]
        door = Door("run", KEY, running.LOOPBACK, 20_000)
        self.server = uvicorn.Server(uvicorn.Config(app_of(self.engine, door), log_level="warning", ws="none"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.place]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.client = openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=KEY, max_retries=0)

    def ask(self, text: str, **how: Any) -> Any:
        messages: Any = [{"role": "user", "content": text}]
        return self.client.chat.completions.create(**{"model": "run", "messages": messages, **how})

    def idle(self) -> bool:
        until = time.monotonic() + 10
        while self.engine.writers.busy and time.monotonic() < until:
            time.sleep(0.02)
        return not self.engine.writers.busy

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture(scope="module")
def served(trained_run: Path) -> Iterator[Served]:
    found = Served(trained_run)
    yield found
    found.close()


def test_an_answer_over_http_is_that_of_the_run(served: Served, trained_run: Path) -> None:
    (first, _) = json.loads((trained_run / "answers.json").read_text())
    got = served.ask(first["question"])
    assert got.choices[0].message.content == first["after"]["text"] and got.choices[0].finish_reason == "length"
    assert got.usage.completion_tokens == first["after"]["tokens"] == 8
    assert got.usage.prompt_tokens == len(served.trained.ids_of(_prompt(first["question"])))
    assert [model.id for model in served.client.models.list()] == ["run"]
    assert served.client.models.retrieve("run").id == "run"


def _prompt(question: str) -> Any:
    from finetune.generation import prompt_for

    return prompt_for(question, "chat_template")


def test_a_stream_brings_the_same_in_pieces_and_its_counts(served: Served) -> None:
    whole = served.ask("the sea", max_tokens=30)
    chunks = list(served.ask("the sea", max_tokens=30, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content and len(chunks) > 5
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage


def test_settings_of_a_request_are_its_own(served: Served) -> None:
    plain = served.ask("the sea", max_tokens=20).choices[0].message.content
    stop = plain[6:9]
    cut = served.ask("the sea", max_tokens=20, stop=[stop]).choices[0]
    assert cut.message.content == plain[: plain.index(stop)].strip() and cut.finish_reason == "stop"
    drawn = [served.ask("the sea", temperature=1.5, seed=seed).choices[0].message.content for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    several = served.ask("the sea", temperature=1.5, seed=1, n=3)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert [choice.message.content for choice in several.choices][:2] == [drawn[0], drawn[2]]
    parts: Any = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
    ]
    system: Any = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a"}]
    same = [served.ask("", messages=messages).choices[0].message.content for messages in (parts, system)]
    assert same[0] == same[1]
    text = served.client.completions.create(model="run", prompt=["the sea", "calm"], max_tokens=5)
    assert len(text.choices) == 2 and text.usage is not None and text.usage.completion_tokens == 10


def test_how_likely_each_token_was_is_told_where_that_is_asked(served: Served) -> None:
    import torch

    got = served.ask("the sea", max_tokens=12, logprobs=True, top_logprobs=3)
    told = got.choices[0].logprobs.content
    ids = served.trained.ids_of(_prompt("the sea"))
    model, tokenizer = served.trained.loaded.model, served.trained.loaded.tokenizer
    said = [token for one in told for token in tokenizer.convert_tokens_to_ids([_letters(one.bytes)])]
    with torch.no_grad():
        logits_TV = model(input_ids=torch.tensor([[*ids, *said]])).logits[0, len(ids) - 1 : -1].float()
    wanted_TV = logits_TV.log_softmax(-1)
    for place, one in enumerate(told):
        assert one.logprob == pytest.approx(float(wanted_TV[place, said[place]]), abs=1e-4)
        assert [other.logprob for other in one.top_logprobs] == pytest.approx(
            wanted_TV[place].topk(3).values.tolist(), abs=1e-4
        )
        assert one.top_logprobs[0].token == one.token, "the most likely one was taken"
    assert bytes(byte for one in told for byte in one.bytes).decode().strip() == got.choices[0].message.content
    assert len(told) == got.usage.completion_tokens == 12
    chunks = list(served.ask("the sea", max_tokens=12, logprobs=True, top_logprobs=3, stream=True))
    pieces = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert [one for piece in pieces for one in piece.content] == told
    drawn = served.ask("the sea", max_tokens=12, logprobs=True, temperature=5.0, seed=1).choices[0].logprobs.content
    assert all(one.top_logprobs == [] for one in drawn) and min(one.logprob for one in drawn) < -3
    alone = served.trained.writers(1)
    alone.batch = None  # as of a model that writes one answer after the other
    row = Writing(ids, Settings(12), others=3)
    alone.write([row])
    assert [one.logprob for one in row.likely] == pytest.approx([one.logprob for one in told], abs=1e-4)


def _letters(content: list[int]) -> str:
    from finetune.answering.likely import _byte_letters

    letters = {byte: letter for letter, byte in _byte_letters().items()}
    return "".join(letters[byte] for byte in content)


def test_plain_texts_have_the_chances_of_their_tokens_as_openai_shapes_them(served: Served) -> None:
    how: Any = {"model": "run", "prompt": "the sea", "max_tokens": 6, "logprobs": 2}
    told = served.client.completions.create(**how).choices[0].logprobs
    assert told is not None and told.tokens and told.text_offset
    assert len(told.tokens) == len(told.token_logprobs or ()) == len(told.top_logprobs or ()) == 6
    ends = [place + len(token) for place, token in zip(told.text_offset, told.tokens, strict=True)]
    assert told.text_offset == [0, *ends[:-1]]
    offsets = [
        place
        for chunk in served.client.completions.create(**how, stream=True)
        if chunk.choices[0].logprobs
        for place in chunk.choices[0].logprobs.text_offset or ()
    ]
    assert offsets == told.text_offset
    with pytest.raises(openai.BadRequestError, match="from 0 to 5"):
        served.client.completions.create(**(how | {"logprobs": 6}))


def test_clients_at_once_get_each_their_own_answer(served: Served) -> None:
    texts = [f"{word} {number}" for number in range(16) for word in ("the sea", "walk home and talk")]
    draws = [{"max_tokens": 12, "temperature": 1.3 * (number % 4 > 0), "seed": number} for number in range(32)]
    alone = [served.ask(text, **how).choices[0].message.content for text, how in zip(texts, draws, strict=True)]

    def streamed(text: str, how: Any) -> str:
        return "".join(chunk.choices[0].delta.content or "" for chunk in served.ask(text, **how, stream=True))

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(streamed, texts, draws)) == alone
    assert len(set(alone)) > 16 and served.idle()


WRONG = (
    ({"messages": []}, 400, "at least one"),
    ({"messages": [{"role": "user"}]}, 400, "turn 1 has no content"),
    ({"messages": [{"role": "user", "content": None}]}, 400, "null, not text"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "only text"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, 400, "role 'wizard' is not known"),
    ({"messages": ["x"]}, 400, "not a message"),
    ({"tools": [1]}, 400, "tool 1 of tools is a number"),
    ({"tools": [{"type": "function", "function": {"name": "look"}}]}, 400, "leaves tools out"),
    ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "nothing to answer"),
    ({"temperature": -1}, 400, "temperature must be"),
    ({"max_tokens": 0}, 400, "max_tokens must be"),
    ({"max_tokens": -5}, 400, "max_tokens must be"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, 400, "leave one out"),
    ({"n": 17}, 400, "no more than 16"),
    ({"stop": [1]}, 400, "stop must be"),
    ({"logprobs": 3}, 400, "logprobs must be true or false"),
    ({"top_logprobs": 3}, 400, "needs logprobs: true"),
    ({"logprobs": True, "top_logprobs": 21}, 400, "from 0 to 20"),
    ({"response_format": {"type": "json_object"}}, 400, "not supported here: leave it out. vLLM can"),
    ({"logit_bias": {"5": 3}}, 400, "logit_bias is not supported here: leave it out"),
    ({"tool_choice": "required"}, 400, "cannot be made to call"),
    ({"extra_body": {"warmth": 1}}, 400, "unknown field: warmth"),
    ({"model": "gpt"}, 404, "no model 'gpt'"),
    ({"messages": [{"role": "user", "content": "sea " * 2000}]}, 400, "room for 1024"),
    ({"messages": [{"role": "user", "content": "sea " * 9000}]}, 413, "larger than"),
)


@pytest.mark.parametrize(("how", "status", "said"), WRONG)
def test_a_bad_request_is_refused_in_openais_shape(how: Any, status: int, said: str, served: Served) -> None:
    with pytest.raises(openai.APIStatusError) as error:
        served.ask("x", **how)
    body: Any = error.value.body
    assert error.value.status_code == status and said in body["message"]
    assert set(body) == {"message", "type", "param", "code"}
    assert served.ask("x", max_tokens=1).choices  # nothing is lost by it


def test_only_who_has_the_key_and_calls_by_name_may_enter(served: Served) -> None:
    import httpx

    address = f"http://127.0.0.1:{served.port}/v1"
    with pytest.raises(openai.AuthenticationError):
        served.client.with_options(api_key="wrong").models.list()
    assert httpx.get(f"{address}/models").status_code == 401
    for header, status in ((KEY, 401), (f"Basic {KEY}", 401), (f"bearer {KEY}", 200)):
        assert httpx.get(f"{address}/models", headers={"Authorization": header}).status_code == status
    key = {"Authorization": f"Bearer {KEY}"}
    assert httpx.get(f"{address}/models", headers={**key, "Host": "evil.example"}).status_code == 403
    json_kind = {**key, "Content-Type": "application/json"}
    for content, headers, status in (
        (b"{}", {**key, "Content-Type": "text/plain"}, 415),
        (b"{", json_kind, 400),
        (b"[" * 9000, json_kind, 400),
        (b"3", json_kind, 400),
        (b'{"model": "run", "messages": [{"role": "user", "content": "half \\ud83d"}]}', json_kind, 400),
        (b'{"half \\ud83d": 1}', json_kind, 400),
    ):
        got = httpx.post(f"{address}/chat/completions", content=content, headers=headers)
        assert got.status_code == status and set(got.json()["error"]) == {"message", "type", "param", "code"}
    assert httpx.get(f"{address}/nothing", headers=key).status_code == 404
    assert httpx.get(f"{address}/chat/completions", headers=key).json()["error"]["type"] == "invalid_request_error"
    assert httpx.get(f"http://127.0.0.1:{served.port}/health").json()["status"] == "ok"


def test_a_client_that_leaves_frees_its_slot(served: Served) -> None:
    stream = served.ask("the sea", max_tokens=900, stream=True)
    for _ in range(3):
        next(stream)
    assert served.engine.writers.writing == 1
    stream.close()
    assert served.idle()
    with pytest.raises(openai.APITimeoutError):
        served.client.with_options(timeout=0.3).chat.completions.create(
            model="run", messages=[{"role": "user", "content": "the sea"}], max_tokens=900
        )
    started = time.monotonic()
    assert served.idle() and time.monotonic() - started < 5


def test_more_than_may_wait_are_refused(served: Served) -> None:
    engine = Engine(served.trained, slots=1, queue=2)  # nobody drives it: what is added stays
    rows = [Writing([1], Settings(1), lambda piece: None) for _ in range(5)]
    engine.admit(rows[:2])
    with pytest.raises(Refused, match="2 answers are written or wait already") as error:
        engine.admit(rows[2:4])
    assert error.value.status == 429 and error.value.as_json()["error"]["type"] == "rate_limit_error"
    engine.admit(rows[2:3])
    assert list(engine.writers.waiting) == rows[:3]
    engine.writers.cancel(rows[0])
    engine.admit(rows[4:])
    assert list(engine.writers.waiting) == [rows[1], rows[2], rows[4]]


def test_an_answer_is_forgotten_as_soon_as_nobody_listens(served: Served) -> None:
    engine = Engine(served.trained, slots=1, queue=2)

    async def asked() -> weakref.ref[Coming]:
        coming = Coming(engine, [([1], Settings(1))])
        coming.close()
        return weakref.ref(coming)

    gc.disable()
    try:
        assert asyncio.run(asked())() is None
    finally:
        gc.enable()


def test_who_gets_a_stream_has_a_place_before_its_first_byte(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Served(trained_run, slots=1, queue=0)
    go = threading.Event()
    monkeypatch.setattr(full.engine.writers, "step", lambda: go.wait(0.01))  # a slot that is taken and not yet written
    long = full.ask("the sea", max_tokens=900, stream=True)
    with pytest.raises(openai.RateLimitError, match="try again"):
        full.ask("calm")
    long.close()
    assert full.idle()
    full.close()


def test_who_comes_while_all_slots_are_taken_is_told_to_come_again_and_then_gets_an_answer(trained_run: Path) -> None:
    full = Served(trained_run, slots=1, queue=0)
    long = full.ask("the sea", max_tokens=900, stream=True)
    next(long)
    with pytest.raises(openai.RateLimitError, match="try again") as error:
        full.ask("calm")
    assert error.value.response.headers["retry-after"] == "1"
    with pytest.raises(openai.BadRequestError, match="2 answers are asked for, and 1 fit at most"):
        full.ask("calm", n=2)
    threading.Timer(0.3, long.close).start()
    again = full.client.with_options(max_retries=5).chat.completions
    messages: Any = [{"role": "user", "content": "calm"}]
    assert again.create(model="run", messages=messages, max_tokens=2).usage.completion_tokens == 2
    full.close()


def test_a_fault_while_writing_fails_its_answers_and_not_the_server(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = type(served.trained.loaded.model)
    with monkeypatch.context() as patch:
        patch.setattr(model, "forward", lambda self, *given, **named: 1 / 0)
        with pytest.raises(openai.InternalServerError, match="division by zero"):
            served.ask("the sea")
        with pytest.raises(openai.APIError, match="division by zero"):
            list(served.ask("the sea", stream=True))
    assert served.ask("the sea", max_tokens=1).choices


def test_what_cannot_listen_or_has_no_key_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running.bound("127.0.0.1", 0) as place, pytest.raises(MachineError, match="--port"):
        running.bound("127.0.0.1", place.getsockname()[1])
    monkeypatch.setenv(running.KEY, "from-environment")
    assert running.key_of(None) == "from-environment"
    (tmp_path / "key").write_text(" in-a-file\n")
    assert running.key_of(tmp_path / "key") == "in-a-file"
    with pytest.raises(UsageError, match="cannot be read"):
        running.key_of(tmp_path / "none")


def test_vllm_is_told_the_template_the_adapter_and_no_key(trained_run: Path) -> None:
    listening = running.Listening("127.0.0.1", 8000, "run", "secret", 1, 1, 1)
    folder = trained_run / "adapter"
    command = running.vllm_command(folder, "base", 12, listening)
    assert command[:3] == ["vllm", "serve", "base"] and "secret" not in command
    assert command[command.index("--lora-modules") + 1] == f"run={folder}"
    assert command[command.index("--max-lora-rank") + 1] == "16" and str(folder / "chat_template.jinja") in command
    assert running.vllm_command(folder, "", None, listening)[2] == str(folder)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_request_is_put_as_the_rows_were_and_ends_by_what_was_learned(family: str) -> None:
    """The tokens before the answer are those of training, and the token after it is one that ends answers."""
    tokenizer = tiny.tokenizer_of(family)
    said = [("user", "the sea"), ("assistant", "is calm"), ("user", " and  the sun\n"), ("assistant", "warm")]
    row = Row("d", 1, Conversation(tuple(Message(*turn) for turn in said)))
    lengths = {"sequence_len": 512, "excess_length_strategy": "drop", "max_dropped_share": 1.0}
    done = tokenize_rows(rows=[row], tokenizer=tokenizer, lengths=lengths, labels=[{}])
    ids, labels = done.examples[0].input_ids, done.examples[0].labels
    last = max(place for place, label in enumerate(labels) if label != IGNORED)
    first = next(place for place in range(last, 0, -1) if labels[place - 1] == IGNORED)
    messages = [{"role": role, "content": content} for role, content in said[:-1]]
    asked = chat_asked({"model": "m", "messages": messages}, ("m",), "chat_template", Settings(5))
    assert prompt_ids(asked.prompts[0], tokenizer) == ids[:first]
    assert ids[last] in done.stop_ids
