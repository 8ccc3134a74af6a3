import random
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from matplotlib.figure import Figure
from torch import nn

from nwa_lightning import (
    AttentionMapLogger,
    EditDistanceModel,
    InputError,
    NeuroSEEDCNN,
    NWACallback,
    NWADataModule,
    NWAMixin,
    pair_batch,
)
from nwa_lightning.callbacks import map_logger
from nwa_lightning.cli.main import main
from nwa_lightning.data.datasets import FixedPairs

HEAD = {"embedding_dim": 16, "max_length": 32}


def small_model(**options):
    return EditDistanceModel(NeuroSEEDCNN(32, embedding_dim=16, channels=4, layers=2), **options)


def fit(model, data, folder, *callbacks, epochs=2, ckpt_path=None, **options):
    defaults = {
        "max_epochs": epochs,
        "accelerator": "cpu",
        "logger": False,
        "default_root_dir": folder,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_train_batches": 2,
        "log_every_n_steps": 1,
    }
    trainer = Trainer(callbacks=list(callbacks), **{**defaults, **options})
    trainer.fit(model, data, ckpt_path=ckpt_path)
    return trainer


def files(folder):
    return sorted(path.name for path in (folder / "attention_maps").glob("*"))


def expected_files(*steps, pairs=2, predictions=True):
    names = [f"step={step}-pair={number}.png" for step in steps for number in range(pairs)]
    return sorted(names + [f"step={step}-predictions.png" for step in steps if predictions])


@pytest.fixture
def drawn(monkeypatch):
    """What each attention figure would have been drawn from; empty pictures save time."""
    calls = []

    def record(attention, first, second, **options):
        calls.append((attention, first, second, options))
        return Figure(figsize=(1, 1))

    monkeypatch.setattr(map_logger, "attention_figure", record)
    monkeypatch.setattr(map_logger, "prediction_figure", lambda predicted, distance, target: Figure(figsize=(1, 1)))
    return calls


def test_every_nth_validation_and_the_end_are_drawn(data, tmp_path, drawn):
    fit(small_model(), data, tmp_path, AttentionMapLogger(every_n_epochs=2), epochs=5)
    assert files(tmp_path) == expected_files(4, 8, 10)


def test_an_end_that_is_drawn_already_is_not_drawn_again(data, tmp_path, drawn):
    fit(small_model(), data, tmp_path, AttentionMapLogger(every_n_epochs=1, pairs=3), epochs=2)
    assert files(tmp_path) == expected_files(2, 4, pairs=3)
    assert len(drawn) == 6


def test_nothing_is_drawn_in_the_sanity_check_or_outside_of_fit(data, tmp_path, drawn):
    seen = []

    class Count(Callback):
        def on_sanity_check_end(self, trainer, pl_module):
            seen.append(len(drawn))

    model = small_model()
    trainer = fit(model, data, tmp_path, AttentionMapLogger(every_n_epochs=1), Count(), epochs=1)
    assert seen == [0]
    assert len(drawn) == 2
    trainer.validate(model, data, verbose=False)
    assert len(drawn) == 2


def test_a_fast_dev_run_leaves_no_files(data, tmp_path, drawn):
    fit(small_model(), data, tmp_path, AttentionMapLogger(every_n_epochs=1), fast_dev_run=True)
    assert len(drawn) == 2
    assert not list(tmp_path.iterdir())


def test_the_same_related_and_unrelated_pair_each_time(data, tmp_path, drawn):
    fit(small_model(), data, tmp_path, AttentionMapLogger(every_n_epochs=1), epochs=3)
    shown = [(first, second, options["names"]) for _, first, second, options in drawn]
    assert shown[:2] == shown[2:4] == shown[4:]
    assert not np.array_equal(drawn[0][0], drawn[2][0])  # the model has learnt in between
    batch = FixedPairs(data.split.val, group=data.val_group, all_pairs=False)[0]
    val = data.split.val
    letters = {f"sequence {name}": data.alphabet.decode(row) for name, row in zip(val.names, val.padded(), strict=True)}
    distances = []
    for first, second, names in shown[:2]:
        assert (first, second) == (letters[names[0]], letters[names[1]])
        place = [letters[f"sequence {name}"] for name in val.names].index
        rows = torch.tensor([place(first), place(second)])
        distances.append(int(batch.distance[(batch.pairs == rows).all(dim=1)]))
    low, high = batch.distance.float().quantile(torch.tensor([0.25, 0.75])).tolist()
    assert distances[0] <= low
    assert distances[1] >= high


