"""Files that appear whole or not at all, and their checksums."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from nwa_lightning.errors import InputError, one_line

_BLOCK: Final = 1 << 20


def sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; empty if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary path that becomes ``path`` at the end; errors of the disk become one line.

    Raises:
        InputError: If it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise InputError(
            f"{path}: expected a folder that can be written, with enough space, found: {reason}; free some space, or name "
            f"another folder, and run it again"
        ) from None
    finally:
        with suppress(OSError):  # such as no folder
            part.unlink()
