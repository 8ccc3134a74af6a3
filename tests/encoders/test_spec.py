import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from nwa_lightning import (
    CNNED,
    DSEECNN,
    EINN,
    SENSE,
    AsMac,
    Encoder,
    GRUEncoder,
    InputError,
    KmerEncoder,
    LinearEncoder,
    MLPEncoder,
    NeuroSEEDCNN,
    NeuroSEEDTransformer,
    PooledCNN,
    ResidualCNN,
)
from nwa_lightning.encoders.build import as_encoder
from nwa_lightning.parts import build_part


class Wrapped(Encoder):
    """An encoder with another one inside, and arguments of every kind."""

    def __init__(self, inner, *more, activation=nn.ReLU, sizes=(1, 2), **options):
        super().__init__(inner.max_length, inner.embedding_dim, inner.vocabulary)
        self.inner = inner
        self.rest = more, activation, sizes, options

    def forward(self, tokens):
        return self.inner(tokens)


class AsItIs(NeuroSEEDCNN):
    """Without an ``__init__`` of its own."""


@pytest.mark.parametrize(
    ("kind", "args", "options"),
    [
        (NeuroSEEDCNN, (40,), {}),
        (DSEECNN, (40, 24), {"channels": 8}),
        (CNNED, (40,), {"pooling": "average"}),
        (SENSE, (40,), {}),
        (AsMac, (40,), {"gamma": 0.1}),
        (EINN, (40, 24), {"references": 5}),
        (GRUEncoder, (40,), {}),
        (MLPEncoder, (40,), {}),
        (LinearEncoder, (40,), {}),
        (KmerEncoder, (40, None), {"k": 2}),
        (NeuroSEEDTransformer, (40,), {"window": 2}),
        (ResidualCNN, (40,), {}),
        (PooledCNN, (40,), {}),
        (PooledCNN, (40, 24), {"bins": [2, 3], "queries": 2}),
        (AsItIs, (40,), {"channels": 8}),
    ],
)
def test_an_encoder_is_built_again_as_it_was(kind, args, options):
    encoder = kind(*args, **options)
    spec = encoder.spec
    assert spec["class_path"] == f"{kind.__module__}.{kind.__name__}"
    assert list(spec["init_args"]) == list(inspect.signature(kind.__init__).parameters)[1:]
    assert spec["init_args"].items() >= {"max_length": 40, **options}.items()
    again = build_part(spec, Encoder, "here")
    assert type(again) is kind
    assert again.spec == spec
    again.load_state_dict(encoder.state_dict())
    tokens = torch.full((2, 41), 3)
    torch.testing.assert_close(again.eval()(tokens), encoder.eval()(tokens))


def test_arguments_of_every_kind():
    encoder = Wrapped(NeuroSEEDCNN(np.int64(40), channels=8), sizes=[np.float64(0.5)], depth={"a": None})
    assert encoder.spec["init_args"] == {
        "inner": NeuroSEEDCNN(40, channels=8).spec,
        "sizes": [0.5],
        "depth": {"a": None},
    }
    assert type(encoder.spec["init_args"]["inner"]["init_args"]["max_length"]) is int
    again = build_part(encoder.spec, Encoder, "here")
    assert type(again.inner) is NeuroSEEDCNN
    assert again.rest == ((), nn.ReLU, [0.5], {"depth": {"a": None}})
    encoder.spec["init_args"].clear()
    assert encoder.spec["init_args"]


def test_what_cannot_be_built_again_has_no_spec():
    class Local(NeuroSEEDCNN):
        pass

    cnn = NeuroSEEDCNN(40)
    for encoder in (
        Local(40),
        Wrapped(Local(40)),
        Wrapped(cnn, activation=nn.GELU),
        Wrapped(cnn, 1),
        Wrapped(cnn, sizes=torch.ones(2)),
        Wrapped(cnn, sizes={1: 2}),
        Wrapped(cnn, sizes={"class_path": "somewhere.Else"}),
    ):
        assert encoder.spec is None
    with pytest.raises(TypeError, match="max_length"):
        NeuroSEEDCNN()


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda encoder: pickle.loads(pickle.dumps(encoder))])
def test_a_copy_knows_how_the_original_was_built(copied):
    encoder = KmerEncoder(40, 24, k=2)
    assert copied(encoder).spec == encoder.spec
    assert copied(Wrapped(encoder)).spec == Wrapped(encoder).spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "here: expected a class that can be imported, found None; run where its module is on the path"),
        ({"class_path": "nowhere.Encoder"}, "here: expected a class that can be imported, found nowhere.Encoder"),
        (
            {"class_path": "torch.nn.Linear"},
            "here: expected a subclass of nwa_lightning.Encoder, found torch.nn.Linear",
        ),
        ({"class_path": "nwa_lightning.SENSE"}, "here: expected arguments of nwa_lightning.SENSE, found others"),
        (
            {"class_path": "nwa_lightning.SENSE", "init_args": {"max_length": 0}},
            r"found others \(max_length: expected at least 1, found 0; give a larger number\); use the version",
        ),
        (
            {"class_path": "nwa_lightning.SENSE", "init_args": {"max_length": {"class_path": "os.system"}}},
            "here: expected .* a class that can be imported, found os.system",
        ),
    ],
)
def test_specs_that_cannot_be_built(spec, message):
    with pytest.raises(InputError, match=message) as error:
        build_part(spec, Encoder, "here")
    assert len(str(error.value).splitlines()) == 1


def test_what_a_model_takes_for_an_encoder():
    encoder = NeuroSEEDCNN(40)
    assert as_encoder(encoder) is encoder
    assert as_encoder(encoder.spec).spec == encoder.spec
    own = nn.Identity()  # as torch.compile returns one
    own.max_length, own.embedding_dim = 40, 24
    assert as_encoder(own) is own
    for given, message in (
        (None, "found none: .*; pass encoder=... to load_from_checkpoint"),
        (nn.Linear(2, 2), "encoder: expected an nwa_lightning.Encoder, found Linear; derive it from Encoder"),
        ({"class_path": "nowhere.E"}, r"\(PYTHONPATH\), or pass encoder=... to load_from_checkpoint"),
    ):
        with pytest.raises(InputError, match=message):
            as_encoder(given)
