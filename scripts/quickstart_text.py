"""Writes the pretraining text of the quickstart base model: thousands of short, varied English passages.

The passages are drawn from our own templates with a seeded generator, so the same seed gives the same text. The
text is plain prose only. This script refuses to know the chat form, the companion and the tokenizer: the base model
must meet conversations for the first time when somebody fine-tunes it.

Usage: python scripts/quickstart_text.py --count 5 --seed 1
"""

import argparse
import random
import re
from collections.abc import Iterator

import quickstart_words as world
from quickstart_scenes import SCENES
from quickstart_stories import STORIES
from quickstart_templates import FACTS, NAMES, QUESTIONS, SLOTS

TABLES: dict[str, list[world.Row]] = {
    "animal": world.ANIMALS,
    "dish": world.DISHES,
    "feeling": world.FEELINGS,
    "sorrow": [row for row in world.FEELINGS if row["tone"] == "bad"],
    "joy": [row for row in world.FEELINGS if row["tone"] == "good"],
    "goal": world.GOALS,
    "place": world.PLACES,
    "plant": world.PLANTS,
    "weather": world.WEATHER,
    "job": world.JOBS,
    "thing": world.THINGS,
    "colour": world.COLOURS,
    "hobby": world.HOBBIES,
}
PRONOUNS = {"she": {"he": "she", "him": "her", "his": "her"}, "he": {"he": "he", "him": "him", "his": "his"}}
NUMBERS = world.words("one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve")
SLOT = re.compile(r"\{([a-z]+)(\d?)(?:\.([a-z]+))?\}")
# A sentence begins at the start, after a full stop, or just inside an opening quotation mark; after a closing
# mark it begins too, unless the words only say who spoke.
SENTENCE_START = re.compile(r'(^|\n|[.!?] |(?:^|[ \n])"|[.!?]" (?!(?:he |she )?(?:said|asked)))([a-z])')
ARTICLE_BEFORE_VOWEL = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])")


def polished(text: str) -> str:
    """Give sentences their capital letter, vowels their article, and speech before its speaker a comma."""
    spoken = text.replace('." said', '," said')
    with_articles = ARTICLE_BEFORE_VOWEL.sub(r"\1n ", spoken)
    return SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), with_articles)


class Passage:
    """Fills templates for one passage and remembers what the numbered slots stood for."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._people: dict[str, tuple[str, str]] = {}
        self._kept: dict[str, str] = {}
        self.rows: dict[str, world.Row] = {}

    def tell(self, template: str) -> str:
        """Fill every slot of one template."""
        return SLOT.sub(lambda match: self._fill(match[1], match[2], match[3]), template)

    def _fill(self, kind: str, number: str, column: str | None) -> str:
        if column:
            return self._row(kind, number)[column]
        if kind == "name":
            return self._person(number)[0]
        if kind in PRONOUNS["she"]:
            return PRONOUNS[self._person(number)[1]][kind]
        if not number:
            return self._rng.choice(SLOTS[kind])
        return self._kept.setdefault(kind + number, self._rng.choice(SLOTS[kind]))

    def _row(self, kind: str, number: str) -> world.Row:
        if kind + number not in self.rows:
            self.rows[kind + number] = self._rng.choice(TABLES[kind])
        return self.rows[kind + number]

    def _person(self, number: str) -> tuple[str, str]:
        if number not in self._people:
            gender = self._rng.choice(sorted(NAMES))
            taken = {name for name, _ in self._people.values()}
            self._people[number] = (self._rng.choice([name for name in NAMES[gender] if name not in taken]), gender)
        return self._people[number]


def fact_passage(rng: random.Random) -> str:
    """Tell some facts about one row of one table."""
    passage, kind = Passage(rng), rng.choice(sorted(FACTS))
    chosen = rng.sample(FACTS[kind], k=rng.randint(2, 5))
    return polished(" ".join(passage.tell(sentence) for sentence in chosen))


def question_passage(rng: random.Random) -> str:
    """Tell a question and its answer in prose, in one of several ways, followed by what else is known."""
    passage, kind = Passage(rng), rng.choice(sorted(QUESTIONS))
    question, answer = (polished(passage.tell(text)) for text in rng.choice(QUESTIONS[kind]))
    more = polished(passage.tell(rng.choice(FACTS[kind])))
    shapes = [
        f"{question} {answer}",
        f"{question}\n{answer} {more}",
        f'"{question}" asked {{name8}}. "{answer}"',
        f'{{name8}} asked {{name9}}: "{question}" {{name9}} thought for a moment. "{answer}"',
        f'"{question}"\n"{answer}" said {{name9}}. {more}',
        f'"{question}" asked {{name8}}. "I am glad you ask," said {{name9}}. "{answer} {{ask}}"',
        f'"{question}" asked {{name8}}. "What a lovely question! {answer} {{ask}}"',
        f'"{question}" asked {{name8}}. "Of course, I will help you. {answer} {{ask}}"',
        f'"{question}" asked {{name8}}. "I am happy to help. {answer}" {{name8}} {{past}}.',
        f'"I have a question," said {{name8}}. "{question}" {{his8}} {{kin}} smiled. "{answer}"',
    ]
    return polished(passage.tell(rng.choice(shapes)))


def story_passage(rng: random.Random) -> str:
    """Tell one story or scene, now and then leaving a middle beat out."""
    passage = Passage(rng)
    beats = list(rng.choice(STORIES + SCENES))
    if len(beats) > 4 and rng.random() < 0.4:
        del beats[rng.randrange(1, len(beats) - 1)]
    return polished(" ".join(passage.tell(rng.choice(beat)) for beat in beats))


def number_passage(rng: random.Random) -> str:
    """Tell small sums, the order of the days, or opposite words."""
    passage, choice = Passage(rng), rng.randrange(3)
    if choice == 0:
        left, right = rng.randint(1, 6), rng.randint(1, 6)
        first, second, total = NUMBERS[left - 1], NUMBERS[right - 1], NUMBERS[left + right - 1]
        return polished(
            passage.tell(f"what is {first} plus {second}? {first} plus {second} is {total}. ")
            + passage.tell(f"{{name1}} has {first} {{things1}} and gets {second} more. Now {{he1}} has {total}.")
        )
    if choice == 1:
        index = rng.randrange(7)
        before, day, after = (SLOTS["day"][(index + step) % 7] for step in (-1, 0, 1))
        told = f"which day comes after {day}? After {day} comes {after}. Before {day} comes {before}. "
        return polished(told + passage.tell(f"On {day} {{name1}} likes to {{act}}, and on {after} {{he1}} rests."))
    word, other = rng.choice([pair.split() for pair in world.OPPOSITES])
    word, other = rng.choice([(word, other), (other, word)])
    return polished(
        passage.tell(f"what is the opposite of {word}? The opposite of {word} is {other}. ")
        + passage.tell(f'"not {word}, but {other}," said {{name1}}. {{name1}} likes the word {other}.')
    )


MAKERS = (fact_passage, question_passage, story_passage, number_passage)
SHARES = (34, 28, 34, 4)


def passages(count: int, seed: int) -> Iterator[str]:
    """Yield that many passages; the same seed always gives the same text."""
    rng = random.Random(seed)
    for _ in range(count):
        yield rng.choices(MAKERS, SHARES)[0](rng)


def main() -> None:
    """Print some passages, separated by empty lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("\n\n".join(passages(options.count, options.seed)))


if __name__ == "__main__":
    main()
