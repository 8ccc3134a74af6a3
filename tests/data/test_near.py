import re

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from oracle import edit_distance, nw_matrix
from quiet import QUIET

from nwa_lightning import Augment, NWADataModule
from nwa_lightning.cli.lightning_cli import NWACLI
from nwa_lightning.cli.main import main
from nwa_lightning.data.near import Groups, NearPairs, find_groups
from nwa_lightning.errors import InputError
from nwa_lightning.sequences.alphabet import ALPHABETS, DNA, FIRST_LETTER, PADDING
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

OPTIONS = {"batch_size": 16, "nwa_batch_size": 6, "seed": 3}


def same(one, two):
    assert one.nw_rows == two.nw_rows
    return all(torch.equal(a, b) for a, b in zip(one[:5], two[:5], strict=True))


def strings_of(batch, alphabet=DNA):
    return [alphabet.decode(row.numpy()) for row in batch.tokens]


def batches(reads, near=None, **options):
    return NWADataModule(str(reads), near=near, **{**OPTIONS, **options}).train_dataloader()


def pairs_of(batch):
    return {tuple(pair) for pair in batch.pairs.tolist()}


def partners_of(near, count):
    """The near partners of a batch by their originals, read one row after the other."""
    found, original = {}, 0
    for row, its in enumerate(near.originals(count).tolist()):
        if its == row:
            original = row
        else:
            assert its == original
            found.setdefault(original, []).append(row)
    return found


@pytest.mark.parametrize("near", [None, NearPairs(fraction=0.0)], ids=["none", "fraction 0"])
@pytest.mark.parametrize("pairs", [None, 40])
def test_without_near_pairs_batches_are_as_always(reads, near, pairs):
    train = NWADataModule(str(reads), **OPTIONS).split.train
    strings = train.to_strings()
    dataset = batches(reads, near, pairs=pairs).dataset
    block = [(first, second) for second in range(6) for first in range(second)]
    others = [(first, second) for first in range(16) for second in range(max(first + 1, 6), 16)]
    for number in range(4):
        generator = np.random.default_rng((3, number))
        rows = generator.choice(len(train), 16, replace=False)
        assert strings_of(dataset[number]) == [strings[row] for row in rows]
        chosen = sorted(generator.choice(105, 25, replace=False)) if pairs else range(105)
        assert sorted(dataset[number].pairs[:15].tolist()) == sorted(map(list, block))
        assert dataset[number].pairs[15:].tolist() == [list(others[place]) for place in chosen]


def test_originals_and_their_partners():
    assert NearPairs(0.25).originals(8).tolist() == [0, 1, 2, 2, 4, 5, 6, 6]
    assert NearPairs(0.5).originals(6).tolist() == [0, 0, 2, 2, 4, 4]
    assert NearPairs(0.75).originals(8).tolist() == [0, 0, 0, 0, 4, 4, 4, 4]
    assert NearPairs(1.0).originals(4).tolist() == [0, 0, 0, 0]
    assert NearPairs(0.1).originals(20).tolist() == [*range(9), 8, *range(10, 19), 18]
    assert NearPairs().originals(1).tolist() == [0]


@given(st.floats(0, 1), st.integers(1, 200))
def test_every_start_of_a_batch_has_its_fraction_of_partners(fraction, count):
    rows = [row for group in partners_of(NearPairs(fraction), count).values() for row in group]
    for start in range(count + 1):
        assert abs(sum(row < start for row in rows) - fraction * start) <= 1 + 1e-6


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75, 1.0])
def test_copies_are_near_their_originals(reads, fraction):
    near = NearPairs(fraction, edits=0.1)
    data = NWADataModule(str(reads), near=near, **OPTIONS)
    train, dataset = data.split.train.to_strings(), data.train_dataloader().dataset
    partners = partners_of(near, 16)
    for number in range(2):
        batch = dataset[number]
        strings = strings_of(batch)
        assert batch.pairs.shape == (120, 2)
        for k, (first, second) in enumerate(batch.pairs.tolist()):
            assert batch.distance[k] == edit_distance(strings[first], strings[second])
        copied = {row: original for original, rows in partners.items() for row in rows}
        drawn = [string for row, string in enumerate(strings) if row not in copied]
        rows = np.random.default_rng((3, number)).choice(len(train), len(drawn), replace=False)
        assert drawn == [train[row] for row in rows]
        assert len(copied) == min(round(16 * fraction), 15)
        for row, original in copied.items():
            assert 1 <= edit_distance(strings[row], strings[original]) <= 8
            others = [edit_distance(strings[row], other) for other in drawn if other != strings[original]]
            assert min(others, default=99) > edit_distance(strings[row], strings[original])


