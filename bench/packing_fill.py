"""How full packed rows are, and how much of plain batches is padding, on chat-like lengths (lognormal, median 490).

Run from the repository root: python bench/packing_fill.py"""

import time

import numpy

from finetune.data.packing import pack_documents

DOCUMENTS, BATCH = 100_000, 8


def main() -> None:
    print(
        "| sequence_len | full | seconds | padding, random batches | by length | flattened |\n|---|---|---|---|---|---|"
    )
    for limit in (1024, 2048, 4096, 8192, 32768):
        generator = numpy.random.default_rng(0)
        lengths = numpy.clip(generator.lognormal(6.2, 0.9, DOCUMENTS), 16, limit).astype(int)
        began = time.perf_counter()
        packed = pack_documents(purpose="train", sequence_len=limit, lengths=lengths)
        seconds = time.perf_counter() - began
        shuffled = generator.permutation(lengths)
        # As transformers groups: sorted within stretches of 50 batches.
        grouped = numpy.sort(shuffled.reshape(-1, BATCH * 50), axis=1)
        shares = [f"{padding(order.reshape(-1, BATCH)):.1%}" for order in (shuffled, grouped)]
        print(f"| {limit:,} | {packed.fill:.2%} | {seconds:.1f} | {' | '.join(shares)} | 0 |")


def padding(batches: numpy.ndarray) -> float:
    return float(1 - batches.sum() / (batches.max(axis=1) * BATCH).sum())


if __name__ == "__main__":
    main()
