"""Embeddings on disk: Parquet shards, a manifest with their checksums, and the model that made them.

A shard has the columns ``id``, ``sequence``, ``size`` (copies of the read) and ``embeddings`` (a fixed-size list of float32),
so pandas, polars, DuckDB and Hugging Face ``datasets`` open it. Rows are in a fixed order; the same reads and the same model
give the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError, one_line
from nwa_lightning.search.extra import optional
from nwa_lightning.search.files import replaced, sha256
from nwa_lightning.search.reads import Reads
from nwa_lightning.sequences.alphabet import Alphabet, as_alphabet
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

if TYPE_CHECKING:
    from nwa_lightning.search.embedder import ReadEmbedder

MANIFEST: Final = "manifest.json"
MODEL: Final = "model.ckpt"

#: Version of the format; a later one that cannot be read by this code has a larger number.
FORMAT: Final = 1

#: Key of the model's fingerprint in the metadata of a shard.
_MODEL_KEY: Final = b"nwa_model"


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds.

    Attributes:
        model: Fingerprint of the model, see ``ReadEmbedder.fingerprint``.
        dim: m, dimension of the vectors.
        alphabet: Name of the alphabet.
        source: The files of reads.
        reads: Number of reads, copies included.
        distinct: Number of distinct reads within the files, that is of rows.
        shards: Name, rows and SHA-256 of every shard, in order, and whether it was added later.
        format: Version of the format.
        settings: Options of ``nwa embed`` that decide the vectors, by name; empty if another program wrote the folder.
    """

    model: str
    dim: int
    alphabet: str
    source: list[str]
    reads: int
    distinct: int
    shards: list[dict[str, Any]]
    format: int = FORMAT
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Shard:
    """The rows of one Parquet file.

    Attributes:
        reads: N distinct reads with their copies.
        embeddings: ``(N, m)`` float32.
    """

    reads: Reads
    embeddings: NDArray[np.float32]


class Shards:
    """A folder that ``nwa embed`` wrote; made by ``open_shards``."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    def __len__(self) -> int:
        return len(self.manifest.shards)

    @property
    def alphabet(self) -> Alphabet:
        """Alphabet of the reads."""
        return as_alphabet(self.manifest.alphabet)

    def path(self, number: int) -> Path:
        """Path of a shard."""
        return self.folder / str(self.manifest.shards[number]["file"])

    def good(self, number: int) -> bool:
        """Whether a shard is there and undamaged."""
        return sha256(self.path(number)) == str(self.manifest.shards[number]["sha256"])

    def read(self, number: int, *, embeddings: bool = True) -> Shard:
        """One shard, checked against its checksum.

        Args:
            number: Which one, from 0.
            embeddings: Whether to read the vectors too; otherwise they have no columns.

        Raises:
            InputError: If it is missing, damaged, or of another model.
        """
        path = self.path(number)
        if not self.good(number):
            raise InputError(
                f"{path}: expected the file that the manifest describes, found another or a damaged one (its SHA-256 differs); "
                f"delete it and run `nwa embed` again, which makes only what is missing"
            )
        return read_shard(path, self.alphabet, self.manifest.model, embeddings=embeddings)

    def embedder(self) -> ReadEmbedder:
        """The model that made the vectors.

        Raises:
            InputError: If it is missing, or another.
        """
        from nwa_lightning.search.embedder import ReadEmbedder

        embedder = ReadEmbedder.from_checkpoint(self.folder / MODEL)
        check_same_model(self.folder / MODEL, self.manifest.model, embedder.fingerprint)
        return embedder


def open_shards(folder: str | Path) -> Shards:
    """Open a folder that ``nwa embed`` wrote.

    Raises:
        InputError: If it is none, or not finished.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{folder}: expected a folder of `nwa embed`, found no {MANIFEST} in it; embed the reads first: nwa embed "
            f"reads.fasta --out {folder}; an interrupted run goes on by the same command"
        )
    try:
        found = json.loads(path.read_text())
        version = found["format"]
        manifest = Manifest(**found) if version <= FORMAT else None
        if manifest is not None:
            _check_manifest(manifest)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: expected the manifest of `nwa embed`, found a damaged or foreign file ({one_line(error)}); embed again"
        ) from None
    if manifest is None:
        raise InputError(
            f"{path}: expected format {FORMAT} or lower, found {version}; use a newer version of nwa-lightning"
        )
    return Shards(Path(folder), manifest)