@pytest.mark.parametrize("pairs", [23, 40, 119])
@pytest.mark.parametrize("block", [0, 3, 6])
def test_near_pairs_are_among_the_pairs_drawn(reads, pairs, block):
    near = NearPairs(0.5)
    wanted = {(original, row) for original, rows in partners_of(near, 16).items() for row in rows}
    assert len(wanted) == 8
    seen, dataset = set(), batches(reads, near, pairs=pairs, nwa_batch_size=block).dataset
    for number in range(300):
        batch = dataset[number]
        assert len(pairs_of(batch)) == pairs == len(batch.pairs)
        assert wanted <= pairs_of(batch)
        assert pairs_of(batch._replace(pairs=batch.nw_pairs)) == {(i, j) for j in range(block) for i in range(j)}
        seen |= pairs_of(batch)
    assert len(seen) == 120  # the others are drawn from all


@pytest.mark.parametrize(("fraction", "expected"), [(0.25, {(2, 3)}), (0.5, {(0, 1), (2, 3), (4, 5)})])
def test_the_nwa_term_gets_its_share_of_near_pairs(reads, fraction, expected):
    near = NearPairs(fraction)
    batch = batches(reads, near).dataset[0]
    strings = strings_of(batch)
    assert {(i, j) for i, j in batch.nw_pairs.tolist() if near.originals(16)[j] == i} == expected
    for number, (first, second) in enumerate(batch.nw_pairs.tolist()):
        rows, columns = len(strings[first]) + 1, len(strings[second]) + 1
        assert np.array_equal(batch.nw[number, :rows, :columns], nw_matrix(strings[first], strings[second]))


def test_a_copy_without_random_edits_gets_one_substitution(reads):
    batch = batches(reads, NearPairs(0.5, edits=0.0)).dataset[0]
    strings = strings_of(batch)
    for row in range(0, 16, 2):
        assert len(strings[row]) == len(strings[row + 1])
        assert sum(one != two for one, two in zip(strings[row], strings[row + 1], strict=True)) == 1


def test_edits_come_at_their_rates():
    """1,500 copies of one read: the mean of uniform rates up to 0.2 is 0.1; a fifth of the edits change the length."""
    parent = "ACGTTGCAAC" * 20
    training = Sequences.from_strings([parent, parent + "ACGT" * 20])
    near = NearPairs(1.0, edits=0.2, indels=0.0)
    rows, generator = np.array([0]), np.random.default_rng(0)
    drawn, originals = training.take(rows), near.originals(1500)
    found = near.join(drawn, rows, originals, training, None, DNA, generator)
    codes = found.padded(200)
    rates = (codes[1:] != codes[0]).mean(axis=1)
    assert (found.lengths == 200).all()
    assert rates.mean() == pytest.approx(0.1, rel=0.06)
    assert rates.max() < 0.35
    moved = NearPairs(1.0, edits=0.2, indels=1.0).join(drawn, rows, originals, training, None, DNA, generator)
    # Lengths spread by as many insertions as deletions at each copy's own rate.
    assert moved.lengths[1:].mean() == pytest.approx(200, abs=1)
    assert moved.lengths[1:].var() == pytest.approx(20, rel=0.15)