def test_pairs_are_spread_over_the_order_of_distances():
    distance = torch.arange(101).flip(0)
    assert distance[map_logger._spread(distance, 2)].tolist() == [5, 95]
    assert distance[map_logger._spread(distance, 4)].tolist() == [5, 35, 65, 95]
    assert distance[map_logger._spread(distance, 1)].tolist() == [5]
    assert map_logger._spread(torch.tensor([7, 3, 5]), 9) == [1, 2, 0]


def test_more_pairs_than_there_are(reads, tmp_path, drawn):
    data = NWADataModule(str(reads), batch_size=16, nwa_batch_size=6, val_group=2, val_size=4)
    fit(small_model(), data, tmp_path, AttentionMapLogger(pairs=5), epochs=1)
    assert files(tmp_path) == expected_files(2, pairs=1)


def test_the_map_is_the_models(data, tmp_path, drawn):
    model = small_model(nwa_temperature=2.0)
    fit(model, data, tmp_path, AttentionMapLogger(), epochs=1)
    attention, first, second, options = drawn[0]
    codes = [data.alphabet.encode(sequence) for sequence in (first, second)]
    tokens = torch.zeros(2, 33, dtype=torch.int64)
    for row, code in zip(tokens, codes, strict=True):
        row[0] = 1
        row[1 : len(code) + 1] = torch.from_numpy(code.astype(np.int64))
    with torch.no_grad():
        expected = model.eval().nwa_attention(pair_batch([first, second], max_length=32)._replace(tokens=tokens))[0]
    np.testing.assert_allclose(attention, expected[: len(first) + 1, : len(second) + 1], rtol=1e-4, atol=1e-6)
    assert options["temperature"] == 2.0
    assert options["scores"] == data.scores


