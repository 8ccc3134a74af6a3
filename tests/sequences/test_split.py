import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwa_lightning import edit_distances, load_sequences
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import IUPAC
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.content import fingerprint, seeded, still_there
from nwa_lightning.sequences.neighbours import identity_clusters, nearest_edits
from nwa_lightning.sequences.packed import Packed
from nwa_lightning.sequences.split import split_sequences


def sets_of(split):
    return [set(part.to_strings()) for part in split]


def random_strings(count, length=30, seed=0):
    generator = np.random.default_rng(seed)
    return ["".join(row) for row in generator.choice(list("ACGT"), (count, length))]


def grouped(strings, groups):
    made = Sequences.from_strings(strings)
    return Sequences(made.bases, made.labels, Packed.of(group.encode() for group in groups))


@given(st.lists(st.text("ACGT", max_size=4), min_size=40, max_size=80), st.integers(0, 5))
def test_no_sequence_in_two_splits(strings, seed):
    sequences = Sequences.from_strings(strings)
    distinct = set(strings)
    if len(distinct) < 6:
        with pytest.raises(InputError, match="distinct sequences"):
            split_sequences(sequences, seed=seed)
        return
    parts = sets_of(split_sequences(sequences, seed=seed))
    assert min(map(len, parts)) >= 2
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == len(distinct)


@given(st.integers(0, 5), st.integers(100, 300), st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_order_copies_and_additions_move_nothing(seed, count, random):
    strings = random_strings(count + 50, seed=seed)
    before = sets_of(split_sequences(Sequences.from_strings(strings[:count]), seed=seed))
    more = [*strings, *random.choices(strings, k=40)]
    random.shuffle(more)
    after = sets_of(split_sequences(Sequences.from_strings(more), seed=seed))
    for one, two in zip(before, after, strict=True):
        assert one <= two


def test_a_border_set_by_a_number_is_kept_when_sequences_are_added():
    strings = random_strings(300)
    first = split_sequences(Sequences.from_strings(strings[:200]), val_size=20, test_size=40)
    assert [len(part) for part in first] == [140, 20, 40]
    later = split_sequences(Sequences.from_strings(strings[::-1]), val_size=20, test_size=40, borders=first.borders)
    for one, two in zip(sets_of(first), sets_of(later), strict=True):
        assert one <= two


def test_few_of_many_are_validated_unless_asked_for(monkeypatch):
    monkeypatch.setattr("nwa_lightning.sequences.split.MOST_VALIDATED", 10)
    sequences = Sequences.from_strings(random_strings(400))
    few, all_of_them = split_sequences(sequences), split_sequences(sequences, val_size=700 / 9200)
    assert len(few.val) == 10
    assert few.val.to_strings() == all_of_them.val.to_strings()[:10]
    assert few.train.to_strings() == all_of_them.train.to_strings()


def test_the_alphabet_moves_nothing():
    strings = random_strings(100)
    split = split_sequences(Sequences.from_strings(strings))
    other = split_sequences(Sequences.from_strings(strings, IUPAC))
    assert split.test.to_strings() == other.test.to_strings(IUPAC)


def test_the_order_of_the_test_set_is_that_of_its_content():
    strings = random_strings(200)
    one, two = (split_sequences(Sequences.from_strings(some)).test.to_strings() for some in (strings, strings[::-1]))
    assert one == two


def test_places_are_spread_evenly_for_every_seed():
    hashes = Sequences.from_strings(random_strings(4000)).hashes
    for seed in range(5):
        counts, _ = np.histogram(seeded(hashes, seed) / 2.0**64, bins=16, range=(0, 1))
        assert ((counts - 250) ** 2 / 250).sum() < 50  # chi-square with 15 degrees of freedom: 1e-5


def test_other_seeds_are_independent():
    sequences = Sequences.from_strings(random_strings(4000))
    one, two = (sets_of(split_sequences(sequences, seed=seed))[2] for seed in (0, 1))
    expected = len(one) * len(two) / 4000
    assert abs(len(one & two) - expected) < 5 * expected**0.5


def test_clusters_keep_twins_of_test_sequences_out_of_training():
    strings = random_strings(60, length=40)
    generator = np.random.default_rng(1)
    for parent in strings[:60]:
        place = int(generator.integers(39))
        strings.append(parent[:place] + "ACGT"["CGTA".index(parent[place])] + parent[place + 1 :])
    sequences = Sequences.from_strings(strings)
    by_content = split_sequences(sequences)
    assert nearest_edits(by_content.test, by_content.train).min() == 1
    for seed in range(4):
        split = split_sequences(sequences, by="clusters", identity=0.95, seed=seed)
        assert nearest_edits(split.test, split.train).min() > 2
        assert nearest_edits(split.val, split.train).min() > 2
        assert sum(map(len, split)) == len(set(strings))


@given(
    st.lists(st.text("ACGT", min_size=1, max_size=12), min_size=2, max_size=25), st.sampled_from([0.5, 0.75, 0.9, 1.0])
)
def test_clusters_are_the_connected_components(strings, identity):
    sequences = Sequences.from_strings(strings)
    found = identity_clusters(sequences, identity)
    distance = edit_distances(strings)
    longest = np.maximum.outer(*2 * (np.array([len(string) for string in strings]),))
    joined = distance <= (1 - identity) * longest + 1e-9
    for _ in strings:  # paths of every length
        joined = joined @ joined
    assert np.array_equal(found[:, None] == found, joined)


def test_groups_of_a_column_stay_together():
    strings = random_strings(300)
    groups = [f"family {number // 10}" for number in range(300)]
    split = split_sequences(grouped(strings, groups), by="family")
    families = [{row.decode() for row in part.groups} for part in split]
    assert sum(map(len, families)) == 30
    assert len(set.union(*families)) == 30


def test_a_column_may_name_the_sets():
    strings = random_strings(30)
    named = ["train", "Val", "TEST"] * 10
    split = split_sequences(grouped(strings, named), by="set")
    assert sets_of(split) == [set(strings[k::3]) for k in range(3)]
    assert split.borders is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_size": 9000}, r"found 9200 distinct sequences for 9000 \+ 700 \+ 1500"),
        ({"val_size": 1}, r"at least 2 sequences each to train, validate and test"),
        ({"val_size": 1.5}, r"val_size: expected a number of sequences, or a fraction between 0 and 1, found 1.5"),
        ({"test_size": -1}, r"test_size: expected a number of sequences, or a fraction between 0 and 1, found -1"),
        ({"test_size": 0.5, "val_size": 0.5}, r"at least 2 sequences each"),
        ({"test_size": float("nan")}, r"test_size: expected"),
        ({"by": "clusters", "identity": 0.0}, r"split_identity: expected more than 0"),
    ],
)
def test_sizes_that_do_not_fit(options, message):
    with pytest.raises(InputError, match=message) as error:
        split_sequences(load_sequences("human16s"), **options)
    assert "\n" not in str(error.value)