@pytest.mark.parametrize("workers", [1, 2])
def test_same_seed_same_partners_for_any_number_of_workers(reads, workers):
    near = NearPairs(0.5)
    alone, helped = batches(reads, near), batches(reads, near, num_workers=workers)
    for epoch in range(2):
        for loader in (alone, helped):
            loader.sampler.set_epoch(epoch)
        found = [list(loader) for loader in (alone, helped)]
        assert len(found[0]) == len(found[1]) > 1
        assert all(same(one, two) for one, two in zip(*found, strict=True))


def test_every_batch_and_every_seed_has_fresh_copies(reads):
    seen = []
    for seed in (0, 1):
        dataset = batches(reads, NearPairs(0.5, edits=0.15)).dataset
        dataset.seed = seed
        seen += [string for number in range(10) for string in strings_of(dataset[number])[1::2]]
    assert len(set(seen)) > 0.97 * len(seen)


def test_validation_test_and_prediction_see_no_copies(reads):
    plain, near = NWADataModule(str(reads), **OPTIONS), NWADataModule(str(reads), near=NearPairs(1.0), **OPTIONS)
    for name in ("val", "test", "predict"):
        one, two = (list(getattr(data, f"{name}_dataloader")()) for data in (plain, near))
        assert len(one) == len(two) > 0
        assert all(same(a, b) for a, b in zip(one, two, strict=True))


def test_variants_get_copies_too(reads):
    """Variants are a fraction of the sequences drawn; near partners are then copies of whatever was drawn."""
    train = set(NWADataModule(str(reads), **OPTIONS).split.train.to_strings())
    augment = Augment(fraction=0.5, edits=1.0)
    strings = strings_of(batches(reads, NearPairs(0.5, edits=0.1), augment=augment).dataset[0])
    drawn = strings[::2]
    assert [string in train for string in drawn] == [False, True] * 4
    for original, copy in zip(drawn, strings[1::2], strict=True):
        assert 1 <= edit_distance(original, copy) <= 8


# Groups


def random_strings(count, seed=0):
    generator = np.random.default_rng(seed)
    return ["".join(generator.choice(list("ACGT"), generator.integers(20, 33))) for _ in range(count)]


@pytest.fixture(scope="module")
def clustered(tmp_path_factory):
    """A table of 120 random reads: clusters of 6, and every tenth read alone in its cluster; and sets."""
    folder = tmp_path_factory.mktemp("clustered")
    rows = []
    for number, string in enumerate(random_strings(120)):
        cluster = f"alone{number}" if number % 10 == 9 else f"c{number // 6}"
        rows.append((cluster, ("train", "train", "train", "val", "test")[number % 5], string))
    table = folder / "reads.tsv"
    table.write_text("cluster\tset\tread\n" + "".join("\t".join(row) + "\n" for row in rows))
    fasta = folder / "reads.fasta"
    fasta.write_text("".join(f">{k} cluster={row[0]} set={row[1]}\n{row[2]}\n" for k, row in enumerate(rows)))
    return {"table": table, "fasta": fasta, "cluster": {row[2]: row[0] for row in rows}}


def check_partners(strings, partners, cluster, train):
    """Every partner is another training read of the cluster, once in the batch, or a copy."""
    members = {}
    for read in train:
        members.setdefault(cluster[read], set()).add(read)
    drawn = {string for row, string in enumerate(strings) if row in partners or string in train}
    kinds = []
    for original, rows in partners.items():
        for row in rows:
            if strings[row] in train:
                assert cluster[strings[row]] == cluster[strings[original]]
                assert strings.count(strings[row]) == 1
                kinds.append("member")
            else:
                assert 1 <= edit_distance(strings[row], strings[original]) <= 8
                kinds.append("copy")
        if len(rows) == 1 and strings[rows[0]] not in train and strings[original] in train:
            others = members[cluster[strings[original]]] - {strings[original]}
            assert not others or others & drawn  # a member was there to take only if it is in the batch already
    return kinds


