"""Sets of sequences by name: those that come with the package, those simulated on demand, and files by path."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

import numpy as np

from nwa_lightning.errors import InputError
from nwa_lightning.progress import counted
from nwa_lightning.sequences.alphabet import DNA, Alphabet
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.io import Record, read_records
from nwa_lightning.sequences.packed import Packing
from nwa_lightning.sequences.simulate.dna_storage import storage_strands
from nwa_lightning.sequences.simulate.tree import evolve_tree

OnInvalid = Literal["error", "drop"]

#: Names of the built-in sets and their files under ``nwa_lightning/sequences/builtin``.
BUILT_IN: Final[dict[str, str]] = {"human16s": "human16s.txt.gz"}

#: Names of the sets that are simulated on demand; a size may follow, as in ``tree:2000`` or ``tree:2000x100``.
SIMULATED: Final = ("tree", "storage")

#: Sequences and bases of a simulated set whose name gives no size; as many as in human16s.
STANDARD_SIZE: Final = (9200, 150)

#: Bytes of a file that takes a few seconds to read and is worth a progress bar.
_WORTH_A_BAR: Final = 50_000_000

#: Noisy copies of each strand in the set ``storage``.
STORAGE_COPIES: Final = 10


def load_sequences(
    source: str | Path,
    alphabet: Alphabet = DNA,
    *,
    on_invalid: OnInvalid = "error",
    minimum: int = 1,
    group: str | None = None,
) -> Sequences:
    """Read or make a built-in set by name, or read a file by path.

    A file is read as a stream, so it takes about as much memory as its bases and names. A bar shows the progress.

    Args:
        source: A name in ``BUILT_IN``, one in ``SIMULATED`` with a size or without, or the path of a FASTA, FASTQ, CSV, TSV
            or one-sequence-per-line file, compressed or not. The format is found from the content, not from the file's name.
            A string that is a name is never a path, and a ``Path`` is never a name: write ``./tree`` for the file ``tree``.
        alphabet: Letters that may occur, in upper or lower case.
        on_invalid: ``"error"`` stops at the first sequence with another letter; ``"drop"`` leaves such sequences out
            and warns once, with their number.
        minimum: How many sequences the caller needs.
        group: Column of a table, or ``name=value`` in the headers of FASTA and FASTQ, to keep as ``Sequences.groups``.

    Returns:
        The sequences in the order of the file, duplicates included.

    Raises:
        InputError: If the file is missing, empty, damaged, holds a letter outside the alphabet, or too few sequences,
            or if a simulated set of this size cannot be made.
    """
    bases, labels, groups = Packing(), Packing(), Packing()
    dropped = 0
    first_dropped = ""
    path, size = find_source(source)
    with counted(f"reading {Path(source).name}", size, worth=size > _WORTH_A_BAR) as progress:
        for name, place, sequence, value in source_records(source, group, progress):
            if not sequence:
                raise InputError(f"{path}: {place}: the sequence is empty; remove the record")
            try:
                bases.add(alphabet.encode(sequence).tobytes())
            except InputError as error:
                if on_invalid == "error":
                    raise InputError(
                        f"{path}: {place}, {error}; choose another alphabet, or drop such sequences (on_invalid='drop')"
                    ) from None
                dropped += 1
                first_dropped = first_dropped or place
                continue
            labels.add(name.encode())
            if value is not None:
                groups.add(value.encode())
    if dropped:
        warnings.warn(
            f"{path}: dropped {dropped} of {dropped + len(bases)} sequences with letters outside {alphabet.letters}, the "
            f"first at {first_dropped}",
            stacklevel=2,
        )
    if len(bases) < minimum:
        raise InputError(f"{path}: expected at least {minimum} sequences, found {len(bases)}; give a larger file")
    return Sequences(bases.packed(), labels.packed(), groups.packed() if group is not None else None)


def find_source(source: str | Path) -> tuple[str | Path, int]:
    """Name of the source for messages, and the bytes of its file; 0 for a simulated set.

    Args:
        source: As in ``load_sequences``.

    Raises:
        InputError: If there is no such file or set.
    """
    kind, colon, _ = source.partition(":") if isinstance(source, str) else ("", "", "")
    if kind in BUILT_IN and colon:
        raise InputError(f"{source}: expected {kind} without a size, which is fixed; choose one by train_size")
    if kind not in BUILT_IN and kind not in SIMULATED:
        path = Path(source)
        if not path.is_file():
            known = ", ".join([*BUILT_IN, *SIMULATED])
            raise InputError(f"{path}: expected a file or the name of a built-in set ({known}), found neither")
        return path, path.stat().st_size
    if Path(source).exists():
        warnings.warn(
            f"{source}: taking the built-in set, not the file of that name; write ./{source} for the file", stacklevel=3
        )
    if kind in BUILT_IN:
        path = Path(str(files("nwa_lightning.sequences") / "builtin" / BUILT_IN[kind]))
        return path, path.stat().st_size
    return str(source), 0


def source_records(
    source: str | Path, group: str | None = None, progress: Callable[[int], None] | None = None
) -> Iterator[Record]:
    """The records of a file or a set, unchecked, as a stream.

    Args:
        source: As in ``load_sequences``.
        group: As in ``load_sequences``.
        progress: As in ``read_records``.

    Raises:
        InputError: As ``read_records``.
    """
    path, _ = find_source(source)
    if isinstance(path, Path):
        return read_records(path, group, progress)
    if group is not None:
        raise InputError(f"{source}: expected a file with a column {group}, found a simulated set, which has none")
    return _simulated_records(str(source))


def simulated_set(name: str) -> Sequences:
    """Make a simulated set by its name: ``tree`` or ``storage``, with a size or without; the seed is always 0.

    Args:
        name: Such as ``tree``, ``tree:2000`` (sequences) or ``tree:2000x100`` (sequences x bases).

    Returns:
        The sequences. Those of ``storage`` are 10 noisy copies of each strand; the last strand may have fewer.

    Raises:
        InputError: If the size cannot be read, or no such set can be made.
    """
    kind, colon, size = name.partition(":")
    numbers = re.fullmatch(r"([1-9][0-9]{0,8})(?:x([1-9][0-9]{0,8}))?", size, re.ASCII) if colon else None
    if kind not in SIMULATED or (colon and numbers is None):
        raise InputError(
            f"{name}: expected {' or '.join(SIMULATED)}, alone or with a number of sequences and perhaps of bases, such as "
            f"{SIMULATED[0]}:2000 or {SIMULATED[0]}:2000x100; for a file of that name write ./{name}"
        )
    count, length = STANDARD_SIZE
    if numbers is not None:
        count = int(numbers[1])
        length = int(numbers[2] or length)
    try:
        if kind == "tree":
            return evolve_tree(count, length)
        whole = storage_strands(-(-count // STORAGE_COPIES), STORAGE_COPIES, length)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return whole.take(np.arange(count))


def _simulated_records(name: str) -> Iterator[Record]:
    """Make a set and yield it like a file, so that another alphabet reads its letters like those of a file."""
    made = simulated_set(name)
    for number, (label, codes) in enumerate(zip(made.labels, made.bases, strict=True), start=1):
        yield Record(label.decode(), f"sequence {number}", DNA.decode(np.frombuffer(codes, dtype=np.uint8)), None)
