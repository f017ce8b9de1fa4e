"""Model + data + GPU -> method, lengths and batch of a first recipe, by a rule of thumb. Pure arithmetic: knows no file
and no machine, and promises no more than that the numbers are plausible.

The rule, in GB: the weights, plus 1 for the libraries, plus for every 2,048 tokens of a forward pass half a GB and a
tenth for each billion of parameters. A tenth of the GPU is left free."""

from dataclasses import dataclass, replace

from finetune.starting.data import Data
from finetune.starting.model import Model

BYTES = {"qlora": 0.6, "lora": 2.0, "full": 16.0}
"""Of GPU memory for each parameter: 4-bit weights; 16-bit weights; weights, gradients and Adam's two averages."""
ON_CPU = {"qlora": 0.6, "lora": 4.0, "full": 16.0}
"""Without a GPU the computation is in 32 bits."""
SHARE = 0.9
USUAL_LENGTH = 2048
SHORTEST = 512
MANY_STEPS = 10
"""Steps that an epoch should have; small data gets a smaller batch for it."""
LARGE_DATA = 20_000
"""Rows from which one pass is enough to begin with."""


@dataclass(frozen=True)
class Choices:
    """What the recipe says beyond model and data. `gpu`: GB, None for none. `needs`: GB by the rule. `fault`: why it
    will not run as it is, and what would; empty if it should."""

    method: str
    gpu: float | None
    sequence_len: int
    micro_batch: int
    accumulation: int
    needs: float
    epochs: int
    validation: float
    fault: str = ""
    shortened: bool = False

    @property
    def title(self) -> str:
        """The method in a few words."""
        if self.method == "lora":
            return f"LoRA on {'32' if self.gpu is None else '16'}-bit weights"
        return "QLoRA (LoRA on 4-bit weights)" if self.method == "qlora" else "all weights are trained"

    @property
    def effective_batch(self) -> int:
        return self.micro_batch * self.accumulation


def needed(method: str, billions: float, rows: int, length: int, on_cpu: bool = False) -> float:
    """GB by the rule of thumb."""
    weights = (ON_CPU if on_cpu else BYTES)[method] * billions
    return weights + 1.0 + rows * length / USUAL_LENGTH * (0.5 + 0.1 * billions)


def choose(model: Model, data: Data, gpu: float | None, method: str | None = None) -> Choices:
    """The choices for a method asked for; for None, LoRA where it fits and QLoRA where it does not."""
    if method is None:
        method = proposed_method(model, gpu)
    chosen = _sized(method, model, data, gpu)
    return replace(chosen, fault=_fault(chosen, model, data))


def proposed_method(model: Model, gpu: float | None) -> str:
    """QLoRA where the weights are published in 4-bit, or where LoRA at full length would not fit; else LoRA."""
    if model.four_bit:
        return "qlora"
    length = _length(model)
    return "lora" if gpu is None or needed("lora", model.billions, 1, length) <= SHARE * gpu else "qlora"


def _length(model: Model) -> int:
    return min(USUAL_LENGTH, model.positions or USUAL_LENGTH)


def _sized(method: str, model: Model, data: Data, gpu: float | None) -> Choices:
    """The largest forward pass that fits; where even one row does not, a shorter one."""
    full = length = _length(model)
    room = SHARE * gpu if gpu is not None else float("inf")
    while needed(method, model.billions, 1, length) > room and length // 2 >= SHORTEST:
        length //= 2
    if needed(method, model.billions, 1, length) > room:
        length = full  # shorter rows do not save it, so they would only cost
    most = 8 if gpu is not None else 2
    sizes = [rows for rows in (8, 4, 2) if rows <= most and needed(method, model.billions, rows, length) <= room]
    micro = sizes[0] if sizes else 1
    effective = _effective(16 if micro >= 4 else 8, data)
    micro = min(micro, effective)
    needs = needed(method, model.billions, micro, length, gpu is None)
    epochs = 1 if data.rows is None or data.rows > LARGE_DATA else 3
    return Choices(
        method, gpu, length, micro, effective // micro, needs, epochs, _validation(data), shortened=length < full
    )


def _effective(usual: int, data: Data) -> int:
    """16 or 8 rows a step; fewer where that leaves an epoch a handful of steps."""
    while data.rows is not None and usual > 1 and data.rows < usual * MANY_STEPS:
        usual //= 2
    return usual


def _validation(data: Data) -> float:
    """A twentieth of the rows; a number of rows where a twentieth might be none; 0 where each row is needed."""
    if data.rows is None or data.rows >= 200:
        return 0.05
    return max(2, data.rows // 10) if data.rows >= 20 else 0


def _fault(chosen: Choices, model: Model, data: Data) -> str:
    if model.four_bit and chosen.method != "qlora":
        return (
            f"The weights of {model.short} are published in 4-bit, which only QLoRA trains on: take --method qlora, "
            "or the model's 16-bit repository."
        )
    if chosen.gpu is None or chosen.needs <= SHARE * chosen.gpu:
        return ""
    problem = (
        f"This does not fit: {chosen.method} needs about {chosen.needs:.0f} GB for {model.size} parameters, "
        f"and the GPU has {chosen.gpu:g}. "
    )
    other = _sized("qlora", model, data, chosen.gpu)
    if chosen.method != "qlora" and other.needs <= SHARE * chosen.gpu:
        return f"{problem}--method qlora needs about {other.needs:.0f} GB."
    also = "" if chosen.method == "qlora" else f"QLoRA, at about {other.needs:.0f} GB, does not either: "
    return f"{problem}{also}{'take' if also else 'Take'} a smaller model or a larger GPU."
