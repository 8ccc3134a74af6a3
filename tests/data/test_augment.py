import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from oracle import edit_distance, nw_matrix

from nwa_lightning import Augment, NWADataModule
from nwa_lightning.alignment import Scores
from nwa_lightning.cli.lightning_cli import NWACLI
from nwa_lightning.cli.main import main
from nwa_lightning.data.datasets import DrawnPairs
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import ALPHABETS, DNA, FIRST_LETTER, PADDING, PROTEIN
from nwa_lightning.sequences.collection import Sequences

OPTIONS = {"batch_size": 16, "nwa_batch_size": 6, "seed": 3}


def same(one, two):
    assert one.nw_rows == two.nw_rows
    return all(torch.equal(a, b) for a, b in zip(one[:5], two[:5], strict=True))


def batches(reads, augment=None, **options):
    return NWADataModule(str(reads), augment=augment, **{**OPTIONS, **options}).train_dataloader()


def strings_of(batch, alphabet=DNA):
    return [alphabet.decode(row.numpy()) for row in batch.tokens]


def decoded(sequences, alphabet=DNA):
    return [alphabet.decode(row) for row in sequences.padded()]


def variants_of(parent, count, augment, alphabet=DNA, room=2):
    """Many variants of one sequence, which may grow to ``room`` times its length."""
    training = Sequences.from_strings([parent], alphabet)
    drawn, generator = np.zeros(count, dtype=np.int64), np.random.default_rng(0)
    varied = augment.vary(training, drawn, alphabet, generator, max_length=room * len(parent))
    return decoded(varied, alphabet)


def test_labels_of_variants_are_exact(reads):
    batch = batches(reads, Augment(fraction=0.75, edits=0.5)).dataset[0]
    strings = strings_of(batch)
    assert [len(string) for string in strings] == batch.lengths.tolist()
    assert batch.pairs.shape == (120, 2)
    for number, (first, second) in enumerate(batch.pairs.tolist()):
        assert batch.distance[number] == edit_distance(strings[first], strings[second])
    assert batch.nw.shape[0] == 15
    for number, (first, second) in enumerate(batch.nw_pairs.tolist()):
        rows, columns = len(strings[first]) + 1, len(strings[second]) + 1
        assert np.array_equal(batch.nw[number, :rows, :columns], nw_matrix(strings[first], strings[second], 1, -1, -1))


def test_without_variants_batches_are_those_of_the_training_set(reads):
    data = NWADataModule(str(reads), **OPTIONS)
    plain, none = data.train_dataloader().dataset, batches(reads, Augment(fraction=0.0)).dataset
    for number in range(5):
        rows = np.random.default_rng((3, number)).choice(len(data.split.train), 16, replace=False)
        assert strings_of(plain[number]) == decoded(data.split.train.take(rows))
        assert same(plain[number], none[number])


def test_what_is_not_replaced_stays(reads):
    plain, half = batches(reads, pairs=40).dataset, batches(reads, Augment(fraction=0.5, edits=1.0), pairs=40).dataset
    for number in range(5):
        before, after = plain[number], half[number]
        assert torch.equal(before.pairs, after.pairs)
        changed = [one != two for one, two in zip(strings_of(before), strings_of(after), strict=True)]
        assert np.flatnonzero(changed).tolist() == [0, 2, 4, 6, 8, 10, 12, 14]


@given(st.floats(0, 1), st.integers(0, 200))
def test_every_block_holds_its_share(share, count):
    rows = Augment(fraction=share).rows(count)
    for block in range(count + 1):
        assert abs((rows < block).sum() - share * block) <= 0.5 + 1e-9


def test_a_share_of_one_replaces_all(reads):
    train = set(decoded(NWADataModule(str(reads), **OPTIONS).split.train))
    assert not train & set(strings_of(batches(reads, Augment(fraction=1.0, edits=1.0)).dataset[0]))


