"""The rows of the study: the configurations of each, and options on top of them.

Two suffixes of a row's name, in this order, replace published settings by our defaults: ``_power`` uses the default power of
the hyperbolic distance, which has no power in the paper, and ``_muon`` the default optimizer, Muon, instead of RAdam.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import yaml

from nwa_lightning.models.edit_distance import PUBLISHED

CONFIGS: Final = Path(__file__).parents[1] / "configs"
POWER, MUON = "_power", "_muon"


class Row(NamedTuple):
    """The training of a row."""

    #: Files of ``CONFIGS``, a later one on top of those before; the first names the encoder.
    configs: tuple[str, ...]
    options: Mapping[str, Any] = MappingProxyType({})

    def arguments(self) -> list[str]:
        """The options of the row on the command line."""
        files = [f"--config={CONFIGS / f'{config}.yaml'}" for config in self.configs]
        return files + [f"--{name}={value}" for name, value in self.options.items()]


#: The systems of the paper and around it whose features stand for positions of the sequence.
MAPPED: Final = ("cnn", "transformer", "transformer_local", "dsee", "cnned", "gru", "sense")
#: A map of the encoder's own features: how it differs from ``features.yaml``.
FEATURES: Final[dict[str, dict[str, Any]]] = {
    "cnn": {},
    "transformer": {"model.nwa_features": "encoder.features", "model.nwa_channels": 16, "model.nwa_weight": 1e-2},
    "dsee": {"model.nwa_weight": 10},
}
ENCODERS: Final = {"cnn": "NeuroSEEDCNN", "transformer": "NeuroSEEDTransformer", "dsee": "DSEECNN"}
#: Variants near the training sequences, where those are many.
LITTLE: Final = {"data.augment.fraction": 0.25, "data.augment.edits": 0.05}

#: Rows by their names, without NWA and without what stands at the end of a name.
STEMS: Final[dict[str, Row]] = {
    **{name: Row((name,)) for name in ("cnn", "transformer", "dsee", "cnned", "gru", "sense", "asmac", "einn")},
    **{name: Row((name,)) for name in ("residual", "landmarks")},
    "transformer_local": Row(("transformer",), {"model.encoder.window": 8}),
    "mlp": Row(("cnn",), {"model.encoder": "MLPEncoder"}),
    "linear": Row(("cnn",), {"model.encoder": "LinearEncoder"}),
    "kmer": Row(("cnn",), {"model.encoder": "KmerEncoder"}),
    **{f"{name}_features": Row((name, "features"), options) for name, options in FEATURES.items()},
    **{
        f"{name}_{target}": Row(
            (name, "features", "../study/other_targets"),
            # Another class of model starts without an encoder.
            {"model.encoder": ENCODERS[name], "model.target": target, **options},
        )
        for name, options in FEATURES.items()
        for target in ("diagonal", "posterior")
    },
    **{f"{name}_fresh": Row((name, "variants")) for name in ("cnn", "transformer", "residual")},
    **{
        f"{name}_fresh_features": Row((name, "features", "variants"), FEATURES[name]) for name in ("cnn", "transformer")
    },
    "residual_fresh_little": Row(("residual", "variants"), LITTLE),
    "residual_shifted": Row(("residual", "shifted")),
    "residual_wide": Row(("residual", "shifted", "wide")),
}
#: Every row that can be asked for.
KNOWN: Final = [f"{stem}{power}{optimizer}" for stem in STEMS for power in ("", POWER) for optimizer in ("", MUON)]


def stem(row: str) -> str:
    """A row's name without its endings: a key of ``STEMS``."""
    return row.removesuffix(MUON).removesuffix(POWER)


def arguments(row: str, *, nwa: bool) -> list[str]:
    """The options of ``nwa fit`` for a row, without NWA or with the published lambda."""
    default: set[str] = {"optimizer", "nwa_lr"} if row.endswith(MUON) else set()
    default |= {"distance"} if row.removesuffix(MUON).endswith(POWER) or not is_hyperbolic(row) else set()
    published = {f"model.{name}": value for name, value in PUBLISHED.items() if name not in default}
    found = STEMS[stem(row)]
    if nwa:
        found = Row((*found.configs, "nwa"), {**found.options, "model.nwa_weight": published_lambda(row)})
    return [*found.arguments(), *(f"--{name}={value}" for name, value in published.items())]


def published_lambda(row: str) -> str:
    """The published lambda of a row, as text."""
    return "1e-6" if row.startswith("dsee") else "1e-5"


def is_hyperbolic(row: str) -> bool:
    """Whether a row has the default distance, the only one with a radius and a power."""
    config = CONFIGS / f"{STEMS[stem(row)].configs[0]}.yaml"
    distance = yaml.safe_load(config.read_text())["model"]["init_args"].get("distance")
    return distance is None or distance["class_path"] == "HyperbolicDistance"
