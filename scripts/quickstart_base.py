"""Trains the quickstart base model: a tiny Llama and its tokenizer, from our own generated text.

One command writes recipes/quickstart/base. Seeds and threads are fixed, so the same machine gives the same losses.
Expect about 20 minutes on two quiet CPU cores, or two minutes with `--device cuda`. The shipped files were made on a
GPU; another machine gives a model of the same quality, but not the same bytes. This script refuses to know
conversations: the base only completes prose, and its chat template names a form it has never seen.

Usage: python scripts/quickstart_base.py
"""

import argparse
import math
import random
import time
from pathlib import Path

import torch
from quickstart_text import passages
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END_OF_TEXT, TURN_START, TURN_END, PADDING = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
VOCABULARY_SIZE = 2048
CONTEXT_LENGTH = 512
SEED = 7
THREADS = 2
PASSAGES_FOR_TOKENIZER = 20_000
ROWS_PER_BATCH, TOKENS_PER_ROW = 16, 256
PEAK_LEARNING_RATE, WARMUP_STEPS = 3e-3, 100
HELD_OUT_PASSAGES = 800


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE vocabulary from the generated text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(passages(PASSAGES_FOR_TOKENIZER, SEED), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=PADDING,
        additional_special_tokens=[TURN_START, TURN_END],
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Build the untrained model: narrow and rather deep, because depth is what copying words needs."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=7,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def packed_rows(tokenizer: PreTrainedTokenizerFast, count: int, seed: int, row_length: int) -> torch.Tensor:
    """Join passages with the end-of-text token and cut the stream into rows of one length."""
    texts = [text + END_OF_TEXT for text in passages(count, seed)]
    stream = [token for ids in tokenizer(texts)["input_ids"] for token in ids]
    full_rows = len(stream) // row_length
    return torch.tensor(stream[: full_rows * row_length]).view(full_rows, row_length)


def training_rows(tokenizer: PreTrainedTokenizerFast, needed: int) -> torch.Tensor:
    """Generate fresh text until there is a new row for every place in every batch, so nothing is seen twice."""
    parts: list[torch.Tensor] = []
    while sum(len(part) for part in parts) < needed:
        parts.append(packed_rows(tokenizer, 20_000, SEED + len(parts), TOKENS_PER_ROW))
    return torch.cat(parts)[:needed]


def learning_rate(step: int, steps: int) -> float:
    """Warm up, then follow a cosine down to a twentieth of the peak."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    return PEAK_LEARNING_RATE * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


@torch.no_grad()
def mean_loss(model: LlamaForCausalLM, rows: torch.Tensor) -> float:
    """Return the mean loss per token over the rows."""
    losses = [model(input_ids=batch, labels=batch).loss.item() for batch in rows.split(ROWS_PER_BATCH)]
    return sum(losses) / len(losses)


def pretrain(model: LlamaForCausalLM, rows: torch.Tensor, steps: int, float32: bool) -> None:
    """Train on every row once and print the progress."""
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    norms = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    started = time.monotonic()
    for step in range(steps):
        batch = rows[step * ROWS_PER_BATCH : (step + 1) * ROWS_PER_BATCH]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=not float32):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == steps - 1:
            seconds = time.monotonic() - started
            left = seconds / (step + 1) * (steps - step - 1)
            print(f"step {step:5d}/{steps}  loss {loss.item():.4f}  {seconds:5.0f} s, {left:5.0f} s left", flush=True)


@torch.no_grad()
def give_unseen_tokens_ordinary_rows(model: LlamaForCausalLM, rows: torch.Tensor) -> None:
    """Draw the embedding rows of tokens the text never used from the spread of the rows it did use.

    Training only pushes an unused row away from every prediction, which would leave the chat tokens so unlikely
    that a low-rank adapter could not bring them back. A draw around the mean is neither likely nor unreachable,
    and unlike the bare mean it can be told apart from other tokens.
    """
    embedding = model.get_input_embeddings().weight
    used = torch.zeros(len(embedding), dtype=torch.bool, device=embedding.device)
    used[rows.unique()] = True
    spread, centre = torch.std_mean(embedding[used], dim=0)
    noise = torch.randn(int((~used).sum()), embedding.shape[1])
    embedding[~used] = centre + spread * noise.to(embedding.device)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model in bfloat16 beside its tokenizer."""
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, max_new_tokens=64
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"wrote {folder}: {size:,} bytes, {model.num_parameters():,} parameters")


def main() -> None:
    """Run the whole recipe once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("recipes/quickstart/base"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--float32", action="store_true", help="for processors without bfloat16 instructions")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    random.seed(SEED)
    tokenizer = train_tokenizer()
    model = new_model(tokenizer).to(options.device)
    rows = training_rows(tokenizer, options.steps * ROWS_PER_BATCH).to(options.device)
    held_out = packed_rows(tokenizer, HELD_OUT_PASSAGES, 10_000, TOKENS_PER_ROW).to(options.device)
    print(
        f"{len(tokenizer)} tokens, {rows.numel():,} training tokens, {model.num_parameters():,} parameters", flush=True
    )
    pretrain(model, rows, options.steps, options.float32)
    print(f"held-out loss {mean_loss(model, held_out):.4f}", flush=True)
    give_unseen_tokens_ordinary_rows(model, rows)
    save(model, tokenizer, options.folder)


if __name__ == "__main__":
    main()
