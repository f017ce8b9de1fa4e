"""FlashAttention 3 and 4 are taken where they are installed and compute what PyTorch's own kernel does; else a run says
why not. A GPU is needed for the kernels themselves (tests/test_on_a_gpu.py): here attention by PyTorch on a CPU stands
for PyTorch's kernel, and a module on disk for the library's."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from finetune.kernels import flash
from finetune.kernels.terms import Terms

RIGHT = """
import torch
from torch.nn.functional import scaled_dot_product_attention as attend

def flash_attn_varlen_func(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale, causal,
                           window_size, deterministic):
    ends, parts = cu_seqlens_q.tolist(), []
    assert max_seqlen_q == max_seqlen_k == max(b - a for a, b in zip(ends, ends[1:])) and window_size == (-1, -1)
    for a, b in zip(ends, ends[1:]):
        heads = [each[a:b].transpose(0, 1) for each in (q, k, v)]
        parts.append(attend(*heads, is_causal=CAUSAL, scale=softmax_scale, enable_gqa=True).transpose(0, 1))
    return torch.cat(parts), None
"""
LIBRARIES = {
    "right": RIGHT.replace("CAUSAL", "causal"),
    "foresees": RIGHT.replace("CAUSAL", "False"),
    "of another version": "def flash_attn_varlen_func(q, k, v): ...",
    "broken": "raise OSError('undefined symbol: _ZN3c105')",
    "learns nothing": RIGHT.replace("CAUSAL", "causal").replace("(q, k, v)]", "(q, k, v.detach())]"),
}


def one_by_one(rows: Any, ends: torch.Tensor, longest: int, terms: Terms) -> torch.Tensor:
    parts = []
    for first, last in itertools.pairwise(ends.tolist()):
        heads = [each[first:last].transpose(0, 1) for each in rows]
        part = scaled_dot_product_attention(*heads, is_causal=True, scale=terms.scale, enable_gqa=True)
        parts.append(part.transpose(0, 1))
    return torch.cat(parts)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def put(kind: str, capability: tuple[int, int] = (9, 0)) -> None:
        module = "stands_for_" + kind.replace(" ", "_")
        (tmp_path / f"{module}.py").write_text(LIBRARIES[kind])
        folder = tmp_path / "flash_attn_3-3.0.0.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: flash-attn-3\nVersion: 3.0.0\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(flash, "LIBRARIES", {"flash-attn-3": module})
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)

    monkeypatch.setattr(flash, "_own", one_by_one)
    flash.begin()
    yield put
    flash.begin()


def attended() -> float:
    """How far what is attended lies from each document alone, forward and backward."""
    chance = torch.Generator().manual_seed(1)
    rows = [torch.randn(40, heads, 8, generator=chance).requires_grad_() for heads in (4, 2, 2)]
    ends = torch.tensor([0, 7, 40], dtype=torch.int32)
    given = torch.randn(40, 4, 8, generator=chance)
    wanted = [one_by_one(rows, ends, 33, Terms(0.3))]
    wanted += torch.autograd.grad(wanted[0], rows, given)
    with torch.no_grad():  # the first one is the trial of a model, which keeps no gradients
        flash.attend(tuple(rows), ends, 33, Terms(0.3))
    found = [flash.attend(tuple(rows), ends, 33, Terms(0.3))]
    found += torch.autograd.grad(found[0], rows, given)
    return max(float((one - other).detach().abs().max()) for one, other in zip(wanted, found, strict=True))


def test_a_library_that_agrees_is_taken_and_named(install: Any) -> None:
    install("right")
    assert attended() < 1e-5
    assert flash.TOLD == ["attention by flash-attn-3 3.0.0, which agrees with PyTorch's own"]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("foresees", "apart"),
        ("of another version", "TypeError"),
        ("broken", "OSError: undefined symbol: _ZN3c105"),
        ("learns nothing", "cannot be used here"),
    ],
)
def test_one_that_does_not_is_left_and_the_run_says_why(kind: str, says: str, install: Any) -> None:
    install(kind)
    assert attended() < 1e-5
    (told,) = flash.TOLD
    assert told.startswith("attention stays PyTorch's own, not that of flash-attn-3 3.0.0: ") and says in told


def test_an_older_gpu_and_recorded_layers_keep_pytorchs_own(install: Any) -> None:
    install("right", capability=(8, 6))
    assert attended() < 1e-5 and "needs compute capability 9.0" in flash.TOLD[0]
    install("right")
    flash.begin("its kernels are not recorded (cuda_graphs: true)")
    assert attended() < 1e-5 and "cuda_graphs" in flash.TOLD[0]


def test_the_trial_leaves_the_chance_of_the_run_alone(install: Any) -> None:
    install("right")
    before = torch.random.get_rng_state()
    attended()
    assert torch.equal(before, torch.random.get_rng_state())
