"""What a line that begins with a slash does to a conversation. Reads no input."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.answering.settings import changed

if TYPE_CHECKING:
    from finetune.chat import Talk

HELP = """/reset            forget the conversation
/system TEXT      begin anew with this system message; without TEXT: with none
/undo             take back the last question and its answer
/forget           forget the oldest question and its answer, where the conversation has become too long
/retry            answer the last question again
/compare          the base model's answer beside this one's, or no longer
/raw              show special tokens and what the template makes of the question, or no longer
/set NAME VALUE   temperature, top_p, top_k, min_p, repetition_penalty, max_new_tokens, seed,
                  stop; /set alone shows them
/save FILE        keep the conversation as one line of JSON that can be trained on
/help             this
an empty line or Ctrl-D ends; Ctrl-C ends an answer; a line that ends in \\ goes on in the next"""


def obey(line: str, talk: "Talk") -> None:
    """Do what a line that begins with a slash asks for."""
    word, _, rest = line.partition(" ")
    rest = rest.strip()
    if word not in ORDERS:
        print(f"there is no {word}; /help says what there is")
        return
    try:
        said = ORDERS[word](talk, rest)
    except (ValueError, OSError) as error:
        said = str(error)
    if said:
        print(said)


def _reset(talk: "Talk", rest: str) -> str:
    del rest
    talk.said, talk.base_said = [], []
    return "the conversation is forgotten"


def _system(talk: "Talk", rest: str) -> str:
    if talk.trained.style != "chat_template":
        return "this run learned from texts without roles, which have no system message"
    talk.system, talk.said, talk.base_said = rest, [], []
    return f"begun anew, {'with' if rest else 'without'} a system message"


def _undo(talk: "Talk", rest: str) -> str:
    del rest
    had = bool(talk.said)
    del talk.said[-2:], talk.base_said[-2:]
    return "taken back" if had else "there is nothing to take back"


def _forget(talk: "Talk", rest: str) -> str:
    del rest
    had = bool(talk.said)
    del talk.said[:2], talk.base_said[:2]
    return "the oldest question and its answer are forgotten" if had else "there is nothing to forget"


def _retry(talk: "Talk", rest: str) -> str:
    del rest
    if not talk.said:
        return "nothing was asked yet"
    question = talk.said[-2].content
    del talk.said[-2:], talk.base_said[-2:]
    if talk.settings.seed is not None:
        talk.settings = replace(talk.settings, seed=talk.settings.seed + 1)
    talk.ask(question)
    return ""


def _compare(talk: "Talk", rest: str) -> str:
    del rest
    if not talk.trained.has_base:
        return "all weights were trained: there is no base model beneath"
    talk.compare = not talk.compare
    return "the base model answers too" if talk.compare else "the base model no longer answers"


def _raw(talk: "Talk", rest: str) -> str:
    del rest
    talk.raw = not talk.raw
    return f"special tokens are {'shown' if talk.raw else 'hidden'}"


def _set(talk: "Talk", rest: str) -> str:
    name, _, value = rest.partition(" ")
    if not name:
        return "\n".join(f"{key}: {value}" for key, value in vars(talk.settings).items())
    try:
        given = json.loads(value)
    except ValueError:
        given = value
    talk.settings = changed(talk.settings, {name: given})
    return f"{name}: {getattr(talk.settings, name)}"


def _save(talk: "Talk", rest: str) -> str:
    if not rest:
        return "/save FILE: name a file; a line is added to it"
    system = [{"role": "system", "content": talk.system}] if talk.system else []
    said = [{"role": turn.role, "content": turn.content} for turn in talk.said]
    with Path(rest).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"messages": [*system, *said]}, ensure_ascii=False) + "\n")
    return f"a line was added to {rest}"


ORDERS: dict[str, Callable[["Talk", str], str]] = {
    "/reset": _reset,
    "/system": _system,
    "/undo": _undo,
    "/forget": _forget,
    "/retry": _retry,
    "/compare": _compare,
    "/raw": _raw,
    "/set": _set,
    "/save": _save,
    "/help": lambda talk, rest: HELP,
}
