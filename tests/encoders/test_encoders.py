import re
from collections import Counter

import pytest
import torch

from nwa_lightning import (
    CNNED,
    DSEECNN,
    EINN,
    SENSE,
    AsMac,
    EditDistanceModel,
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

TRANSFORMERS = [
    {},
    {"segment": 1, "window": 3},
    {"segment": 8, "positions": "sinusoidal"},
    {"segment": 7, "layers": 1, "heads": 3, "hidden_dim": 15, "positions": "sinusoidal", "window": 1},
]

ENCODERS = [
    (NeuroSEEDCNN, {}),
    *((NeuroSEEDTransformer, options) for options in TRANSFORMERS),
    (DSEECNN, {}),
    (ResidualCNN, {}),
    (ResidualCNN, {"stages": 3, "blocks": 2, "stem_stride": 3, "stem_kernel": 5, "channels": 12}),
    (PooledCNN, {}),
    (PooledCNN, {"stages": 3, "blocks": 2, "stem_stride": 3, "stem_kernel": 5, "channels": 12, "bins": [50, 2]}),
    (PooledCNN, {"queries": 3, "channels": 12, "bins": [1]}),
    (CNNED, {}),
    (CNNED, {"pooling": "average", "layers": 2, "channels": 5, "kernel_size": 5}),
    (SENSE, {}),
    (SENSE, {"layers": 2, "channels": 6, "kernel_size": 3}),
    (AsMac, {}),
    (AsMac, {"template_length": 7, "gamma": 0.5}),
    (EINN, {}),
    (EINN, {"references": 5, "reference_length": 9, "gamma": 1.0}),
    (GRUEncoder, {}),
    (GRUEncoder, {"layers": 2, "hidden_dim": 7}),
    (MLPEncoder, {}),
    (MLPEncoder, {"layers": 3, "hidden_dim": 9}),
    (LinearEncoder, {}),
    (KmerEncoder, {}),
    (KmerEncoder, {"k": 2}),
]


def random_tokens(rows, size, vocabulary=6):
    tokens = torch.randint(2, vocabulary, (rows, size))
    tokens[:, 0] = 1
    return tokens


@pytest.mark.parametrize(("kind", "options"), ENCODERS)
@pytest.mark.parametrize("inference", [False, True])
def test_an_embedding_depends_on_its_own_sequence_alone(kind, options, inference):
    torch.manual_seed(0)
    encoder = kind(max_length=40, embedding_dim=24, **options).eval().requires_grad_(not inference)
    tokens = random_tokens(5, 31)
    tokens[3, 20:] = 0
    together = encoder(tokens)
    assert together.shape == (5, 24)
    torch.testing.assert_close(encoder(tokens[3:4, :20]), together[3:4])
    torch.testing.assert_close(encoder(tokens[:2]), together[:2])
    torch.testing.assert_close(encoder(torch.nn.functional.pad(tokens, (0, 10))), together)
    other = tokens.clone()
    other[0, 7] = 2 + (other[0, 7] - 1) % 4
    assert not torch.allclose(encoder(other)[0], together[0])


@pytest.mark.parametrize(("kind", "options"), ENCODERS)
def test_every_parameter_learns(kind, options):
    torch.manual_seed(0)
    encoder = kind(max_length=40, embedding_dim=24, **options)
    tokens = random_tokens(5, 41)
    tokens[2, 9:] = 0
    tokens[3, 1:] = 0  # a sequence without a base
    encoder(tokens).square().sum().backward()
    for parameter in encoder.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any()


def test_parameters_of_the_cnn_as_published():
    published = 124_610  # NeuroSEED-CNN of Lee & No (2024) for L = 153, m = 128, 64 channels, scale and radius included
    letters = 9 * 64
    convolution, norm = 64 * 64 * 3 + 64, 2 * 64
    readout = 64 * (153 // 16) * 128 + 128
    last_norm = 2 * 128  # which the published code has by accident, and we have not
    assert letters + 4 * (convolution + norm) + readout + last_norm + 2 == published
    model = EditDistanceModel(NeuroSEEDCNN(152, 128, vocabulary=9), nwa_weight=None)
    assert sum(parameter.numel() for parameter in model.parameters()) == published - last_norm


@pytest.mark.parametrize("length", [40, 47])
@pytest.mark.parametrize("vocabulary", [6, 22])
def test_parameters_of_the_other_encoders(length, vocabulary):
    """Counted by hand, with the default sizes."""
    letters = vocabulary - 2
    expected = {
        DSEECNN: vocabulary * 64 + 5 * (64 * 64 * 3 + 64 + 2 * 64) + ((length + 1) // 32 * 64 * 24 + 24),
        CNNED: (8 * 3 + 3 * 8 * 8 * 3) + (letters * 8 * (length // 16) * 24 + 24),
        SENSE: (letters * 16 * 5 + 16)
        + (16 * 32 * 5 + 32)
        + (32 * 48 * 5 + 48)
        + (48 * (((length // 2) // 2) // 2) * 24 + 24),
        # Three gates, each with weights of the input and of the state, and two biases.
        GRUEncoder: 3 * (letters * 100 + 100 * 100 + 100 + 100) + (100 * 100 + 100) + (100 * 24 + 24),
        MLPEncoder: (letters * length * 100 + 100) + (100 * 24 + 24),
        LinearEncoder: letters * length * 24 + 24,
        ResidualCNN: (letters * 64 * 9 + 2 * 64)
        + 2 * 2 * (64 * 64 * 3 + 2 * 64)
        + ((length // 4 + 1) // 2 * 64 * 24 + 24),
        PooledCNN: (letters * 64 * 9 + 2 * 64) + 2 * 2 * (64 * 64 * 3 + 2 * 64) + ((1 + 4 + 16) * 64 * 24 + 24),
        KmerEncoder: letters**4 * 24 + 24,
        AsMac: 24 * letters * 20 + 24 + 24,
        EINN: (32 * letters * length + 32) + (32 * 24 + 24),
    }
    for kind, count in expected.items():
        assert sum(parameter.numel() for parameter in kind(length, 24, vocabulary).parameters()) == count, kind


def test_parameters_of_attention():
    """Three queries of 64 numbers, keys of features and of 8 sines and cosines, and as many more inputs of the last layer."""
    with_queries, without = PooledCNN(40, 24, queries=3), PooledCNN(40, 24)
    sizes = [sum(parameter.numel() for parameter in encoder.parameters()) for encoder in (with_queries, without)]
    assert sizes[0] - sizes[1] == 3 * 64 + 64 * 64 + 8 * 64 + 3 * 64 * 24


def test_published_dimensions():
    assert SENSE(40).embedding_dim == 120
    assert AsMac(40).embedding_dim == 300
    assert [kind(40).embedding_dim for kind in (CNNED, DSEECNN, GRUEncoder, MLPEncoder, KmerEncoder)] == [128] * 5


def test_without_activation_average_pooling_leaves_the_cnned_affine():
    torch.manual_seed(0)
    tokens = random_tokens(3, 41)
    mixed = tokens[0].clone()
    mixed[20:] = tokens[1, 20:]
    other = tokens[1].clone()
    other[20:] = tokens[0, 20:]
    for pooling, affine in (("average", True), ("max", False)):
        encoder = CNNED(40, 24, pooling=pooling)
        one, two, three, four = encoder(torch.stack([tokens[0], tokens[1], mixed, other]))
        assert torch.allclose(one + two, three + four, atol=1e-6) is affine


def test_the_convolutions_of_the_cnned_see_one_letter_at_a_time():
    """Another order of the letters is another order of the inputs of the last layer."""
    torch.manual_seed(0)
    encoder = CNNED(40, 24)
    tokens = random_tokens(3, 41)
    seen = []
    encoder.readout.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].view(3, 4, -1)))
    swapped = torch.tensor([0, 1, 3, 2, 5, 4])[tokens]
    encoder(tokens)
    encoder(swapped)
    torch.testing.assert_close(seen[1], seen[0][:, [1, 0, 3, 2]])


def test_the_gru_reads_from_left_to_right():
    torch.manual_seed(0)
    encoder = GRUEncoder(40, 24)
    tokens = random_tokens(2, 30)
    tokens[1, 12:] = 0
    state = torch.zeros(1, 1, 100)
    for token in tokens[1, :12]:
        _, state = encoder.features(encoder.one_hot(token.view(1, 1)), state)
    torch.testing.assert_close(encoder(tokens)[1:], encoder.readout(state[0]))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_kmer_encoder_counts(k):
    torch.manual_seed(0)
    encoder = KmerEncoder(40, None, k=k)
    assert encoder.embedding_dim == 4**k
    assert not list(encoder.parameters())
    tokens = random_tokens(4, 31)
    tokens[1, 20:] = 0
    tokens[2, k:] = 0  # one letter too few
    found = encoder(tokens)
    assert found.shape == (4, 4**k)
    for row, frequencies in zip(tokens.tolist(), found, strict=True):
        letters = [token for token in row if token >= 2]
        words = [tuple(letters[start : start + k]) for start in range(len(letters) - k + 1)]
        expected = sorted(count * 4**k / len(words) for count in Counter(words).values())
        assert sorted(frequencies[frequencies > 0].tolist()) == pytest.approx(expected)
    assert not found[2].any()
    torch.testing.assert_close(found[[0, 1, 3]].mean(dim=1), torch.ones(3))
    torch.testing.assert_close(encoder(tokens[2:3, :k]), found[2:3])


def case(kind, message, **options):
    return pytest.param(
        kind, options, message, id=f"{kind.__name__}-{'-'.join(f'{n}={v}' for n, v in options.items())}"
    )


CONVOLUTIONAL = (NeuroSEEDCNN, DSEECNN, CNNED, SENSE)
EVERY_KIND = (
    *CONVOLUTIONAL,
    NeuroSEEDTransformer,
    ResidualCNN,
    PooledCNN,
    AsMac,
    EINN,
    GRUEncoder,
    MLPEncoder,
    LinearEncoder,
    KmerEncoder,
)

#: The class, the message, and the argument that is wrong.
BAD_ARGUMENTS = [
    *(case(kind, "max_length: expected at least 1, found 0; give a larger", max_length=0) for kind in EVERY_KIND),
    *(case(kind, "max_length: expected a whole number, found 2.5; give one", max_length=2.5) for kind in EVERY_KIND),
    *(case(kind, "embedding_dim: expected at least 1, found 0", embedding_dim=0) for kind in EVERY_KIND),
    *(case(kind, "embedding_dim: expected at least 1, found -1", embedding_dim=-1) for kind in EVERY_KIND),
    *(case(kind, "vocabulary: expected at least 3, found 2", vocabulary=2) for kind in EVERY_KIND),
    *(
        case(kind, "layers: expected at least 1, found 0", layers=0)
        for kind in (*CONVOLUTIONAL, NeuroSEEDTransformer, GRUEncoder, MLPEncoder)
    ),
    *(case(kind, "layers: expected a whole number, found 2.5", layers=2.5) for kind in (*CONVOLUTIONAL, GRUEncoder)),
    *(case(kind, "channels: expected at least 1, found 0", channels=0) for kind in (*CONVOLUTIONAL, ResidualCNN)),
    *(case(kind, "channels: expected a whole number, found '8'", channels="8") for kind in CONVOLUTIONAL),
    *(case(kind, "kernel_size: expected at least 1, found 0", kernel_size=0) for kind in CONVOLUTIONAL),
    *(case(kind, "kernel_size: expected an odd number, found 4; give 3 or 5", kernel_size=4) for kind in CONVOLUTIONAL),
    *(case(kind, "hidden_dim: expected at least 1, found 0", hidden_dim=0) for kind in (GRUEncoder, MLPEncoder)),
    case(CNNED, "layers: expected few enough to halve 40 positions, found 6; use fewer", layers=6),
    case(CNNED, "pooling: expected max or average, found 'min'", pooling="min"),
    case(SENSE, "layers: expected few enough to halve 40 positions", layers=6),
    case(DSEECNN, "layers: expected few enough to halve 41 positions, found 6", layers=6),
    case(NeuroSEEDCNN, "layers: expected few enough to halve 15 positions, found 4", max_length=14),
    case(ResidualCNN, "stem_kernel: expected an odd number, found 8; give 7 or 9", stem_kernel=8),
    case(ResidualCNN, "stem_kernel: expected at least 1, found 0", stem_kernel=0),
    case(ResidualCNN, "stem_stride: expected at least 1, found 0", stem_stride=0),
    case(ResidualCNN, "stages: expected at least 1, found 0", stages=0),
    case(ResidualCNN, "stages - 1: expected few enough to halve 11 positions, found 4", stages=5),
    case(ResidualCNN, "blocks: expected at least 1, found 0", blocks=0),
    case(PooledCNN, "channels: expected at least 2, found 1", channels=1),
    case(PooledCNN, "stem_kernel: expected an odd number, found 8; give 7 or 9", stem_kernel=8),
    case(PooledCNN, "stem_stride: expected at least 1, found 0", stem_stride=0),
    case(PooledCNN, "stages: expected at least 1, found 0", stages=0),
    case(PooledCNN, "blocks: expected at least 1, found 0", blocks=0),
    case(PooledCNN, "bins: expected a list of numbers of bins, found 4; give one such as [1, 4, 16]", bins=4),
    case(PooledCNN, "bins: expected a list of numbers of bins, found ()", bins=()),
    case(PooledCNN, "bins: expected at least 1, found 0", bins=[4, 0]),
    case(PooledCNN, "bins: expected a whole number, found 1.5", bins=[1.5]),
    case(PooledCNN, "queries: expected at least 0, found -1; give a larger number", queries=-1),
    case(PooledCNN, "queries: expected a whole number, found 1.5; give one of at least 0", queries=1.5),
    case(NeuroSEEDTransformer, "segment: expected at least 1, found 0", segment=0),
    case(NeuroSEEDTransformer, "heads: expected at least 1, found 0", heads=0),
    case(NeuroSEEDTransformer, "window: expected at least 1, found 0", window=0),
    case(NeuroSEEDTransformer, "feedforward_dim: expected at least 1, found 0", feedforward_dim=0),
    case(NeuroSEEDTransformer, "hidden_dim: expected a positive multiple of the 3 heads, found 16", heads=3),
    case(NeuroSEEDTransformer, "hidden_dim: expected a positive multiple of the 2 heads, found 0", hidden_dim=0),
    case(NeuroSEEDTransformer, "hidden_dim: expected a positive multiple of the 2 heads, found 8.0", hidden_dim=8.0),
    case(NeuroSEEDTransformer, "positions: expected learnt or sinusoidal, found 'none'", positions="none"),
    case(AsMac, "template_length: expected at least 1, found 0", template_length=0),
    case(AsMac, "gamma: expected more than 0, found 0", gamma=0),
    case(AsMac, "gamma: expected more than 0, found nan", gamma=float("nan")),
    case(EINN, "references: expected at least 1, found 0", references=0),
    case(EINN, "reference_length: expected at least 1, found 0", reference_length=0),
    case(EINN, "reference_length: expected a whole number, found 2.5", reference_length=2.5),
    case(EINN, "gamma: expected more than 0, found -1", gamma=-1),
    case(KmerEncoder, "k: expected at least 1, found 0", k=0),
    case(KmerEncoder, "k: expected at most 1,048,576 k-mers of 4 letters, found 11; give a smaller", k=11),
    case(KmerEncoder, "k: expected at most 1,048,576 k-mers of 4 letters, found 1000000000", k=10**9),
]


@pytest.mark.parametrize(("kind", "options", "message"), BAD_ARGUMENTS)
def test_bad_arguments_end_in_one_line(kind, options, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        kind(**{"max_length": 40, **options})
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("kind", [DSEECNN, CNNED, SENSE, MLPEncoder, LinearEncoder])
def test_too_long_for_the_other_encoders(kind):
    with pytest.raises(ValueError, match=r"at most 40 bases \(max_length\) but got 41"):
        kind(max_length=40)(torch.ones(1, 42, dtype=torch.int64))


def test_bad_lengths():
    with pytest.raises(ValueError, match=r"at most 40 bases \(max_length\) but got 41"):
        NeuroSEEDCNN(max_length=40)(torch.ones(1, 42, dtype=torch.int64))


@pytest.mark.parametrize("length", [40, 41, 43])
@pytest.mark.parametrize(("segment", "vocabulary"), [(1, 6), (4, 6), (8, 22)])
def test_parameters_of_the_transformer(length, segment, vocabulary):
    """Counted by hand: 16 wide, 16 in the feed-forward layers, two Transformer layers."""
    encoder = NeuroSEEDTransformer(length, 24, vocabulary, segment=segment)
    places = 0
    while places * segment < length:
        places += 1
    letters = segment * (vocabulary - 2) * 16 + 16
    attention = 4 * (16 * 16 + 16)
    feedforward = 2 * (16 * 16 + 16)
    norms = 2 * (16 + 16)
    expected = letters + places * 16 + 2 * (attention + feedforward + norms) + places * 16 * 24 + 24
    assert sum(parameter.numel() for parameter in encoder.parameters()) == expected
    sinusoidal = NeuroSEEDTransformer(length, 24, vocabulary, segment=segment, positions="sinusoidal")
    assert sum(parameter.numel() for parameter in sinusoidal.parameters()) == expected - places * 16


@pytest.mark.parametrize(("window", "layers", "reached"), [(2, 1, 2), (2, 2, 4), (1, 3, 3), (None, 1, 9)])
def test_a_window_limits_what_a_segment_sees(window, layers, reached):
    torch.manual_seed(0)
    encoder = NeuroSEEDTransformer(max_length=40, layers=layers, window=window).eval()
    tokens = random_tokens(1, 41)
    other = tokens.clone()
    other[0, 1] = 2 + (other[0, 1] - 1) % 4
    changed = (encoder.hidden(tokens) - encoder.hidden(other)).abs().amax(dim=(0, 2)) > 0
    assert changed.tolist() == [True] * (reached + 1) + [False] * (9 - reached)


def test_segments_of_padding_are_nothing():
    torch.manual_seed(0)
    encoder = NeuroSEEDTransformer(max_length=40).eval()
    tokens = random_tokens(2, 41)
    tokens[1, 10:] = 0
    hidden = encoder.hidden(tokens)
    assert hidden.shape == (2, 10, 16)
    assert hidden[1].any(dim=1).tolist() == [True] * 3 + [False] * 7
    # Neither their places nor what they would look like reach the segments with bases.
    with torch.no_grad():
        encoder.positions[3:] += 1
    torch.testing.assert_close(encoder.hidden(tokens)[1], hidden[1])
    assert not torch.allclose(encoder.hidden(tokens)[0], hidden[0])


def test_positions_tell_equal_segments_apart():
    for positions in ("learnt", "sinusoidal"):
        encoder = NeuroSEEDTransformer(max_length=8, positions=positions).eval()
        hidden = encoder.hidden(torch.tensor([[1, 2, 3, 4, 5, 2, 3, 4, 5]]))
        assert not torch.allclose(hidden[0, 0], hidden[0, 1])


def test_sinusoids():
    table = NeuroSEEDTransformer(max_length=12, hidden_dim=6, positions="sinusoidal").positions
    for place in range(3):
        for pair in range(3):
            angle = torch.tensor(place / 10_000 ** (2 * pair / 6))
            torch.testing.assert_close(table[place, 2 * pair], angle.sin())
            torch.testing.assert_close(table[place, 2 * pair + 1], angle.cos())


def test_too_long_for_the_transformer():
    with pytest.raises(ValueError, match=r"at most 40 bases \(max_length\) but got 41"):
        NeuroSEEDTransformer(max_length=40)(torch.ones(1, 42, dtype=torch.int64))


@pytest.mark.parametrize(("kind", "options"), ENCODERS)
def test_no_sequences_at_all(kind, options):
    """As a process of a distributed prediction has them, where there is an odd number of batches."""
    encoder = kind(32, 16, **options)
    assert encoder(torch.zeros(0, 33, dtype=torch.long)).shape == (0, 16)