@pytest.mark.parametrize("file", ["table", "fasta"])
@pytest.mark.parametrize("split_by", ["content", "cluster", "set", "clusters"])
@pytest.mark.parametrize("fraction", [0.25, 0.75])
def test_partners_are_members_of_the_cluster(clustered, file, split_by, fraction):
    near = NearPairs(fraction, edits=0.1, group="cluster")
    data = NWADataModule(str(clustered[file]), near=near, split_by=split_by, **OPTIONS)
    train, dataset = data.split.train.to_strings(), data.train_dataloader().dataset
    kinds = []
    for number in range(20):
        found = strings_of(dataset[number])
        kinds += check_partners(found, partners_of(near, 16), clustered["cluster"], set(train))
    assert kinds.count("member") > 40 if fraction == 0.25 else kinds.count("member") > 70
    assert "copy" in kinds
    assert len(kinds) == 20 * 16 * fraction


def test_every_other_member_is_drawn(clustered):
    """Pairs of cluster members over many batches, compared with all pairs of the training set."""
    near = NearPairs(0.5, group="cluster")
    data = NWADataModule(str(clustered["table"]), near=near, split_by="cluster", **OPTIONS)
    train, cluster = data.split.train.to_strings(), clustered["cluster"]
    pairs = {(one, two) for one in train for two in train if one != two and cluster[one] == cluster[two]}
    seen, dataset = set(), data.train_dataloader().dataset
    for number in range(1000):
        strings = strings_of(dataset[number])
        seen |= set(zip(strings[::2], strings[1::2], strict=True))
    assert pairs <= seen


def test_variants_and_groups(clustered):
    """A variant belongs to no cluster, so its partner is its copy; the cluster of the read it replaced is not used."""
    near = NearPairs(0.5, edits=0.1, group="cluster")
    options = {**OPTIONS, "augment": Augment(1.0, edits=1.0)}
    data = NWADataModule(str(clustered["table"]), near=near, split_by="cluster", **options)
    strings = strings_of(data.train_dataloader().dataset[0])
    assert not set(strings) & set(data.split.train.to_strings())
    for original, copy in zip(strings[::2], strings[1::2], strict=True):
        assert 1 <= edit_distance(original, copy) <= 8


def test_groups_of_cut_reads_and_of_copies(tmp_path):
    """Cut reads are found by what is left of them. Of two copies, the first one says the cluster."""
    reads = [string + "A" * 9 for string in random_strings(60)]
    rows = [(read, f"c{number // 4}") for number, read in enumerate(reads)] + [(reads[0], "late"), (reads[1], "late")]
    (tmp_path / "reads.csv").write_text("read,cluster\n" + "".join(f"{one},{two}\n" for one, two in rows))
    data = NWADataModule(str(tmp_path / "reads.csv"), max_length=28, on_long="cut", **OPTIONS)
    with pytest.warns(UserWarning, match="cut .* of 62 sequences to 28 bases"):
        train = data.split.train.to_strings()
    expected = {}
    for read, cluster in rows:
        expected.setdefault(read[:28], cluster)
    groups = find_groups(data.reads, "cluster")
    for row, read in enumerate(train):
        its = groups.order[groups.starts[row] : groups.starts[row] + groups.sizes[row]]
        assert {train[k] for k in its} == {other for other in train if expected[other] == expected[read]}


def test_reads_that_are_dropped_are_reported_once(tmp_path):
    rows = [f"{read},c{number // 4}" for number, read in enumerate(random_strings(60))]
    (tmp_path / "reads.csv").write_text("\n".join(["read,cluster", *rows, "ACGNACG,c0"]) + "\n")
    options = {**OPTIONS, "on_invalid": "drop", "near": NearPairs(group="cluster")}
    with pytest.warns(UserWarning, match="dropped 1 of 61"):
        data = NWADataModule(str(tmp_path / "reads.csv"), **options)
    groups = data.train_dataloader().dataset.groups  # reads the file again; a second warning would be an error
    assert len(groups.order) == len(data.split.train)


