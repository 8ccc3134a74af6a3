import math

import pytest
import torch

from nwa_lightning import InputError, NWAHead


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = NWAHead(16, 12).double()
    torch.nn.init.normal_(head.merge)
    return head


LENGTHS = torch.tensor([12, 7, 9])
PAIRS = torch.tensor([[0, 1], [1, 2], [0, 2]])


def test_published_sizes():
    head = NWAHead(128, 150)
    assert head.expand.weight.shape == (151 * 64, 128)
    assert len(head.decoder.layers) == 2
    assert head.decoder.layers[0].linear1.out_features == 1024
    assert head.decoder.layers[0].self_attn.num_heads == head.heads == 4


def test_the_folded_merge_equals_one_map_per_head(head):
    decoded = head.decode(torch.randn(3, 16).double(), LENGTHS, 13)
    query, key = (layer(decoded).unflatten(-1, (4, -1)).transpose(1, 2) for layer in (head.query, head.key))
    first, second = PAIRS.T
    per_head = query[first] @ key[second].mT / math.sqrt(query.shape[-1])
    merged = torch.einsum("qhij,h->qij", per_head, head.merge)
    torch.testing.assert_close(head.attend(decoded, PAIRS), merged)


def test_rows_are_the_first_sequence(head):
    """Changing one position of the first sequence changes one row of the map, of the second one column."""
    decoded = torch.randn(2, 13, 8).double()
    pair = torch.tensor([[0, 1]])
    base = head.attend(decoded, pair)[0]
    for side, changed_axis in ((0, 1), (1, 0)):
        other = decoded.clone()
        other[side, 5] += 1
        changed = (head.attend(other, pair)[0] != base).any(dim=changed_axis)
        assert changed.nonzero().flatten().tolist() == [5]


def test_both_sides_share_one_decoder(head):
    """Swapping the sides transposes the map, once queries and keys are the same."""
    with torch.no_grad():
        head.key.weight.copy_(head.query.weight)
        head.query.bias.zero_()  # keys have none
    embeddings = torch.randn(3, 16).double()
    logits = head(embeddings, LENGTHS, PAIRS, 13)
    swapped = head(embeddings, LENGTHS, PAIRS.flip(1), 13)
    torch.testing.assert_close(swapped, logits.mT)
    reordered = head(embeddings[[2, 0, 1]], LENGTHS[[2, 0, 1]], torch.tensor([[1, 2], [2, 0], [1, 0]]), 13)
    torch.testing.assert_close(reordered, logits)


def test_padding_changes_nothing_inside(head):
    embeddings = torch.randn(1, 16).double()
    wide = head.decode(embeddings, torch.tensor([7]), 13)[:, :8]
    torch.testing.assert_close(head.decode(embeddings, torch.tensor([7]), 8), wide)


def test_only_the_direction_of_an_embedding_counts(head):
    embeddings = torch.randn(3, 16).double()
    torch.testing.assert_close(head(1e-3 * embeddings, LENGTHS, PAIRS, 13), head(embeddings, LENGTHS, PAIRS, 13))


def test_bad_sizes(head):
    with pytest.raises(ValueError, match=r"at most 12 bases \(max_length\) but got 13"):
        head.decode(torch.randn(1, 16).double(), torch.tensor([13]), 14)
    for hidden_dim in (0, 9):
        with pytest.raises(
            InputError, match=rf"hidden_dim: .* multiple of the 4 heads, found {hidden_dim}; change one"
        ):
            NWAHead(18, 12, hidden_dim=hidden_dim)
    for name in ("embedding_dim", "max_length", "heads", "layers", "feedforward_dim"):
        with pytest.raises(InputError, match=f"{name}: expected at least 1, found 0"):
            NWAHead(**{"embedding_dim": 16, "max_length": 12, name: 0})


@pytest.mark.parametrize(("embedding_dim", "hidden"), [(1, 4), (10, 8), (16, 8), (18, 12), (30, 16), (128, 64)])
def test_half_the_embedding_is_rounded_up_to_a_multiple_of_the_heads(embedding_dim, hidden):
    head = NWAHead(embedding_dim, 12)
    assert head.expand.out_features == 13 * hidden
    assert head(torch.randn(3, embedding_dim), LENGTHS, PAIRS, 13).shape == (3, 13, 13)
