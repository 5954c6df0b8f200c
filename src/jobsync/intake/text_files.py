"""What a file is before anybody reads its rows: its hash, its encoding, and whether it is text at all.

One pass over the bytes, with flat memory. Encodings: UTF-8 with or without a byte order mark, UTF-16 likewise, else Windows-1252;
what that cannot be is asked of charset-normalizer.
"""

from __future__ import annotations

import codecs
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from charset_normalizer import from_bytes

from jobsync.errors import InvalidInput

CHUNK = 1 << 20
SAMPLE = 1 << 16
_UNDEFINED_IN_CP1252 = bytes((0x81, 0x8D, 0x8F, 0x90, 0x9D))
_MAGIC = (
    (b"PK\x03\x04", "an Excel workbook or a zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a compressed file"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"SQLite format", "a database file"),
)
_CONTROLS = bytes(sign for sign in range(32) if sign not in b"\t\n\v\f\r\x1b")
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_NAMES = {
    "utf-8-sig": "UTF-8",
    "utf-8": "UTF-8",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "cp1252": "Windows-1252",
}


@dataclass(frozen=True)
class TextFile:
    """A file of text: where it is, SHA-256 of its bytes, its size, the codec to read it with."""

    path: Path
    sha256: str
    bytes: int
    encoding: str

    @property
    def encoding_name(self) -> str:
        """The encoding as people call it."""
        return _NAMES.get(self.encoding, self.encoding)


def inspect_file(path: Path, *, encoding: str | None = None) -> TextFile:
    """Looks at a file. Raises InvalidInput: file_missing, file_unreadable, empty_file, not_csv, unknown_encoding."""
    try:
        with path.open("rb") as file:
            return _inspect(path, file, encoding)
    except FileNotFoundError:
        raise InvalidInput(
            f"{path} does not exist.", hint="Check the path; put it in quotes if it holds spaces.", code="file_missing"
        ) from None
    except IsADirectoryError:
        raise InvalidInput(f"{path} is a folder.", hint="Name the CSV file in it.", code="file_missing") from None
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read ({error.strerror}).", hint="Check its permissions.", code="file_unreadable"
        ) from None


@contextmanager
def open_text(file: TextFile) -> Iterator[TextIO]:
    """The file's text, line ends as they are. What UTF-8 cannot hold comes as lone surrogates, in other encodings as U+FFFD."""
    errors = "surrogateescape" if file.encoding.startswith("utf-8") else "replace"
    with file.path.open("rb") as raw, io.TextIOWrapper(raw, encoding=file.encoding, errors=errors, newline="") as text:
        yield text


def _inspect(path: Path, file: io.BufferedReader, given: str | None) -> TextFile:
    digest = hashlib.sha256()
    size = invalid = several = 0
    head = bad_part = b""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
    has_undefined = False
    while chunk := file.read(CHUNK):
        digest.update(chunk)
        head = head or chunk[:SAMPLE]
        size += len(chunk)
        if not chunk.isascii():
            text = decoder.decode(chunk)
            wrong = sum("\udc80" <= sign <= "\udcff" for sign in text)
            several += sum(sign > "\x7f" for sign in text) - wrong
            invalid += wrong
            if wrong and len(bad_part) < SAMPLE:
                bad_part += chunk[:SAMPLE]
            has_undefined = has_undefined or any(byte in chunk for byte in _UNDEFINED_IN_CP1252)
    if not size:
        raise InvalidInput(
            f"{path.name} is empty.", hint="Export it again from Airtable: Grid view, Download CSV.", code="empty_file"
        )
    refuse_other_kinds(path.name, head)
    if given is not None:
        return TextFile(path, digest.hexdigest(), size, _known_codec(given))
    encoding = _choose(path.name, head, bad_part, invalid, several, has_undefined)
    return TextFile(path, digest.hexdigest(), size, encoding)


def refuse_other_kinds(name: str, head: bytes) -> None:
    """Raises InvalidInput (not_csv) for the beginning of a file that is no table of text."""
    kind = next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if kind is None and start.startswith((b"<!doctype html", b"<html", b"<?xml")):
        kind = "a web page"
    if kind is None and start.startswith((b"{", b"[{")):
        kind = "JSON"
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if kind is None and controls * 50 > len(head) and _wide(head) is None and not head.startswith(_WIDE_MARKS):
        kind = "no text"
    if kind is not None:
        raise InvalidInput(
            f"{name} is {kind}, not a CSV file.",
            hint="In Airtable: Grid view, Download CSV. In Excel: Save as, CSV UTF-8.",
            code="not_csv",
        )


def _choose(name: str, head: bytes, bad_part: bytes, invalid: int, several: int, has_undefined: bool) -> str:
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if (wide := _wide(head)) is not None:
        return wide
    # A UTF-8 file with a few broken characters is still one: these rows are listed.
    if not invalid or several > invalid:
        return "utf-8"
    if not has_undefined:
        return "cp1252"
    guess = from_bytes(bad_part).best()
    if guess is None:
        raise InvalidInput(
            f"The encoding of {name} cannot be told.",
            hint="Save it as CSV UTF-8, or name it in the map file: encoding: cp1250.",
            code="unknown_encoding",
        )
    return guess.encoding


def _wide(head: bytes) -> str | None:
    part = head[:4096]
    if len(part) < 4:
        return None
    even, odd = part[0::2].count(0), part[1::2].count(0)
    half = len(part) / 2
    if odd > 0.6 * half and even < 0.1 * half:
        return "utf-16-le"
    return "utf-16-be" if even > 0.6 * half and odd < 0.1 * half else None


def _known_codec(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise InvalidInput(
            f'"{name}" is no encoding.', hint="For example utf-8, utf-16 or cp1252.", code="unknown_encoding"
        ) from None