@pytest.mark.parametrize("workers", [1, 2])
def test_same_seed_same_variants_for_any_number_of_workers(reads, workers):
    augment = Augment()
    alone, helped = batches(reads, augment), batches(reads, augment, num_workers=workers)
    for epoch in range(2):
        for loader in (alone, helped):
            loader.sampler.set_epoch(epoch)
        found = [list(loader) for loader in (alone, helped)]
        assert len(found[0]) == len(found[1]) > 1
        assert all(same(one, two) for one, two in zip(*found, strict=True))


def test_every_batch_and_every_seed_has_fresh_variants(reads):
    seen = []
    for seed in (0, 1):
        dataset = batches(reads, Augment()).dataset
        dataset.seed = seed
        seen += [tuple(strings_of(dataset[number])[::2]) for number in range(10)]
    variants = [string for batch in seen for string in batch]
    assert len(set(variants)) > 0.99 * len(variants)


def test_validation_test_and_prediction_see_no_variants(reads):
    plain = NWADataModule(str(reads), **OPTIONS)
    varied = NWADataModule(str(reads), augment=Augment(fraction=1.0, edits=1.0), **OPTIONS)
    for name in ("val", "test", "predict"):
        one, two = (list(getattr(data, f"{name}_dataloader")()) for data in (plain, varied))
        assert len(one) == len(two) > 0
        assert all(same(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("alphabet", [DNA, PROTEIN], ids=lambda alphabet: alphabet.name)
def test_substitutions_come_at_rates_up_to_the_highest(alphabet):
    parent = alphabet.letters * (200 // len(alphabet.letters))
    variants = variants_of(parent, 2000, Augment(1.0, edits=0.3, indels=0.0), alphabet)
    assert {len(variant) for variant in variants} == {200}
    changed = np.array([list(variant) for variant in variants]) != np.array(list(parent))
    rates = changed.mean(axis=1)
    assert rates.mean() == pytest.approx(0.15, rel=0.05)
    assert np.quantile(rates, [0.25, 0.75]) == pytest.approx([0.075, 0.225], rel=0.1)
    assert changed.mean(axis=0) == pytest.approx(0.15, rel=0.25)
    put = [
        parent[place] + variant[place]
        for variant, row in zip(variants, changed, strict=True)
        for place in np.flatnonzero(row)
    ]
    kinds = len(alphabet.letters) * (len(alphabet.letters) - 1)
    found = np.unique(put, return_counts=True)[1] / len(put)
    assert found == pytest.approx(np.full(kinds, 1 / kinds), rel=0.3)


@pytest.mark.parametrize("indels", [0.4, 1.0])
def test_insertions_and_deletions_are_half_each(indels):
    """Of a parent of one letter, 19 of 20 inserted or substituted letters can be told from those of the parent."""
    variants = variants_of("A" * 100, 2000, Augment(1.0, edits=0.4, indels=indels, crossover=False), PROTEIN)
    assert np.mean([len(variant) for variant in variants]) == pytest.approx(100, abs=0.5)
    foreign = np.mean([100 - variant.count("A") + len(variant) - 100 for variant in variants])
    assert foreign == pytest.approx(20 * (indels / 2 * 19 / 20 + 1 - indels), rel=0.05)
    # Lengths spread by as many insertions as deletions at each variant's own rate.
    assert np.var([len(variant) for variant in variants]) == pytest.approx(20 * indels, rel=0.1)
    ends = [sum(variant[place] != "A" for variant in variants) for place in (0, -1)]
    assert ends[0] == pytest.approx(ends[1], rel=0.2)


def test_edit_distance_to_the_parent_is_as_the_edits():
    parent = decoded(random_reads(1, 60, 60, DNA))[0]
    variants = variants_of(parent, 300, Augment(1.0, edits=0.3, indels=0.6))
    found = np.array([edit_distance(parent, variant) for variant in variants])
    # A little below the number of edits, which may cancel: 60 * 0.15 = 9 in the mean, at most some 60 * 0.3 = 18.
    assert 8 < found.mean() <= 9.2
    assert 15 < found.max() <= 30
    assert found.min() == 0


def random_reads(count, shortest, longest, alphabet):
    generator = np.random.default_rng(1)
    lengths = generator.integers(shortest, longest + 1, count)
    return Sequences.from_strings(
        ["".join(generator.choice(list(alphabet.letters), size)) for size in lengths], alphabet
    )


@pytest.mark.parametrize("shortest", [10, 40])
def test_a_crossover_is_the_start_of_one_and_the_rest_of_another(shortest):
    training = random_reads(12, shortest, 40, PROTEIN)
    parents = decoded(training, PROTEIN)
    varied = Augment(1.0, edits=0.0).vary(training, np.arange(12).repeat(20), PROTEIN, np.random.default_rng(0))
    cuts = []
    for variant in decoded(varied, PROTEIN):
        ways = [
            (start / len(one), 1 - (len(variant) - start) / len(two), one != two)
            for one in parents
            for two in parents
            for start in range(len(one) + 1)
            if len(two) >= len(variant) - start >= 1 and variant == one[:start] + two[len(two) - len(variant) + start :]
        ]
        # Both cuts are rounded down to whole letters.
        ways = [way for way in ways if abs(way[0] - way[1]) < 1 / shortest]
        assert ways, variant
        cuts.append(ways[0])
    assert np.mean([mixed for *_, mixed in cuts]) > 0.8
    assert np.histogram([start for start, *_ in cuts], 4, (0, 1))[0].min() > 30


def test_one_variant_in_ten_is_shifted_by_up_to_so_many_bases():
    parent = "ACDEFGHIKL"
    variants = variants_of(parent, 4000, Augment(1.0, edits=0.0, crossover=False, shift=3), PROTEIN)
    counts = {variant: variants.count(variant) for variant in set(variants)}
    assert counts.pop(parent) == pytest.approx(3600, rel=0.02)
    assert set(counts) == {parent[steps:] + parent[:steps] for steps in (-3, -2, -1, 1, 2, 3)}
    assert list(counts.values()) == pytest.approx([400 / 6] * 6, rel=0.4)


def test_without_edits_and_crossover_variants_are_training_sequences(reads):
    train = set(decoded(NWADataModule(str(reads), **OPTIONS).split.train))
    strings = strings_of(batches(reads, Augment(edits=0.0, crossover=False)).dataset[0])
    assert set(strings[::2]) <= train
    assert set(strings[::2]) - set(strings[1::2])  # of all training sequences, not of those in the batch alone


shares = st.floats(0, 1)


@given(
    st.sampled_from(sorted(ALPHABETS)),
    st.lists(st.integers(1, 9), min_size=2, max_size=8),
    st.builds(
        Augment,
        shares,
        shares,
        shares,
        st.booleans(),
        shift=st.integers(0, 12),
        fixed_length=st.booleans(),
    ),
    st.integers(0, 99),
)
def test_variants_are_whole_sequences_that_fit(name, lengths, augment, seed):
    alphabet = ALPHABETS[name]
    generator = np.random.default_rng(seed)
    training = Sequences.from_strings(
        ["".join(generator.choice(list(alphabet.letters), length)) for length in lengths], alphabet
    )
    before = training.padded().copy(), training.lengths.copy()
    drawn = generator.permutation(len(lengths))
    varied = augment.vary(training, drawn, alphabet, generator)
    assert np.array_equal(training.padded(), before[0])
    assert np.array_equal(training.lengths, before[1])
    kept = np.setdiff1d(np.arange(len(drawn)), augment.rows(len(drawn)))
    assert varied.bytes_of(kept) == training.bytes_of(drawn[kept])
    assert 1 <= varied.lengths.min() <= varied.max_length <= training.max_length
    letters = np.arange(varied.padded().shape[1]) < varied.lengths[:, None]
    assert (varied.padded()[~letters] == PADDING).all()
    assert varied.padded()[letters].min() >= FIRST_LETTER
    assert varied.padded()[letters].max() < alphabet.size
    if augment.fixed_length:
        assert set(varied.lengths.tolist()) <= set(lengths)


def test_a_single_letter_is_never_lost():
    assert {len(variant) for variant in variants_of("A", 500, Augment(1.0, edits=1.0, indels=1.0))} == {1, 2}


def test_mixed_and_fixed_length():
    parent = "ACGTTGCAAC" * 3
    options = {"edits": 0.5, "indels": 1.0}
    mixed = variants_of(parent, 400, Augment(1.0, **options), room=1)
    assert max(len(variant) for variant in mixed) == 30 > min(len(variant) for variant in mixed)
    fixed = variants_of(parent, 400, Augment(1.0, **options, fixed_length=True), room=2)
    assert {len(variant) for variant in fixed} == {30}
    filled = variants_of("A" * 30, 400, Augment(1.0, **options, fixed_length=True))
    assert sum(variant[-1] != "A" for variant in filled) > sum(variant[0] != "A" for variant in filled) + 50


def test_edits_draw_from_the_alphabet_of_the_set():
    training = Sequences.from_strings(["A" * length for length in range(1, 41)], PROTEIN)
    options = {"batch_size": 10, "pairs": None, "nwa_batch_size": 4, "scores": Scores(), "seed": 0}
    drawn = DrawnPairs(training, **options, augment=Augment(1.0, edits=1.0), alphabet=PROTEIN)
    strings = [string for number in range(20) for string in strings_of(drawn[number], PROTEIN)]
    assert set("".join(strings)) == set(PROTEIN.letters)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 1.5}, r"augment\.fraction: expected a fraction between 0 and 1, found 1\.5"),
        ({"fraction": -0.1}, r"augment\.fraction: .* found -0\.1"),
        ({"edits": 15}, r"augment\.edits: expected a rate between 0 and 1, found 15; write 15 % as 0\.15"),
        ({"indels": float("nan")}, r"augment\.indels: .* found nan"),
        ({"shift": -2}, r"augment\.shift: expected a number of bases, 0 for none, found -2"),
    ],
)
def test_bad_values(options, message):
    with pytest.raises(InputError, match=message):
        Augment(**options)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_the_command_line(reads, here, capsys):
    options = [f"--data.data={reads}", "--model.encoder.layers=2", "--trainer.logger=false"]
    assert NWACLI(options, run=False).datamodule.augment is None
    (here / "augment.yaml").write_text("data: {augment: {edits: 0.25}, alphabet: iupac}\n")
    both = [*options, "--config=augment.yaml", "--data.augment.fraction=0.25"]
    data = NWACLI(both, run=False).datamodule
    drawn = data.train_dataloader().dataset
    assert data.augment == drawn.augment == Augment(fraction=0.25, edits=0.25)
    assert drawn.alphabet.name == "iupac"
    assert NWACLI([*both, "--data.augment=null"], run=False).datamodule.augment is None
    with pytest.raises(SystemExit):
        main(["fit", *both, "--print_config"])
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["data"]["augment"]["fraction"] == 0.25
    (here / "printed.yaml").write_text(printed)
    with pytest.raises(SystemExit):
        main(["fit", "--config=printed.yaml", "--print_config"])
    assert capsys.readouterr().out == printed
    main(["fit", "--config=printed.yaml", "--trainer.fast_dev_run=true", "--trainer.enable_progress_bar=false"])


def test_bad_values_end_in_one_line(reads, here, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", f"--data.data={reads}", "--data.augment.edits=15"])
    assert stop.value.code == 2
    assert "nwa: error: augment.edits: expected a rate between 0 and 1, found 15" in capsys.readouterr().err


def test_help_explains_the_fields(capsys):
    for option, expected in (("--help", "--data.augment"), ("--data.augment.help", "Highest rate of edits per base")):
        with pytest.raises(SystemExit) as stop:
            main(["fit", option])
        assert stop.value.code == 0
        assert expected in capsys.readouterr().out
