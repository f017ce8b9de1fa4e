"""The process that makes chunks: a Setup and then one Stretch after the other come in, for each a Chunk or what went
wrong goes out. Started by crew; imports no torch."""

import os
import pickle
import signal
import traceback
from typing import IO, Any

from finetune.errors import FinetuneError


def main() -> None:
    # Ctrl-C reaches every process of the terminal; the one that started this decides, and ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between
    try:
        work(incoming, outgoing)
    except BrokenPipeError:
        os._exit(1)


def work(incoming: IO[bytes], outgoing: IO[bytes]) -> None:
    """Until nothing more comes: the other process has no more, or is gone."""
    from finetune.data.chunks import Maker, TokensDiffer

    maker: Maker | None = None
    while (thing := _received(incoming)) is not None:
        try:
            if maker is None:
                maker = Maker(thing)
                continue
            answer: Any = maker.chunk(thing)
        except (FinetuneError, TokensDiffer) as error:
            answer = error
        except Exception:  # noqa: BLE001 - told to the other process, which raises it
            answer = traceback.format_exc()
        pickle.dump(answer, outgoing, protocol=5)
        outgoing.flush()


def _received(incoming: IO[bytes]) -> Any:
    try:
        return pickle.load(incoming)
    except EOFError:
        return None


if __name__ == "__main__":
    main()