@given(
    st.lists(st.sampled_from("abcde"), min_size=1, max_size=30), st.integers(0, 6), st.floats(0, 1, exclude_max=True)
)
def test_other_members(names, most, turn):
    groups = Groups.of(Packed.of(name.encode() for name in names))
    for row, name in enumerate(names):
        numbers = np.arange(most)
        found = groups.others(np.full(most, row), numbers, np.full(most, turn)).tolist()
        others = {other for other, its in enumerate(names) if its == name} - {row}
        assert len(set(found) & others) == min(most, len(others))
        assert found.count(-1) == max(0, most - len(others))
    assert groups.others(np.array([-1, -1]), np.array([0, 1]), np.zeros(2)).tolist() == [-1, -1]


fractions = st.floats(0, 1)


@given(
    st.sampled_from(sorted(ALPHABETS)),
    st.lists(st.integers(1, 9), min_size=2, max_size=8),
    st.builds(NearPairs, fractions, fractions, fractions),
    st.integers(0, 99),
    st.booleans(),
)
def test_batches_are_whole_sequences_that_fit(name, lengths, near, seed, grouped):
    alphabet = ALPHABETS[name]
    generator = np.random.default_rng(seed)
    training = Sequences.from_strings(
        ["".join(generator.choice(list(alphabet.letters), length)) for length in lengths], alphabet
    )
    before = training.padded().copy()
    groups = Groups.of(Packed.of(bytes([number % 3]) for number in range(len(lengths)))) if grouped else None
    originals = near.originals(len(lengths))
    own = np.flatnonzero(originals == np.arange(len(lengths)))
    rows = generator.permutation(len(lengths))[: len(own)]
    found = near.join(training.take(rows), rows, originals, training, groups, alphabet, generator)
    assert np.array_equal(training.padded(), before)
    assert len(found) == len(lengths)
    assert found.bytes_of(own) == training.bytes_of(rows)
    assert 1 <= found.lengths.min() <= found.max_length <= training.max_length
    letters = np.arange(found.padded().shape[1]) < found.lengths[:, None]
    assert (found.padded()[~letters] == PADDING).all()
    assert FIRST_LETTER <= found.padded()[letters].min() <= found.padded()[letters].max() < alphabet.size
    if groups is None:
        strings = found.to_strings(alphabet)
        assert all(strings[row] != strings[original] for row, original in enumerate(originals) if row != original)


# Runs, files and errors


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fit(model, file, folder, ckpt_path=None):
    seed_everything(7)
    every = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = Trainer(
        max_steps=10,
        max_epochs=-1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[every],
    )
    data = NWADataModule(str(file), near=NearPairs(0.5, group="cluster"), **OPTIONS)
    trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True)
    return model.state_dict()


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_resuming_changes_no_bit(theirs, clustered, tmp_path):
    whole = fit(theirs(), clustered["table"], tmp_path)
    known = torch.load(tmp_path / "step=3.ckpt", weights_only=True)["NWADataModule"]["trained_on"]["batches"]
    assert known["near"] == {"fraction": 0.5, "edits": 0.05, "indels": 0.2, "group": "cluster"}
    for step in (1, 5, 8):
        found = fit(theirs(), clustered["table"], tmp_path, tmp_path / f"step={step}.ckpt")
        assert all(torch.equal(found[name], value) for name, value in whole.items()), step


SMALL = ["--model.encoder.layers=2", "--model.encoder.channels=8", "--model.nwa_weight=null", *QUIET]


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_resumed_run_takes_near_pairs_from_its_checkpoint(clustered, here):
    near = ["--data.near.fraction=0.5", "--data.near.group=cluster", "--data.batch_size=16"]
    main(["fit", str(clustered["table"]), *SMALL, *near, "--trainer.max_steps=4", "--checkpoint.dirpath=."])
    main(["fit", "--ckpt_path=last.ckpt", *QUIET, "--trainer.max_steps=6", "--checkpoint.dirpath=."])
    states = [torch.load(path, weights_only=True) for path in here.glob("*.ckpt")]
    resumed = max(states, key=lambda state: state["global_step"])
    assert resumed["global_step"] == 6
    assert resumed["NWADataModule"]["trained_on"]["batches"]["near"]["group"] == "cluster"
    assert resumed["NWADataModule"]["trained_on"]["batches"]["near"]["fraction"] == 0.5


