"""Options that several commands share: which reads, which model, how many threads."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nwa_lightning._kernels import default_threads, set_threads
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import Alphabet, as_alphabet
from nwa_lightning.sequences.catalog import load_sequences
from nwa_lightning.sequences.collection import Sequences

if TYPE_CHECKING:
    from nwa_lightning.search.embedder import ReadEmbedder

#: How the reads may be given.
READS = "file in FASTA, FASTQ, CSV, TSV or one read per line, compressed or not; or human16s, tree:2000, storage:2000"


def add_model_arguments(parser: argparse.ArgumentParser, without: str) -> None:
    """Add ``--ckpt_path``, ``--landmarks``, ``--alphabet`` and ``--on_invalid``.

    Args:
        parser: Parser of the command.
        without: What happens without a model, for the help.
    """
    parser.add_argument(
        "--ckpt_path", help=f"checkpoint of `nwa fit`, or a model that comes with the package: human16s-v4; {without}"
    )
    parser.add_argument(
        "--landmarks",
        type=int,
        metavar="K",
        help="embed without a checkpoint and without training, by K landmarks (512)",
    )
    parser.add_argument(
        "--alphabet",
        default="dna",
        help="letters of the reads, without a checkpoint: dna, rna, iupac, protein, or the letters themselves (default: dna)",
    )
    parser.add_argument(
        "--on_invalid",
        choices=("error", "drop"),
        default="error",
        help="what to do with a read that has other letters (default: error)",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads``."""
    parser.add_argument(
        "--threads", type=int, help="threads; the result does not depend on it (default: all processors)"
    )


def threads_of(chosen: argparse.Namespace) -> int:
    """Number of threads.

    Raises:
        InputError: If it is below 1.
    """
    if chosen.threads is None:
        return default_threads()
    if chosen.threads < 1:
        raise InputError(f"--threads: expected at least 1, found {chosen.threads}; give a larger number")
    set_threads(chosen.threads)
    return int(chosen.threads)


def alphabet_of(chosen: argparse.Namespace) -> Alphabet:
    """The alphabet that was asked for."""
    return as_alphabet(chosen.alphabet)


def read_sequences(source: str, chosen: argparse.Namespace, alphabet: Alphabet | None = None) -> Sequences:
    """The reads of a file or a set.

    Args:
        source: As in ``load_sequences``.
        chosen: Arguments with ``alphabet`` and ``on_invalid``.
        alphabet: The alphabet of a model, in place of the one asked for.

    Raises:
        InputError: If they cannot be read.
    """
    return load_sequences(source, alphabet or alphabet_of(chosen), on_invalid=chosen.on_invalid)


def check_model_arguments(chosen: argparse.Namespace) -> None:
    """At most one way to embed.

    Raises:
        InputError: If there are two, or the number of landmarks is too small.
    """
    if chosen.ckpt_path is not None and chosen.landmarks is not None:
        raise InputError(
            f"--landmarks: expected no checkpoint, found {chosen.ckpt_path}; leave out one of --landmarks and --ckpt_path"
        )
    if chosen.landmarks is not None and chosen.landmarks < 1:
        raise InputError(f"--landmarks: expected at least 1, found {chosen.landmarks}; give a larger number")


def trained_embedder(chosen: argparse.Namespace) -> ReadEmbedder | None:
    """The model of ``--ckpt_path``; None if there is none.

    Raises:
        InputError: If it cannot be used, or there are landmarks too.
    """
    check_model_arguments(chosen)
    if chosen.ckpt_path is None:
        return None
    from nwa_lightning.search.embedder import ReadEmbedder

    return ReadEmbedder.from_checkpoint(chosen.ckpt_path)


def chosen_embedder(chosen: argparse.Namespace, sequences: Sequences) -> ReadEmbedder | None:
    """The model that was asked for; None if there is none.

    Args:
        chosen: The arguments.
        sequences: Reads to which landmarks are fitted.

    Raises:
        InputError: If it cannot be used.
    """
    trained = trained_embedder(chosen)
    if trained is not None or chosen.landmarks is None:
        return trained
    from nwa_lightning.search.embedder import ReadEmbedder

    return ReadEmbedder.from_landmarks(sequences, chosen.landmarks, alphabet=alphabet_of(chosen))


def is_folder(source: str) -> bool:
    """Whether a source is a folder of ``nwa embed`` rather than a file or a set."""
    return Path(source).is_dir()
