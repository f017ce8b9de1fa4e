"""A local path or an address -> an open stream of bytes, decompressed. Knows addresses and compressions; knows nothing
of what is in a file."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from finetune.errors import DataError

ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
COMPRESSIONS = {".gz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst"}
BUFFER = 2**18
DRIVERS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""Scheme of an address -> the package that fsspec reads it with."""
FOREIGN_ERRORS = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)
"""What the drivers raise beside OSError; none of them is imported for that."""


def is_address(path: str) -> bool:
    return bool(ADDRESS.match(path))


def file_system(address: str) -> tuple[Any, str]:
    """(the fsspec file system of an address, the path in it). DataError with the pip line if its driver is missing."""
    import fsspec

    scheme = address.split("://")[0].lower()
    try:
        patience = {"client_kwargs": {"timeout": _patience()}} if scheme in ("http", "https") else {}
        system, inner = fsspec.core.url_to_fs(address, **patience)
    except ImportError as error:
        package = DRIVERS.get(scheme)
        hint = f"run: pip install {package}" if package else str(error)
        raise DataError(f"{shown(address)} needs a package that is not installed; {hint}") from None
    except ValueError as error:
        known = "https, s3, gs and hf are read"
        raise DataError(f"{shown(address)} is no address that can be read ({error}); {known}") from None
    return system, inner


def _patience() -> Any:
    """A transfer may take hours, but not stand still."""
    import aiohttp

    return aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)


def shown(path: str) -> str:
    """The path for messages: without what stands before an @ or behind a ? in an address, which may be secret."""
    return re.sub(r"//[^/@]*@", "//", path).split("?")[0] if is_address(path) else path


@contextmanager
def opened(path: str, compression: str | None = None, anywhere: bool = False) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed. `anywhere`: they are not read one after the other, which not every web server
    allows. DataError if it cannot be opened or read to its end."""
    with readable(path):
        if is_address(path):
            system, inner = file_system(path)
            plain = path.startswith(("http:", "https:")) and not anywhere
            raw: IO[bytes] = BufferedReader(system.open(inner, "rb", **({"block_size": 0} if plain else {})))
        else:
            raw = Path(path).open("rb", buffering=BUFFER)  # noqa: SIM115 - closed below
        with raw, _decompressed(raw, compression) as stream:
            yield stream


@contextmanager
def readable(path: str) -> Iterator[None]:
    """DataError for whatever goes wrong while the file or address is read."""
    import zlib
    from lzma import LZMAError

    foreign = tuple(
        getattr(sys.modules[module], name)
        for module, name in FOREIGN_ERRORS
        if module in sys.modules and hasattr(sys.modules[module], name)
    )
    try:
        yield
    except UnicodeDecodeError:
        raise  # the reader knows more about it
    except FileNotFoundError as error:
        cause = error.__cause__ if is_address(path) else None
        if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", 0) == 404:
            raise DataError(f"there is no data file {shown(path)}") from None
        reason = getattr(cause, "message", "") or type(cause).__name__
        status = f"{cause.status} " if hasattr(cause, "status") else ""
        raise DataError(f"{shown(path)} cannot be read: {status}{reason}. Check the address and the network") from None
    except EOFError:
        raise DataError(f"{shown(path)} ends too early: it was cut off, so copy or download it anew") from None
    except ValueError as error:
        if "range requests" not in str(error):
            raise
        raise DataError(f"{shown(path)}: its server only gives whole files: download it, and name the copy") from None
    except (OSError, zlib.error, LZMAError, *foreign) as error:
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0][:300] or type(error).__name__
        raise DataError(f"{shown(path)} cannot be read: {reason}") from None


@contextmanager
def _decompressed(raw: IO[bytes], compression: str | None) -> Iterator[IO[bytes]]:
    stream: Any
    if compression is None:
        yield raw
        return
    if compression == "gz":
        import gzip

        stream = gzip.GzipFile(fileobj=raw)
    elif compression == "bz2":
        import bz2

        stream = bz2.BZ2File(raw)
    elif compression == "xz":
        import lzma

        stream = lzma.LZMAFile(raw)  # noqa: SIM115 - closed below
    else:
        import pyarrow

        # Arrow brings its own zstd, so no further package is needed.
        stream = pyarrow.CompressedInputStream(raw, "zstd")
    with BufferedReader(stream) as buffered:
        yield buffered
