"""Names of columns -> which one asks and which one answers, as people call them. Knows words of several languages;
knows no format and reads no file."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

QUESTIONS = frozenset(
    "question questions q query prompt prompts instruction instructions input user human ask asks request customer "
    "client problem frage fragen anfrage anweisung eingabe nutzer benutzer kunde aufgabe pregunta consulta domanda "
    "richiesta pergunta demande vraag pytanie fråga вопрос 问题 質問".split()
)
ANSWERS = frozenset(
    "answer answers a reply replies response responses completion completions output outputs assistant bot gpt agent "
    "support solution antwort antworten rückmeldung ausgabe assistent lösung berater respuesta risposta "
    "resposta réponse reponse antwoord odpowiedź svar ответ 答案 回答".split()
)
CONTEXTS = frozenset("context passage kontext contexte contexto contesto".split())
TEXTS = frozenset("text texts content body document article inhalt texte texto testo".split())
LONGEST_NAME = 40


def asks_and_answers(row: Mapping[str, Any]) -> tuple[str, str, bool] | None:
    """(the column that asks, the one that answers, whether their names say so): by their words, or the only two
    columns of text in their order. None where neither tells."""
    names = [name for name in row if isinstance(row[name], str)]
    asking, answering = _called(names, QUESTIONS), _called(names, ANSWERS)
    if len(asking) == 1 and len(answering) == 1 and asking != answering:
        return asking[0], answering[0], True
    if len(names) == 2 and len(row) == 2:
        return names[0], names[1], False
    return None


def other_name_of_context(row: Mapping[str, Any]) -> str | None:
    """A column that is a context by its name, but not by the name that is read."""
    return next((name for name in _called(list(row), CONTEXTS) if name not in ("context", "passage")), None)


def only_text(row: Mapping[str, Any]) -> str | None:
    """The one column that holds plain text by its name, or the only column there is."""
    names = [name for name in row if isinstance(row[name], str)]
    called = _called(names, TEXTS)
    return called[0] if len(called) == 1 else names[0] if len(names) == len(row) == 1 else None


def look_like_rows(names: Sequence[str]) -> bool:
    """Whether the first line of a table holds words of a row, not names: sentences, line ends or only numbers."""
    return any(len(name) > LONGEST_NAME or name.rstrip().endswith(("?", ".", "!")) or "\n" in name for name in names)


def _called(names: Sequence[str], words: frozenset[str]) -> list[str]:
    return [name for name in names if set(re.findall(r"\w+", name.replace("_", " ").lower())) & words]
