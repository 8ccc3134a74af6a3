"""Packages that only the search commands need."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from nwa_lightning.errors import InputError

#: The extra of this package that installs each of them, and its name on the package index.
_EXTRAS: Final = {
    "faiss": ("search", "faiss-cpu"),
    "pyarrow": ("search", "pyarrow"),
    "skbio": ("search", "scikit-bio"),
    "openTSNE": ("search", "openTSNE"),
    "ray": ("ray", "ray"),
}


def optional(module: str) -> Any:
    """Import a package that not every user has.

    Args:
        module: Such as ``faiss`` or ``pyarrow.parquet``.

    Raises:
        InputError: If it is not installed; the message names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        extra, package = _EXTRAS[module.partition(".")[0]]
        raise InputError(
            f"expected the package {package}, found none that can be imported ({error}); install it: "
            f"python -m pip install 'nwa-lightning[{extra}]'"
        ) from None
