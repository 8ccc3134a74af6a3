import copy

import pytest
import torch
from torch import nn

from nwa_lightning import AsMac, CosineDistance, edit_distances


def tokens_of(*reads):
    width = 1 + max(len(read) for read in reads)
    tokens = torch.zeros(len(reads), width, dtype=torch.int64)
    for row, read in zip(tokens, reads, strict=True):
        row[: len(read) + 1] = torch.tensor([1, *("ACGT".index(letter) + 2 for letter in read)])
    return tokens


def random_reads(seed, count, shortest=30, longest=40):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(shortest, longest + 1, (count,), generator=generator).tolist()
    return ["".join("ACGT"[code] for code in torch.randint(0, 4, (size,), generator=generator)) for size in sizes]


def test_parameters_as_published():
    encoder = AsMac(152)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 24_600
    assert encoder.embedding_dim == 300
    assert encoder.templates.shape == (300, 4, 20)
    assert (encoder.templates.abs() <= 0.5).all()
    assert (encoder.gaps == 1).all()
    assert (encoder.bias.abs() <= 0.5).all()


def test_embeddings_have_length_1_and_nothing_below_0():
    torch.manual_seed(0)
    embeddings = AsMac(40)(tokens_of(*random_reads(0, 6)))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(6))
    assert (embeddings >= 0).all()
    assert (embeddings > 0).any(dim=1).all()


def spelling(words, length):
    """An encoder whose templates give 1 to the letters of their word and -1 to others."""
    encoder = AsMac(40, len(words), template_length=length)
    with torch.no_grad():
        encoder.templates.fill_(-1.0)
        encoder.bias.fill_(0.0)
        for template, word in zip(encoder.templates, words, strict=True):
            template[["ACGT".index(letter) for letter in word], range(length)] = 1.0
    return encoder


def test_a_template_finds_its_word_anywhere():
    encoder = spelling(["ACGTA", "GGGGG"], 5)
    reads = "ACGTA", "TTTTACGTATTT", "CCACGTACCCC", "TACTATT", "GGGGGTACGTA", "GGGG", "T"
    scores = torch.tensor([[5.0, 0], [5, 0], [5, 0], [3, 0], [5, 5], [0, 3], [0, 0]])
    expected = nn.functional.normalize(scores, dim=1)
    torch.testing.assert_close(encoder(tokens_of(*reads)), expected, atol=2e-2, rtol=0)


def test_a_read_without_a_letter_is_all_0():
    encoder = spelling(["ACGTA", "GGGGG"], 5)
    embeddings = encoder(tokens_of("", "ACGTA"))
    assert not embeddings[0].any()
    embeddings.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_padding_changes_no_bit():
    torch.manual_seed(0)
    encoder = AsMac(60)
    tokens = tokens_of(*random_reads(1, 4))
    assert torch.equal(encoder(nn.functional.pad(tokens, (0, 20))), encoder(tokens))
    for row, embedding in zip(tokens, encoder(tokens), strict=True):
        torch.testing.assert_close(encoder(row[row > 0][None])[0], embedding, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types(dtype):
    torch.manual_seed(0)
    encoder = AsMac(40)
    tokens = tokens_of(*random_reads(2, 4))
    other = copy.deepcopy(encoder).to(dtype)
    found = other(tokens)
    assert found.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float64 else 2e-2
    torch.testing.assert_close(found, encoder(tokens).to(dtype), atol=tolerance, rtol=0)


def test_an_exported_program_says_the_same():
    torch.manual_seed(0)
    encoder = AsMac(24, 10, template_length=6).eval()
    tokens = nn.functional.pad(tokens_of(*random_reads(3, 4, 2, 24), ""), (0, 0))
    tokens = encoder.pad(tokens)
    rows = torch.export.Dim("rows", min=1, max=64)
    program = torch.export.export(encoder, (tokens,), dynamic_shapes=({0: rows},)).module()
    for part in (tokens, tokens[:1], tokens[3:]):
        torch.testing.assert_close(program(part), encoder(part))


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    encoder, distance = AsMac(40, 64, template_length=8), CosineDistance()
    reads = random_reads(4, 12)
    tokens, (first, second) = tokens_of(*reads), torch.triu_indices(12, 12, 1)
    edits = torch.from_numpy(edit_distances(reads, torch.stack([first, second], dim=1).numpy())) / 40
    parameters = [*encoder.parameters(), *distance.parameters()]
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    losses = []
    for _ in range(40):
        embeddings = encoder(tokens)
        loss = (distance(embeddings[first], embeddings[second]) - edits).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
    assert all(not torch.equal(*pair) for pair in zip(before, parameters, strict=True))
