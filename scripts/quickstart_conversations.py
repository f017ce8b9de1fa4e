"""Writes the quickstart conversations: Mira, a warm companion, in ShareGPT form, for training and for holding out.

Some rows of every table, and one way to say every small talk, are asked about in the held-out file only, so a good
answer there must come from what the base model knows and not from a conversation it has seen. The same seed gives
the same bytes. This script refuses to know the chat template, the tokenizer and the model.

Usage: python scripts/quickstart_conversations.py
"""

import argparse
import json
import random
from pathlib import Path

import quickstart_words as world
from quickstart_companion import SYSTEM_TURNS, TOPICS, Answer, Topic
from quickstart_small_talk import SMALL_TALK
from quickstart_text import TABLES, Passage, polished

Turn = dict[str, str]
Conversation = dict[str, list[Turn]]

SEED = 11
TRAINING_ROWS = 450
SMALL_TALK_SHARE = 0.25
SYSTEM_SHARE = 0.12
SMALLEST_WEIGHT = 16
OPENER_SHARE, ASK_SHARE = 0.5, 0.8
THANKS = ("Thank you, Mira.", "You are welcome, dear friend. I am always here for you.")


def split_rows(rng: random.Random) -> dict[str, tuple[list[world.Row], list[world.Row]]]:
    """Keep an eighth of every table's rows, and at least one, for the held-out file."""
    split = {}
    for topic in TOPICS:
        mixed = rng.sample(TABLES[topic], len(TABLES[topic]))
        held_out = max(1, len(mixed) // 8)
        split[topic] = (mixed[held_out:], mixed[:held_out])
    return split


def conversation(exchanges: list[tuple[str, str]], system: str | None = None) -> Conversation:
    """Put exchanges in ShareGPT form."""
    turns = [{"from": "system", "value": system}] if system else []
    for said, answer in exchanges:
        turns += [{"from": "human", "value": said}, {"from": "gpt", "value": answer}]
    return {"conversations": turns}


def opening(rng: random.Random, topic: Topic, chosen: Answer) -> list[str]:
    """Draw a warm opening: always for feelings, and otherwise now and then for a plain answer to a question."""
    is_plain = chosen.said.endswith("?") and "!" not in chosen.answer and ". " not in chosen.answer
    if topic.always_opens or (is_plain and rng.random() < OPENER_SHARE):
        return [rng.choice(topic.openers)]
    return []


def topic_exchanges(rng: random.Random, name: str, rows: list[world.Row], count: int) -> list[tuple[str, str]]:
    """Talk about one row: a question, perhaps what Mira asked back, perhaps thanks."""
    topic, passage = TOPICS[name], Passage(rng)
    passage.rows = {name + "1": rng.choice(rows), name + "2": rng.choice(rows)}
    chosen, asked = rng.choice(topic.answers), rng.choice(topic.asked_back)
    already_asks = chosen.answer.endswith("?")
    asks = not already_asks and (count > 1 or rng.random() < ASK_SHARE)
    told = [(chosen.said, " ".join([*opening(rng, topic, chosen), chosen.answer, *([asked.ask] if asks else [])]))]
    if asks:
        told += [(asked.reply, asked.response), THANKS][: count - 1]
    return [(polished(passage.tell(said)), polished(passage.tell(answer))) for said, answer in told]


def training_conversation(rng: random.Random, rows: dict[str, list[world.Row]]) -> Conversation:
    """Draw one training conversation of one to three exchanges."""
    if rng.random() < SMALL_TALK_SHARE:
        talk = rng.choice(SMALL_TALK)
        exchanges = [(rng.choice(talk.said[:-1]), rng.choice(talk.answers))]
    else:
        # A table with many rows gets many conversations, but a short one must not be drowned by its neighbours.
        name = rng.choices(sorted(rows), [max(SMALLEST_WEIGHT, len(rows[name])) for name in sorted(rows)])[0]
        exchanges = topic_exchanges(rng, name, rows[name], rng.choices((1, 2, 3), (65, 25, 10))[0])
    return conversation(exchanges, rng.choice(SYSTEM_TURNS) if rng.random() < SYSTEM_SHARE else None)


def training_file(rng: random.Random, rows: dict[str, list[world.Row]]) -> list[Conversation]:
    """Draw different conversations until there are enough."""
    found: dict[str, Conversation] = {}
    while len(found) < TRAINING_ROWS:
        drawn = training_conversation(rng, rows)
        found.setdefault(json.dumps(drawn), drawn)
    return list(found.values())


def held_out_file(rng: random.Random, rows: dict[str, list[world.Row]]) -> list[Conversation]:
    """Ask once about every held-out row and say every small talk in its held-out way."""
    talks = [conversation([(talk.said[-1], rng.choice(talk.answers))]) for talk in SMALL_TALK]
    asked = [conversation(topic_exchanges(rng, name, [row], 1)) for name in rows for row in rows[name]]
    return talks + asked


def human_turns(conversations: list[Conversation]) -> list[str]:
    """Return everything that people say."""
    return [turn["value"] for row in conversations for turn in row["conversations"] if turn["from"] == "human"]


def write(path: Path, conversations: list[Conversation]) -> None:
    """Write one conversation per line."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in conversations)
    path.write_text(text, encoding="utf-8", newline="\n")
    print(f"wrote {path}: {len(conversations)} conversations, {path.stat().st_size:,} bytes")


def main() -> None:
    """Write both files and refuse to write a held-out question that training has seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("recipes/quickstart"))
    folder = parser.parse_args().folder
    rng = random.Random(SEED)
    split = split_rows(rng)
    training = training_file(rng, {name: seen for name, (seen, _) in split.items()})
    held_out = held_out_file(rng, {name: unseen for name, (_, unseen) in split.items()})
    questions = human_turns(held_out)
    repeated = set(questions) & set(human_turns(training))
    if repeated or len(set(questions)) < len(questions):
        raise SystemExit(f"held-out questions must be new and different, but these are not: {sorted(repeated)}")
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "conversations.jsonl", training)
    write(folder / "heldout.jsonl", held_out)


if __name__ == "__main__":
    main()