def test_too_many_sequences_for_clusters(monkeypatch):
    monkeypatch.setattr("nwa_lightning.sequences.neighbours.MOST_CLUSTERED", 50)
    with pytest.raises(InputError, match="at most 50 distinct sequences for clusters, found 60"):
        split_sequences(Sequences.from_strings(random_strings(60)), by="clusters")


def test_a_fingerprint_knows_a_set_whatever_its_order():
    strings = random_strings(1000)
    known = fingerprint(Sequences.from_strings(strings).hashes)
    assert known == fingerprint(Sequences.from_strings([*strings[::-1], strings[0]]).hashes)
    more = Sequences.from_strings([*strings, *random_strings(500, seed=1)]).hashes
    assert fingerprint(more)["hash"] != known["hash"]
    assert still_there(known, more) == 1
    assert 0.3 < still_there(known, Sequences.from_strings(strings[:500]).hashes) < 0.7
    assert still_there(known, Sequences.from_strings(random_strings(1000, seed=2)).hashes) == 0


@given(st.lists(st.text("ACGT", max_size=9), min_size=1, max_size=30))
def test_hashes_are_equal_where_sequences_are(strings):
    hashes = Sequences.from_strings(strings).hashes
    same = np.array(strings)[:, None] == np.array(strings)
    assert np.array_equal(hashes[:, None] == hashes, same)


def test_human16s_splits_as_published():
    split = split_sequences(load_sequences("human16s"))
    assert [len(part) for part in split] == [7025, 674, 1501]  # of 7,000, 700, 1,500 by number
    again = split_sequences(load_sequences("human16s"), train_size=350)
    assert len(again.train) == 350
    assert np.array_equal(again.test.padded(), split.test.padded())
    other = split_sequences(load_sequences("human16s"), seed=1)
    assert not np.array_equal(other.test.padded(), split.test.padded())
