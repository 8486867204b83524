"""The bytes of a file that may be compressed."""

import codecs
import gzip
import re
import zlib
from pathlib import Path

from cryotwin.imaging.errors import InputError

CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]")
GZIP_MAGIC = b"\x1f\x8b"


def read_content(path: str | Path) -> bytes:
    """Reads a whole file, decompressed if it is gzip (told by its first bytes, not its name).

    Raises:
        InputError: the file is missing, empty, a folder, not readable, or a broken gzip.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: expected a file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    return decompress(content, str(path))


def decompress(content: bytes, where: str) -> bytes:
    """Undoes gzip if `content` starts as one; `where` names it in messages.

    Raises:
        InputError: `content` is empty, or a gzip that is cut short or damaged.
    """
    if content.startswith(GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{where} is a truncated or damaged gzip file ({error})") from None
    if not content.strip():
        raise InputError(f"{where} is empty")
    return content


def text(content: bytes) -> str:
    """Decodes a text file: UTF-8 or, if it starts as such, UTF-16.

    What does not fit, and control characters, become the replacement character U+FFFD, so that
    messages can quote a line.
    """
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    decoded = content.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")
    return CONTROLS.sub("\ufffd", decoded)


def stem(path: str | Path) -> str:
    """Gives a file's name without its suffix and .gz: "5a1a" for "a/5a1a.cif.gz"."""
    path = Path(path)
    return path.with_suffix("").stem if path.suffix.lower() == ".gz" else path.stem


def suffix(path: str | Path) -> str:
    """Gives a file's suffix in small letters, looking through .gz: ".cif" for "5a1a.cif.gz"."""
    path = Path(path)
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()