def test_from_the_command_line(clustered, here, capsys):
    options = [f"--data.data={clustered['fasta']}", "--model.encoder.layers=2", "--trainer.logger=false"]
    assert NWACLI(options, run=False).datamodule.near is None
    (here / "near.yaml").write_text("data: {near: {edits: 0.1}}\n")
    both = [*options, "--config=near.yaml", "--data.near.fraction=0.5", "--data.near.group=cluster"]
    data = NWACLI(both, run=False).datamodule
    dataset = data.train_dataloader().dataset
    assert data.near == dataset.near == NearPairs(fraction=0.5, edits=0.1, group="cluster")
    assert dataset.groups is not None
    assert NWACLI([*both, "--data.near=null"], run=False).datamodule.near is None
    with pytest.raises(SystemExit):
        main(["fit", *both, "--print_config"])
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["data"]["near"]["group"] == "cluster"
    (here / "printed.yaml").write_text(printed)
    main(["fit", "--config=printed.yaml", "--trainer.fast_dev_run=true", "--trainer.enable_progress_bar=false"])


def test_help_explains_the_fields(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--data.near.help"])
    assert stop.value.code == 0
    assert "Fraction of the sequences of a batch that are near partners" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 1.5}, r"near\.fraction: expected a fraction between 0 and 1, found 1\.5; write 25 % as 0\.25"),
        ({"fraction": -0.1}, r"near\.fraction: .* found -0\.1"),
        ({"edits": 5}, r"near\.edits: expected a rate between 0 and 1, found 5"),
        ({"indels": float("nan")}, r"near\.indels: .* found nan"),
    ],
)
def test_bad_values(options, message):
    with pytest.raises(InputError, match=message):
        NearPairs(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"pairs": 22},
            r"pairs: expected at least 23, for the NWA term 15 and for near partners 8, found 22; ask for more",
        ),
        (
            {"pairs": 15, "nwa_batch_size": 0},
            r"expected at least 16, for the NWA term 0 and for near partners 16, found 15",
        ),
    ],
)
def test_pairs_must_have_room_for_near_pairs(reads, options, message):
    near = NearPairs(0.5)
    options = {**OPTIONS, "batch_size": 22 if "nwa_batch_size" not in options else 32, **options}
    with pytest.raises(InputError, match=message):
        NWADataModule(str(reads), near=near, **options)
    room = {**options, "pairs": options["pairs"] + 1}
    assert batches(reads, near, **room).dataset[0].pairs.shape == (room["pairs"], 2)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("table", "near.group: {path}: expected one column named family, found: cluster, set, read; rename or add it"),
        ("fasta", "near.group: {path}: record 1 (0): expected one attribute family=VALUE in the header, found"),
        (
            "lines",
            "near.group: {path}: expected a table with a column family, found one sequence per line; add a header",
        ),
        ("tree:60x40", "near.group: tree:60x40: expected a file with a column family, found a simulated set"),
    ],
)
def test_an_unknown_column(clustered, reads, file, message):
    path = {**clustered, "lines": reads}.get(file, file)
    data = NWADataModule(str(path), near=NearPairs(group="family"), **OPTIONS)
    with pytest.raises(InputError, match=re.escape(message.format(path=path))):
        data.train_dataloader()


def test_bad_options_end_in_one_line(clustered, reads, here, refused):
    unknown = [f"--data.data={clustered['table']}", "--data.near.group=family"]
    line = refused("fit", *unknown, *SMALL, "--trainer.max_steps=2")
    assert line.startswith(f"near.group: {clustered['table']}: expected one column named family, found")
    assert refused("fit", str(reads), "--data.near.fraction=2").startswith("near.fraction: expected a fraction between")
    assert "--data.near.groups" in refused("fit", str(reads), "--data.near.groups=x", *QUIET)