def _check_manifest(manifest: Manifest) -> None:
    """Names and types of the values that are used.

    Raises:
        ValueError: If one is wrong.
    """
    kinds = {"model": str, "dim": int, "alphabet": str, "source": list, "reads": int, "distinct": int, "shards": list}
    kinds["settings"] = dict
    wrong = [name for name, kind in kinds.items() if not isinstance(getattr(manifest, name), kind)]
    records = manifest.shards if isinstance(manifest.shards, list) else []
    if not records or not all(isinstance(record, dict) and {"file", "sha256"} <= record.keys() for record in records):
        wrong.append("shards")
    if wrong:
        raise ValueError(f"{wrong[0]} is missing or wrong")
    as_alphabet(manifest.alphabet)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest; it comes last, so a folder with a manifest is complete."""
    with replaced(folder / MANIFEST) as part:
        part.write_text(f"{json.dumps(asdict(manifest), indent=1)}\n")


def write_shard(path: Path, shard: Shard, alphabet: Alphabet, model: str) -> None:
    """Write a shard.

    Args:
        path: Where; an interrupted run leaves no half file there.
        shard: The rows.
        alphabet: Alphabet of the reads.
        model: Fingerprint of the model.

    Raises:
        InputError: If it cannot be written.
    """
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    dim = shard.embeddings.shape[1]
    flat = pa.array(np.ascontiguousarray(shard.embeddings, dtype=np.float32).reshape(-1))
    columns = {
        "id": _strings(shard.reads.sequences.labels),
        "sequence": _strings(shard.reads.sequences.bases, alphabet.letters_of_codes),
        "size": pa.array(shard.reads.sizes, pa.int64()),
        "embeddings": pa.FixedSizeListArray.from_arrays(flat, dim),
    }
    table = pa.table(columns).replace_schema_metadata({_MODEL_KEY: model.encode()})
    with replaced(path) as part:
        parquet.write_table(
            table, part, compression={name: "zstd" for name in columns if name != "embeddings"}, use_dictionary=False
        )


def read_shard(path: Path, alphabet: Alphabet, model: str, *, embeddings: bool = True) -> Shard:
    """Read a shard.

    Args:
        path: Its path.
        alphabet: Alphabet of the reads.
        model: Fingerprint of the model that is expected.
        embeddings: Whether to read the vectors too.

    Raises:
        InputError: If it cannot be read, or is of another model.
    """
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    names = ["id", "sequence", "size", *(["embeddings"] if embeddings else [])]
    try:
        table = parquet.read_table(path, columns=names, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise _no_shard(path, error) from None
    check_same_model(path, model, ((table.schema.metadata or {}).get(_MODEL_KEY) or b"none").decode())
    letters = Packed(*_flat(table.column("sequence")))
    codes = np.frombuffer(letters.flat.tobytes().translate(alphabet.codes), dtype=np.uint8)
    sequences = Sequences(Packed(codes, letters.starts, letters.lengths), Packed(*_flat(table.column("id"))))
    rows = np.empty((len(sequences), 0), dtype=np.float32)
    if embeddings:
        column = table.column("embeddings").combine_chunks()
        rows = column.flatten().to_numpy().reshape(len(sequences), column.type.list_size)
    return Shard(Reads(sequences, table.column("size").to_numpy()), rows)


def count_rows(path: Path, model: str) -> int:
    """Number of rows of a shard, from its metadata.

    Args:
        path: Its path.
        model: Fingerprint of the model that is expected.

    Raises:
        InputError: If it cannot be read, or is of another model.
    """
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    try:
        metadata = parquet.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise _no_shard(path, error) from None
    check_same_model(path, model, ((metadata.metadata or {}).get(_MODEL_KEY) or b"none").decode())
    return int(metadata.num_rows)


def check_same_model(path: Path, expected: str, found: str) -> None:
    """Vectors of two models must not meet.

    Raises:
        InputError: If the fingerprints differ.
    """
    if found != expected:
        raise InputError(
            f"{path}: expected vectors of the model {expected[:12]}, found those of {found[:12]}; use one checkpoint for all, or "
            f"another folder"
        )


def _no_shard(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: expected a shard of `nwa embed`, found a damaged or foreign file ({one_line(error)}); embed again"
    )


def _strings(strings: Packed, table: bytes | None = None) -> Any:
    """A column of strings, translated by a table, without a Python object for each."""
    pa = optional("pyarrow")
    flat = b"".join(strings)
    ends = np.zeros(len(strings) + 1, dtype=np.int32)
    np.cumsum(strings.lengths, out=ends[1:])
    content = flat if table is None else flat.translate(table)
    return pa.StringArray.from_buffers(len(strings), pa.py_buffer(ends), pa.py_buffer(content))


def _flat(column: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Bytes, starts and lengths of a column of strings, without a Python object for each."""
    pa = optional("pyarrow")
    array = column.combine_chunks().cast(pa.large_string())
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    _, offsets, content = array.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    flat = np.frombuffer(content, dtype=np.uint8) if content is not None else np.empty(0, dtype=np.uint8)
    return flat, ends[:-1].copy(), np.diff(ends)
