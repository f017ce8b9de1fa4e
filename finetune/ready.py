"""What a process needs before it imports the libraries. Trains nothing."""

import os

from finetune import ranks
from finetune.plan import Plan


def use_one_gpu() -> None:
    """Hide all GPUs but the first, before torch is imported: the trainer would else spread each batch over all of them,
    and a step would hold more rows than the recipe says. Of several processes, each takes the one of its number."""
    if ranks.this_rank().of == 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def get_ready(plan: Plan) -> None:
    """For one run. With `full_determinism`, cuBLAS gets work space that gives its sums a fixed order, before its first
    use."""
    use_one_gpu()
    if plan.fixed_order:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
