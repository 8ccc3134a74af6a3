"""What ``predict`` writes: the right rows in the right places, all of them or no file of that name."""

import resource
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer

from nwa_lightning import EditDistanceModel, InputError, NeuroSEEDCNN, NWADataModule
from nwa_lightning.callbacks.embedding_writer import EmbeddingWriter

# Lightning looks for indices of the batches, which the writer does not need.
pytestmark = pytest.mark.filterwarnings("ignore:Couldn't infer the batch indices")


class Model(EditDistanceModel):
    """Predicts what a test says."""

    change = None

    def predict_step(self, batch, batch_idx):
        embeddings = super().predict_step(batch, batch_idx)
        return embeddings if self.change is None else self.change(embeddings, batch_idx)


def model_of(change=None):
    torch.manual_seed(0)
    model = Model(NeuroSEEDCNN(32, channels=8, layers=2, embedding_dim=16), nwa_weight=None)
    model.change = change
    return model


def predict(folder, data, model=None, *callbacks, **options):
    model = model_of() if model is None else model
    keep = options.pop("return_predictions", False)
    trainer = Trainer(
        callbacks=[EmbeddingWriter(str(folder)), *callbacks],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    return trainer, trainer.predict(model, datamodule=data, return_predictions=keep)


def written(folder):
    return np.load(folder / "embeddings.npy"), (folder / "names.txt").read_text().splitlines()


def encoded(data, rows=slice(None)):
    """The embeddings of all sequences in one call of the encoder."""
    padded = data.sequences.padded().astype(np.int64)
    tokens = torch.from_numpy(np.pad(padded, ((0, 0), (1, 0)), constant_values=1))[rows]
    with torch.inference_mode():
        return model_of().eval().encode(tokens).numpy()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("size", [7, 10, 40, 120, 300], ids=lambda size: f"batches of {size}")
def test_every_embedding_is_in_its_place(reads, tmp_path, size, capsys):
    data = NWADataModule(str(reads), test_group=size)
    trainer, returned = predict(tmp_path / "new" / "found", data)
    embeddings, names = written(tmp_path / "new" / "found")
    assert embeddings.dtype == np.float32
    assert embeddings.flags.c_contiguous
    np.testing.assert_allclose(embeddings, encoded(data), rtol=1e-5, atol=1e-6)
    assert names == [str(number) for number in range(1, 121)]
    assert names_in(tmp_path / "new" / "found") == ["embeddings.npy", "names.txt"]
    assert "written: 120 embeddings to " in capsys.readouterr().out
    assert returned is None
    assert not trainer.predict_loop._predictions


def test_duplicates_and_long_names_are_kept(tmp_path):
    first, second = "one" * 40_000, "ünë"
    (tmp_path / "reads.fa").write_text(f">{first}\nACGT\n>{second} more\nAAGT\n>{second}\nACGT\n")
    data = NWADataModule(str(tmp_path / "reads.fa"), test_group=2, max_length=32)
    predict(tmp_path, data)
    embeddings, names = written(tmp_path)
    assert names == [first, second, second]
    np.testing.assert_allclose(embeddings[0], embeddings[2], rtol=1e-6)
    assert not np.allclose(embeddings[0], embeddings[1], rtol=1e-6)


def test_a_line_break_in_a_name_does_not_shift_the_others(tmp_path):
    (tmp_path / "reads.csv").write_text('name,sequence\n"a\nb",ACGT\nc,AAGT\n')
    predict(tmp_path, NWADataModule(str(tmp_path / "reads.csv"), max_length=32))
    assert written(tmp_path)[1] == ["a b", "c"]


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"limit_predict_batches": 3}, 21),
        ({"limit_predict_batches": 0.5}, 63),
        ({"fast_dev_run": 2}, 14),
        ({"limit_predict_batches": 1000}, 120),
        ({"overfit_batches": 1}, 120),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else str(value),
)
def test_a_limited_run_writes_what_it_computed(reads, tmp_path, options, rows):
    data = NWADataModule(str(reads), test_group=7)
    predict(tmp_path, data, **options)
    embeddings, names = written(tmp_path)
    assert names == [str(number) for number in range(1, rows + 1)]
    np.testing.assert_allclose(embeddings, encoded(data, slice(rows)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_other_floats_become_float32(data, tmp_path, dtype):
    predict(tmp_path, data, model_of(lambda embeddings, number: embeddings.to(dtype)))
    expected = torch.from_numpy(encoded(data)).to(dtype).float().numpy()
    np.testing.assert_allclose(written(tmp_path)[0], expected, rtol=1e-2, atol=1e-2)


def test_what_is_not_contiguous_is_written_right(data, tmp_path):
    predict(tmp_path, data, model_of(lambda embeddings, number: embeddings.flip(1).t().contiguous().t()))
    np.testing.assert_allclose(written(tmp_path)[0], encoded(data)[:, ::-1], rtol=1e-5, atol=1e-6)


def test_kept_predictions_are_returned_as_well(data, tmp_path):
    _, returned = predict(tmp_path, data, return_predictions=True)
    np.testing.assert_array_equal(torch.cat(returned).numpy(), written(tmp_path)[0])


def test_a_trainer_predicts_again(data, reads, tmp_path):
    trainer, _ = predict(tmp_path, data, model_of(lambda embeddings, number: 2 * embeddings))
    trainer.predict(model_of(), datamodule=NWADataModule(str(reads), test_group=50), return_predictions=False)
    np.testing.assert_allclose(written(tmp_path)[0], encoded(data), rtol=1e-5, atol=1e-6)


SCRIPT = """
import sys, warnings
import torch
from lightning.pytorch import Trainer
from nwa_lightning import EditDistanceModel, NeuroSEEDCNN, NWADataModule
from nwa_lightning.callbacks.embedding_writer import EmbeddingWriter

warnings.simplefilter("ignore")
torch.manual_seed(0)
model = EditDistanceModel(NeuroSEEDCNN(32, channels=8, layers=2, embedding_dim=16), nwa_weight=None)
reads, *sizes = sys.argv[1:]
for size in sizes:
    writer = EmbeddingWriter(f"two{size}")
    trainer = Trainer(
        callbacks=[writer], accelerator="cpu", strategy="ddp", devices=2, logger=False, enable_progress_bar=False
    )
    trainer.predict(model, datamodule=NWADataModule(reads, test_group=int(size)), return_predictions=False)
torch.distributed.destroy_process_group()
"""


def test_two_processes_write_what_one_does(reads, tmp_path):
    """Of five batches, and of one that leaves nothing to the second process."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", str(reads), "24", "300"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written: 120 embeddings") == 2
    for size in (24, 300):
        predict(tmp_path / "one", NWADataModule(str(reads), test_group=size))
        for name in ("embeddings.npy", "names.txt"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / f"two{size}" / name).read_bytes()


class Stop(Callback):
    """Interrupts prediction after some batches."""

    def __init__(self, error):
        self.error = error

    def on_predict_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 3:
            raise self.error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt], ids=["error", "Ctrl-C"])
def test_an_interrupted_run_leaves_no_finished_file(data, tmp_path, error):
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises((RuntimeError, SystemExit)):
            predict(tmp_path, data, None, Stop(error))
    finally:
        signal.signal(signal.SIGINT, handler)
    assert names_in(tmp_path) == ["embeddings.npy.part"]
    predict(tmp_path, data)
    assert names_in(tmp_path) == ["embeddings.npy", "names.txt"]
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    with pytest.raises(RuntimeError):
        predict(tmp_path, data, model_of(lambda embeddings, number: 2 * embeddings), Stop(RuntimeError))
    assert before == [(tmp_path / name).read_bytes() for name in ("embeddings.npy", "names.txt")]


@pytest.mark.filterwarnings("ignore:predict returned None")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda embeddings, number: None, "each of the 10 sequences of the batch, found None; return the embeddings"),
        (lambda embeddings, number: (embeddings, number), "found tuple"),
        (lambda embeddings, number: embeddings.numpy(), "found ndarray"),
        (lambda embeddings, number: embeddings.long(), r"found a tensor of torch\.int64"),
        (lambda embeddings, number: embeddings[:-1], r"found a tensor of shape \(9, 16\)"),
        (lambda embeddings, number: embeddings.mean(1), r"found a tensor of shape \(10,\)"),
        (lambda embeddings, number: embeddings[..., None], r"found a tensor of shape \(10, 16, 1\)"),
        (
            lambda embeddings, number: embeddings[:, number:],
            "16 numbers for each sequence, as in the first batch, found 15 in batch 1;",
        ),
    ],
    ids=["none", "tuple", "numpy", "integers", "too few rows", "numbers", "three dimensions", "another width"],
)
def test_a_wrong_predict_step_ends_in_one_line(data, tmp_path, change, message):
    with pytest.raises(InputError, match=f"^predict_step: expected (.* )?{message}") as error:
        predict(tmp_path, data, model_of(change))
    assert "\n" not in str(error.value)
    assert names_in(tmp_path) == ["embeddings.npy.part"]


def test_a_folder_that_cannot_be_written(data, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / "embeddings.npy.part").mkdir(parents=True)
    for folder, message in (("file", "File exists"), ("file/in", "Not a directory"), ("taken", "Is a directory")):
        with pytest.raises(InputError, match=f"{folder}: expected a folder that can be written, .*{message}"):
            predict(tmp_path / folder, data)


def test_a_full_disk_is_told_before_the_work(data, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 120 * 16 * 4 - 1}))
    with pytest.raises(InputError, match=f"{tmp_path}: .*found: No space left on device; free some space"):
        predict(tmp_path, data)


def test_a_disk_that_fills_up_is_told(data, tmp_path):
    """The system refuses to write past a size, as it would on a full disk."""

    class Fill(Callback):
        def on_predict_batch_end(self, *_):
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(InputError, match=f"{tmp_path}: expected .* with space .*found: File too large; free"):
            predict(tmp_path, data, None, Fill())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names_in(tmp_path) == ["embeddings.npy.part"]


def test_a_file_that_is_gone_is_told(data, tmp_path):
    class Remove(Callback):
        def on_predict_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
            if batch_idx == 2:
                (tmp_path / "embeddings.npy.part").unlink()

    with pytest.raises(InputError, match="expected the file that the first process made, found none; name a folder"):
        predict(tmp_path, data, None, Remove())


def test_other_data_modules_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected an NWADataModule, found LightningDataModule; call"):
        predict(tmp_path, LightningDataModule())
    trainer = Trainer(callbacks=[EmbeddingWriter(str(tmp_path))], accelerator="cpu", logger=False)
    with pytest.raises(InputError, match="expected an NWADataModule, found none; call"):
        trainer.predict(model_of(), dataloaders=[], return_predictions=False)


def test_a_fit_writes_nothing(data, tmp_path):
    trainer = Trainer(
        callbacks=[EmbeddingWriter(str(tmp_path / "no"))],
        accelerator="cpu",
        fast_dev_run=True,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    trainer.fit(model_of(), datamodule=data)
    assert not (tmp_path / "no").exists()


def test_the_memory_does_not_grow_with_the_batches(tmp_path):
    """Of 20 MB of embeddings, none is held."""
    (tmp_path / "reads.txt").write_text("ACGTACGT\nACGTTCGT\n" * 2500)
    data = NWADataModule(str(tmp_path / "reads.txt"), test_group=50)

    class Peak(Callback):
        def on_predict_start(self, *_):
            tracemalloc.start()

        def on_predict_end(self, *_):
            self.peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()

    peak = Peak()
    model = model_of(lambda embeddings, number: torch.from_numpy(np.zeros((50, 1024), dtype=np.float32)))
    predict(tmp_path, data, model, peak)  # tracemalloc sees the memory of NumPy
    assert written(tmp_path)[0].shape == (5000, 1024)
    assert peak.peak < 3_000_000
