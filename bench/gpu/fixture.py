"""A model in Phi-3.5-mini's shape with random weights (3.82 B parameters, Llama layout), a tokenizer with its special
tokens and 4,000 ShareGPT conversations, all from what lies on the machine: python bench/gpu/fixture.py FOLDER [--tiny]

Random weights train as fast as real ones; their loss says whether two programs compute the same thing."""

import json
import math
import random
import sys
import sysconfig
from pathlib import Path

SPECIAL = ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message.role + '|>\n' + message.content + '<|end|>\n' }}{% endfor %}"
    "{{ '<|assistant|>\n' if add_generation_prompt else eos_token }}"
)
WIDE = {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 32}
NARROW = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
ROWS, MEDIAN, SPREAD = 4000, 110, 0.7
"""Conversations, and their words: log-normal, as those of chats are."""


def make(folder: Path, tiny: bool = False) -> None:
    """Nothing, where it was made before."""
    if (folder / "chat.jsonl").exists():
        return
    sources = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:200]
    _model(folder / "model", sources, NARROW if tiny else WIDE)
    words = [word for file in sources[:40] for word in file.read_text(errors="ignore").split()]
    rng = random.Random(0)
    lines = [json.dumps({"conversations": _talk(words, rng)}) + "\n" for _ in range(ROWS)]
    (folder / "chat.jsonl").write_text("".join(lines))


def _model(folder: Path, sources: list[Path], shape: dict[str, int]) -> None:
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train([str(file) for file in sources], vocab_size=32064, special_tokens=SPECIAL)
    ends = {"bos_token": "<s>", "eos_token": "<|endoftext|>", "pad_token": "<unk>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, **ends)
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(vocab_size=32064, max_position_embeddings=4096, bos_token_id=0, eos_token_id=3, **shape)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _talk(words: list[str], rng: random.Random) -> list[dict[str, str]]:
    size = min(1200, max(30, int(math.exp(rng.gauss(math.log(MEDIAN), SPREAD)))))
    turns = rng.choice((1, 1, 2, 3, 5))
    talk = []
    for _ in range(turns):
        for role, share in (("human", 3), ("gpt", 1.5)):
            start = rng.randrange(len(words) - size)
            talk.append({"from": role, "value": " ".join(words[start : start + max(4, int(size / turns / share))])})
    return talk


if __name__ == "__main__":
    make(Path(sys.argv[1]), tiny="--tiny" in sys.argv)
