"""Streaming clients at once against `finetune serve`: every answer is compared with the one that was given alone.

python bench/serve_clients.py RUN_DIR [--clients 32] [--seconds 60]
"""

import argparse
import asyncio
import random
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

import openai
import psutil

QUESTIONS = (
    "I am so tired. | Do you have a name? | I made a big mistake today. | I have to go home now. | Thank you | Hello"
    " | What can I see in the library? | I am happy because the sun is shining on the lake and my friends are here."
    " | Where do frogs live? | Tell me about the forest. | I am afraid of the dark. | What is your favourite animal?"
).split(" | ")


@dataclass
class Tally:
    """Of all clients. `first` and `whole`: seconds to the first piece and to the end of each answer."""

    answers: int = 0
    errors: int = 0
    mixed: int = 0
    left: int = 0
    tokens: int = 0
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)


async def answer(client: openai.AsyncOpenAI, question: str, tally: Tally | None = None) -> str:
    started, text = time.monotonic(), ""
    stream = await client.chat.completions.create(
        model="run", messages=[{"role": "user", "content": question}], stream=True, temperature=0,
        stream_options={"include_usage": True},
    )  # fmt: skip
    async for chunk in stream:
        piece = chunk.choices[0].delta.content if chunk.choices else ""
        if piece and not text and tally:
            tally.first.append(time.monotonic() - started)
        text += piece or ""
        if chunk.usage and tally:
            tally.tokens += chunk.usage.completion_tokens
    if tally:
        tally.whole.append(time.monotonic() - started)
    return text


async def one_client(
    number: int, client: openai.AsyncOpenAI, alone: dict[str, str], until: float, tally: Tally
) -> None:
    rng = random.Random(number)
    while time.monotonic() < until:
        question = rng.choice(QUESTIONS)
        try:
            if rng.random() < 0.05:  # some leave in the middle of their answer
                stream = await client.chat.completions.create(
                    model="run", messages=[{"role": "user", "content": question}], stream=True
                )
                await anext(aiter(stream))
                await stream.close()
                tally.left += 1
                continue
            text = await answer(client, question, tally)
        except openai.OpenAIError as error:
            tally.errors += 1
            print("error:", error, file=sys.stderr)
            continue
        tally.answers += 1
        tally.mixed += text != alone[question]


async def watch(process: psutil.Process, until: float, seen: list[float]) -> None:
    while time.monotonic() < until:
        seen.append(process.memory_info().rss / 2**20)
        await asyncio.sleep(1)


async def measure(port: int, process: psutil.Process, clients: int, seconds: float) -> tuple[Tally, list[float]]:
    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    alone = {question: await answer(client, question) for question in QUESTIONS}
    tally, seen, until = Tally(), [], time.monotonic() + seconds
    await asyncio.gather(
        watch(process, until, seen), *(one_client(number, client, alone, until, tally) for number in range(clients))
    )
    return tally, seen


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    command = [sys.executable, "-m", "finetune", "serve", given.run, "--port", "0", "--name", "run"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        port = next(int(found[1]) for line in server.stdout if (found := re.search(r":(\d+)/v1", line)))
        tally, seen = asyncio.run(measure(port, psutil.Process(server.pid), given.clients, given.seconds))
    finally:
        server.terminate()
        server.wait(30)
    asked = f"{given.clients} clients, {given.seconds:.0f} s"
    print(f"{asked}: {tally.answers} answers, {tally.errors} errors, {tally.mixed} mixed")
    print(f"{tally.left} clients left in the middle of an answer")
    print(f"{tally.tokens / given.seconds:.0f} tokens/s; first piece {statistics.median(tally.first):.2f} s (median), "
          f"whole answer {statistics.median(tally.whole):.2f} s, slowest {max(tally.whole):.2f} s")  # fmt: skip
    third = len(seen) // 3
    parts = (seen[:third], seen[third:-third], seen[-third:])
    print("memory of the server, MiB, mean of each third:", ", ".join(f"{statistics.mean(one):.0f}" for one in parts))
    return int(bool(tally.errors or tally.mixed))


if __name__ == "__main__":
    sys.exit(main())
