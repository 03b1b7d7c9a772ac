"""History in files: a table of a range as compressed CSV, and a manifest that says what is in it.

A file appears under its name when all of it is on the disk, the manifest last of all. CSV as PostgreSQL writes it: NULL
is nothing at all and empty text is "", times are in UTC, so that what is read back is what was written, to the byte.
"""

import csv
import gzip
import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import orjson
from psycopg import sql

from models.errors import ConflictError
from models.history_tables import WHOLES, Connection, SaleRange, is_there

FORMAT = 1
MANIFEST = "manifest.json"
KEYS = {"purchases": ("sale_id", "ticket"), "stock_movements": ("sale_id", "id")}
CHUNK_BYTES = 1 << 20
COMPRESSION = 6


class SpoiltArchiveError(ConflictError):
    """A file is not there, or not what its manifest says."""

    code = "ARCHIVE_SPOILT"


@dataclass(frozen=True, slots=True)
class TableFile:
    """One table in one file: its rows, bytes and SHA-256 of the file, and the SHA-256 of what is compressed in it."""

    file: str
    columns: list[str]
    rows: int
    bytes: int
    sha256: str
    content_sha256: str


def folder_of(directory: Path, which: SaleRange) -> Path:
    return directory / f"sales-{which.first_sale_id}-{which.end_sale_id - 1}"


def write(connection: Connection, which: SaleRange, directory: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Write the tables of a detached range into their folder, and return the manifest, as it is on the disk.

    `about` is told in the manifest. Raises OSError, and what psycopg raises.
    """
    folder = folder_of(directory, which)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    tables = {whole: asdict(_write_table(connection, which, whole, folder)) for whole in WHOLES}
    manifest = {"format": FORMAT, "range": asdict(which), "tables": tables, **about}
    _replace(folder / MANIFEST, lambda file: file.write(orjson.dumps(manifest, option=orjson.OPT_INDENT_2)))
    return manifest


def _write_table(connection: Connection, which: SaleRange, whole: str, folder: Path) -> TableFile:
    part = sql.Identifier(which.part_of(whole))
    columns = [
        each.name for each in connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(part)).description or ()
    ]
    query = sql.SQL("COPY (SELECT * FROM {} ORDER BY {}) TO STDOUT (FORMAT csv, HEADER)").format(
        part, sql.SQL(", ").join(map(sql.Identifier, KEYS[whole]))
    )
    content = hashlib.sha256()

    def fill(file: IO[bytes]) -> int:
        # Without a name and a time in it, the same rows are the same file.
        with gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0) as packed, connection.cursor() as cursor:
            with cursor.copy(query) as copy:
                for block in copy:
                    content.update(block)
                    packed.write(block)
            return cursor.rowcount

    path = folder / f"{whole}.csv.gz"
    rows = _replace(path, fill)
    return TableFile(path.name, columns, rows, path.stat().st_size, _sha256(path), content.hexdigest())


def read_manifest(directory: Path, which: SaleRange) -> dict[str, Any]:
    """Raises SpoiltArchiveError where there is none, or it is of something else."""
    try:
        manifest: dict[str, Any] = orjson.loads((folder_of(directory, which) / MANIFEST).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise SpoiltArchiveError(f"There is no manifest in {folder_of(directory, which)}: {error}") from error
    if manifest.get("format") != FORMAT or manifest.get("range") != asdict(which):
        raise SpoiltArchiveError("The manifest is of another range, or another format")
    return manifest


def verify(directory: Path, which: SaleRange, manifest: dict[str, Any]) -> Counter[str]:
    """Read every file back to its end; returns how many purchases it holds of each status.

    Raises SpoiltArchiveError with the first difference from the manifest.
    """
    statuses: Counter[str] = Counter()
    for whole in WHOLES:
        told = TableFile(**manifest["tables"][whole])
        path = folder_of(directory, which) / told.file
        try:
            if (_sha256(path), _sha256(path, gzip.open)) != (told.sha256, told.content_sha256):
                raise SpoiltArchiveError(f"{path} is not what was written")
            rows = 0
            for row in _rows(path):
                rows += 1
                if whole == "purchases":
                    statuses[row["status"]] += 1
        except (OSError, EOFError, gzip.zlib.error) as error:  # type: ignore[attr-defined]
            raise SpoiltArchiveError(f"{path} cannot be read: {error}") from error
        if rows != told.rows:
            raise SpoiltArchiveError(f"{path} has {rows} rows, not {told.rows}")
    return statuses


def load(connection: Connection, which: SaleRange, directory: Path, manifest: dict[str, Any]) -> None:
    """Make the range's tables anew from verified files, beside the ones that sell; each whole or not at all."""
    for whole in WHOLES:
        told = TableFile(**manifest["tables"][whole])
        if is_there(connection, which.part_of(whole)):
            continue
        part = sql.Identifier(which.part_of(whole))
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL EXCLUDING IDENTITY)").format(
                    part, sql.Identifier(whole)
                )
            )
            into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, HEADER)").format(
                part, sql.SQL(", ").join(map(sql.Identifier, told.columns))
            )
            with gzip.open(folder_of(directory, which) / told.file) as packed, cursor.copy(into) as copy:
                while block := packed.read(CHUNK_BYTES):
                    copy.write(block)
            if cursor.rowcount != told.rows:
                raise SpoiltArchiveError(f"{told.file} brought back {cursor.rowcount} rows, not {told.rows}")


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path) as packed, io.TextIOWrapper(packed, "utf-8", newline="") as text:
        yield from csv.DictReader(text)


def _sha256(path: Path, opened: Callable[[Path, str], Any] = open) -> str:
    digest = hashlib.sha256()
    with opened(path, "rb") as file:
        while block := file.read(CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _replace(path: Path, fill: Callable[[IO[bytes]], int]) -> int:
    """Write a file beside its place, and put it there once it is on the disk; returns what `fill` does."""
    draft = path.with_name(f"{path.name}.draft")
    with draft.open("wb") as file:
        filled = fill(file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return filled