class Random(nn.Module):
    """An encoder that draws random numbers also in evaluation, with a part that is always in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.inner = NeuroSEEDCNN(32, embedding_dim=16, channels=4, layers=2)
        self.embedding_dim, self.max_length = 16, 32
        self.frozen = nn.Sequential(nn.BatchNorm1d(16), nn.Dropout(0.5))

    def forward(self, tokens):
        self.frozen.eval()
        drawn = torch.rand(1).item() + np.random.rand() + random.random()  # noqa: NPY002
        return self.frozen(self.inner(tokens)) + 1e-3 * drawn


def test_training_is_bitwise_the_same(reads, tmp_path):
    found = []
    for callbacks in ([], [AttentionMapLogger(every_n_epochs=1)]):
        seed_everything(0, verbose=False)
        model = EditDistanceModel(Random())
        data = NWADataModule(str(reads), batch_size=16, nwa_batch_size=6, val_group=10)
        trainer = fit(model, data, tmp_path, *callbacks, epochs=2)
        drawn = torch.rand(4), np.random.rand(4), random.random()  # noqa: NPY002
        found.append((model.state_dict(), drawn, trainer.logged_metrics, trainer.callback_metrics))
    assert files(tmp_path) == expected_files(2, 4)
    plain, logged = found
    for name, value in plain[0].items():
        assert torch.equal(logged[0][name], value), name
    assert torch.equal(logged[1][0], plain[1][0])
    assert np.array_equal(logged[1][1], plain[1][1])
    assert logged[1][2] == plain[1][2]
    assert logged[2] == plain[2]
    assert logged[3] == plain[3]


def test_modes_gradients_and_graph_are_left_alone(data, tmp_path):
    model = EditDistanceModel(Random())
    modes, gradients = [], []

    class Modes(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            modes.append({name: part.training for name, part in pl_module.named_modules()})

        def on_train_end(self, trainer, pl_module):
            modes.append({name: part.training for name, part in pl_module.named_modules()})
            gradients.append([parameter.grad for parameter in pl_module.parameters()])

    maps = AttentionMapLogger(every_n_epochs=1)
    fit(model, data, tmp_path, Modes(), maps, Modes(), epochs=2)
    assert modes[-1] == modes[-2]  # before and after the last picture
    assert modes[2] == modes[3]
    assert not modes[-1]["encoder.frozen"]
    assert modes[-1]["encoder.inner"]
    for before, after in zip(*gradients, strict=True):
        assert before is after

    model.train()
    model.encoder.frozen.eval()
    with map_logger.eval_no_grad(model):
        assert not any(part.training for part in model.modules())
        assert not model.encoder(torch.ones(2, 33, dtype=torch.int64)).requires_grad
    assert model.encoder.inner.training
    assert not model.encoder.frozen[0].training
    with pytest.raises(ValueError, match="inside"), map_logger.eval_no_grad(model):
        raise ValueError("inside")
    assert model.training


def test_beside_the_callback_and_without_predictions(theirs, data, tmp_path):
    """A plain model has no validation: the end is drawn; it predicts no edits: there is no picture of them."""
    for order, callbacks in enumerate(
        ([NWACallback(**HEAD), AttentionMapLogger()], [AttentionMapLogger(), NWACallback(**HEAD)])
    ):
        fit(theirs(), data, tmp_path / str(order), *callbacks, epochs=1)
        assert files(tmp_path / str(order)) == expected_files(2, predictions=False)


def test_a_plain_model_with_the_mixin(theirs, data, tmp_path):
    with_nwa = type("WithNWA", (NWAMixin, theirs), {})
    model = with_nwa(nwa_embedding_dim=16, nwa_max_length=32)
    fit(model, data, tmp_path, AttentionMapLogger(), epochs=1)
    assert files(tmp_path) == expected_files(2, predictions=False)


def test_files_lie_beside_those_of_the_logger(data, tmp_path):
    logger = CSVLogger(tmp_path)
    trainer = fit(small_model(), data, tmp_path / "other", AttentionMapLogger(), epochs=1, logger=logger)
    assert files(tmp_path / "lightning_logs" / "version_0") == expected_files(2)
    assert trainer.log_dir == logger.log_dir


def test_a_resumed_run_goes_on_counting(reads, tmp_path, drawn):
    def data():
        return NWADataModule(str(reads), batch_size=16, nwa_batch_size=6, val_group=10)

    trainer = fit(small_model(), data(), tmp_path, AttentionMapLogger(every_n_epochs=2), epochs=1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    maps = AttentionMapLogger(every_n_epochs=2)
    fit(small_model(), data(), tmp_path / "resumed", maps, epochs=3, ckpt_path=tmp_path / "one.ckpt")
    assert files(tmp_path / "resumed") == expected_files(4, 6)


def test_a_model_that_diverged_is_drawn(data, tmp_path):
    model = small_model()

    class Break(Callback):
        def on_train_end(self, trainer, pl_module):
            for parameter in pl_module.parameters():
                parameter.data.fill_(float("nan"))

    fit(model, data, tmp_path, Break(), AttentionMapLogger(), epochs=1)
    assert files(tmp_path) == expected_files(2)


@pytest.mark.parametrize("name", ["every_n_epochs", "pairs"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(InputError, match=f"{name}: expected at least 1, found 0"):
        AttentionMapLogger(**{name: 0})


def test_what_cannot_be_drawn_is_refused_before_training(theirs, data, tmp_path):
    with pytest.raises(RuntimeError, match="Expected a model with a head but it was built with nwa_weight=None"):
        fit(small_model(nwa_weight=None), data, tmp_path, AttentionMapLogger())
    with pytest.raises(RuntimeError, match="Expected a model with NWA but Theirs is no NWAMixin"):
        fit(theirs(), data, tmp_path, AttentionMapLogger())
    message = r"Expected an NWADataModule but got none; .*call trainer.fit\(model, datamodule=NWADataModule"
    with pytest.raises(RuntimeError, match=message):
        fit(theirs(), data.train_dataloader(), tmp_path, AttentionMapLogger(), NWACallback(**HEAD))


def test_on_the_command_line(reads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.limit_train_batches=2"]
    options.append("--trainer.val_check_interval=1.0")  # else every tenth of the run
    encoder = ["--model.encoder.layers=2", "--model.encoder.channels=4"]
    maps = ["--trainer.callbacks+=AttentionMapLogger", "--trainer.callbacks.every_n_epochs=1"]
    main(["fit", f"--data.data={reads}", "--data.batch_size=16", "--trainer.max_steps=4", *options, *encoder, *maps])
    assert files(tmp_path) == expected_files(2, 4)


def test_two_processes_draw_once_and_nobody_waits(reads, tmp_path):
    """A picture that asked the other process for anything would wait for ever."""
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            sys.path[:0] = [{str(Path(__file__).parents[1])!r}, {str(Path(__file__).parent)!r}]
            from pathlib import Path
            import torch
            from lightning.pytorch.loggers import CSVLogger
            from nwa_lightning import AttentionMapLogger, NWADataModule
            from test_map_logger import fit, small_model

            data = NWADataModule({str(reads)!r}, batch_size=16, nwa_batch_size=6, val_group=10)
            options = dict(devices=2, strategy="ddp", logger=CSVLogger({str(tmp_path)!r}, name="two"))
            fit(small_model(), data, Path({str(tmp_path)!r}), AttentionMapLogger(every_n_epochs=1), **options)
            torch.distributed.destroy_process_group()
            """
        )
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "two" / "version_0") == expected_files(2, 4)
    assert len(list(tmp_path.rglob("*.png"))) == 6
