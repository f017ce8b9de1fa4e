"""How one answer is drawn: temperature and the like, its seed, its length, its end. Knows no model and no queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Settings:
    """`temperature` 0: the most likely token each time. `seed` None: drawn anew. `stop`: texts before which the answer
    ends."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether the most likely token is taken as the model gives it."""
        return self.temperature == 0 and not self.penalizes

    @property
    def penalizes(self) -> bool:
        return self.repetition_penalty != 1 or bool(self.frequency_penalty) or bool(self.presence_penalty)


def settings_of(config: Any, seed: int | None) -> Settings:
    """Of transformers' GenerationConfig, as a recipe's plan makes it."""
    samples = bool(config.do_sample)
    return Settings(
        max_new_tokens=config.max_new_tokens,
        temperature=float(config.temperature or 1.0) if samples else 0.0,
        top_p=float(config.top_p or 1.0) if samples else 1.0,
        top_k=int(config.top_k or 0) if samples else 0,
        min_p=float(config.min_p or 0.0) if samples else 0.0,
        repetition_penalty=float(config.repetition_penalty or 1.0),
        seed=seed,
        stop=tuple(config.stop_strings or ()),
    )


BOUNDS: Mapping[str, tuple[type, float, float]] = {
    "max_new_tokens": (int, 1, 2**31),
    "temperature": (float, 0, 100),
    "top_p": (float, 0, 1),
    "top_k": (int, 0, 2**31),
    "min_p": (float, 0, 1),
    "repetition_penalty": (float, 0.01, 100),
    "frequency_penalty": (float, -2, 2),
    "presence_penalty": (float, -2, 2),
    "seed": (int, -(2**63), 2**63 - 1),
}
"""Of each setting: its type, the least and the greatest value."""
STOPS = 16
"""Stop texts of one answer, at most."""


def changed(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """With other values for some. ValueError, which names the value and what it may be, for one that cannot be."""
    known = {field.name for field in fields(Settings)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"there is no setting {name!r}; there are {', '.join(sorted(known))}")
        values[name] = stops(value) if name == "stop" else _number(name, value)
    if values.get("top_p") == 0:
        raise ValueError("top_p must be above 0")
    return replace(settings, **values)


def _number(name: str, value: Any) -> int | float:
    kind, least, most = BOUNDS[name]
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or (kind is float and isinstance(value, float))) or not least <= value <= most:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} must be {what} from {least:g} to {most:g}, not {value!r}")
    number: int | float = kind(value)
    return number


def stops(value: Any) -> tuple[str, ...]:
    """One text or several. ValueError for anything else."""
    texts: Sequence[Any] = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"stop must be a text or a list of texts, none of them empty, not {value!r}")
    if len(texts) > STOPS:
        raise ValueError(f"stop holds {len(texts)} texts; at most {STOPS} are looked for")
    return tuple(texts)
