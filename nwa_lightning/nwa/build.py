"""The head of an ``NWALoss``, by its name."""

from __future__ import annotations

from typing import Literal, get_args

from nwa_lightning.encoders.checks import at_least_one
from nwa_lightning.errors import InputError
from nwa_lightning.nwa.heads import FeatureHead, HeadOptions, NWAHead
from nwa_lightning.nwa.position_head import PositionHead

#: Names of the heads that draw maps from embeddings.
DecoderKind = Literal["decoder", "positions"]

#: Names of all heads.
HeadKind = Literal["decoder", "positions", "features"]


def build_head(
    kind: HeadKind, embedding_dim: int, max_length: int, options: HeadOptions, stride: int
) -> NWAHead | FeatureHead:
    """Build a head.

    Args:
        kind: Its name.
        embedding_dim: m, the dimension of the embeddings, or the channels of the features.
        max_length: The most letters a sequence may have.
        options: Sizes of the decoder.
        stride: Tokens per row and column of the map.

    Raises:
        InputError: If there is no such head, or it does not take these arguments.
    """
    if kind not in get_args(HeadKind):
        raise InputError(f"head: expected one of {', '.join(get_args(HeadKind))}, found {kind!r}; name one of them")
    at_least_one(stride=stride)
    if stride > 1 and kind != "positions":
        raise InputError(f"stride: expected 1 with the head {kind!r}, found {stride}; use the head 'positions'")
    if kind == "features":
        if options:
            raise InputError("head_options: expected none with features, which have no decoder; leave them out")
        return FeatureHead(embedding_dim, max_length)
    try:
        if kind == "positions":
            return PositionHead(embedding_dim, max_length, stride=stride, **options)
        return NWAHead(embedding_dim, max_length, **options)
    except TypeError:
        known, found = ", ".join(HeadOptions.__annotations__), ", ".join(options)
        raise InputError(f"head_options: expected some of {known}, found {found}; name only those") from None


def head_kind(decoder: DecoderKind, features: str | None) -> HeadKind:
    """The head of a model, which draws maps from features where the model names some.

    Args:
        decoder: The head for maps from embeddings.
        features: Dotted name of the submodule that returns features; None draws maps from the embeddings.

    Raises:
        InputError: If there is no such head, or it was chosen together with features.
    """
    known = get_args(DecoderKind)
    if decoder not in known:
        raise InputError(f"head: expected {' or '.join(known)}, found {decoder!r}; name one of them")
    if features is None:
        return decoder
    if decoder != "decoder":
        raise InputError(
            f"head: expected no choice with features, which have no decoder, found {decoder!r}; leave it out"
        )
    return "features"
