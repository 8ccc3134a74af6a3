"""An interrupted and resumed run ends with the weights of the run that was not interrupted."""

import os
import random
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.environments import SLURMEnvironment
from torch import nn

from nwa_lightning import NWACallback, NWADataModule, NWAMixin, NWAWeightSchedule
from nwa_lightning.data.rng_state import random_state, set_random_state

# A resumed run writes where the interrupted one wrote.
pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")

STEPS = 14
HEAD = {"embedding_dim": 16, "max_length": 32}


@pytest.fixture
def noisy(theirs):
    class Noisy(theirs):
        """Uses random numbers in its steps: of torch, NumPy and Python."""

        def __init__(self):
            super().__init__()
            self.encoder.append(nn.Dropout(0.2))

        def training_step(self, batch, batch_idx):
            scale = 1 + 0.1 * (random.random() + np.random.random())  # noqa: NPY002
            return scale * super().training_step(batch, batch_idx)

    return Noisy


def fit(noisy, reads, folder, way, ckpt_path=None, stop=STEPS, **options):
    seed_everything(7)
    if way == "mixin":
        model = type("NoisyWithNWA", (NWAMixin, noisy), {})(nwa_embedding_dim=16, nwa_max_length=32, nwa_weight=1e-2)
        callbacks = [NWAWeightSchedule(warmup=4, hold=4, decay=8)]
    else:
        model = noisy()
        callbacks = [NWACallback(weight=1e-2, **HEAD), NWAWeightSchedule(warmup=4, hold=4, decay=8)]
    every = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = Trainer(
        max_steps=stop,
        max_epochs=-1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[*callbacks, every],
        **options,
    )
    data = NWADataModule(str(reads), batch_size=16, nwa_batch_size=6, num_workers=options.pop("num_workers", 0))
    trainer.fit(model, data, ckpt_path=ckpt_path)
    assert trainer.global_step == stop
    weights = model.state_dict()
    if way == "callback":
        weights |= {f"nwa.{name}": value for name, value in callbacks[0].nwa.state_dict().items()}
    return weights


@pytest.mark.parametrize("way", ["mixin", "callback"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resuming_from_any_step_changes_no_bit(noisy, reads, tmp_path, way, accumulate):
    options = {"accumulate_grad_batches": accumulate}
    whole = fit(noisy, reads, tmp_path, way, **options)
    assert len(list(tmp_path.glob("*.ckpt"))) == STEPS
    for step in (1, 3, 5, 6, 9, 12, 13):  # an epoch has 6 batches
        found = fit(noisy, reads, tmp_path, way, ckpt_path=tmp_path / f"step={step}.ckpt", **options)
        assert list(found) == list(whole)
        for name, value in whole.items():
            assert torch.equal(found[name], value), f"{name} after a resume from step {step}"


def test_a_killed_run_resumes(noisy, reads, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, signal, sys
            import torch
            from lightning.pytorch import Callback
            from nwa_lightning.cli.main import main

            class Kill(Callback):
                def on_train_batch_end(self, trainer, *_):
                    if trainer.global_step == 8:
                        os.kill(os.getpid(), signal.SIGKILL)

            Kill.__module__ = "run"
            sys.modules["run"] = sys.modules["__main__"]
            main(["fit", "--data.data={reads}", "--data.batch_size=16", "--data.nwa_batch_size=6", "--data.pairs=null",
                "--trainer.max_steps=12", "--trainer.logger=false", "--trainer.enable_progress_bar=false",
                "--trainer.enable_model_summary=false", "--trainer.default_root_dir={tmp_path}",
                "--checkpoint.every_n_train_steps=1", "--checkpoint.monitor=null", "--checkpoint.save_top_k=1",
                *sys.argv[1:]])
            """
        )
    )

    def run(folder, *more):
        return subprocess.run(
            [sys.executable, script, f"--checkpoint.dirpath={tmp_path / folder}", *more],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    whole = run("whole")
    assert whole.returncode == 0, whole.stderr
    killed = run("cut", "--trainer.callbacks+=run.Kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = run("cut", "--ckpt_path=last")
    assert resumed.returncode == 0, resumed.stderr
    expected, found = (torch.load(tmp_path / folder / "last.ckpt") for folder in ("whole", "cut"))
    assert found["global_step"] == expected["global_step"] == 12
    for name, value in expected["state_dict"].items():
        assert torch.equal(found["state_dict"][name], value), name


def test_sigterm_leaves_a_checkpoint_to_resume_from(noisy, reads, tmp_path):
    class Terminate(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 5:
                os.kill(os.getpid(), signal.SIGTERM)

    whole = fit(noisy, reads, tmp_path / "whole", "callback")
    seed_everything(7)
    model, nwa = noisy(), NWACallback(weight=1e-2, **HEAD)
    every = ModelCheckpoint(tmp_path / "cut", filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = Trainer(
        max_steps=STEPS,
        max_epochs=-1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[nwa, NWAWeightSchedule(warmup=4, hold=4, decay=8), every, Terminate()],
    )
    with pytest.raises(SystemExit):
        trainer.fit(model, NWADataModule(str(reads), batch_size=16, nwa_batch_size=6))
    assert not hasattr(model, "nwa"), "the callback leaves the model as it was found"
    last = max((tmp_path / "cut").glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    found = fit(noisy, reads, tmp_path / "cut", "callback", ckpt_path=last)
    for name, value in whole.items():
        assert torch.equal(found[name], value), name


def test_a_requeued_slurm_job_goes_on(noisy, reads, tmp_path, monkeypatch):
    """The signal that SLURM sends before the time is up saves a checkpoint, and the next start finds it by itself."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho $* >> {tmp_path}/requeued\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in (("JOB_ID", 7), ("JOB_NAME", "train"), ("NTASKS", 1), ("LOCALID", 0), ("PROCID", 0)):
        monkeypatch.setenv(f"SLURM_{name}", str(value))

    class Time(Callback):
        """Is up at step 8."""

        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 8:
                os.kill(os.getpid(), signal.SIGUSR1)
                assert (tmp_path / "jobs" / "hpc_ckpt_1.ckpt").exists()
                raise ZeroDivisionError("the machine is taken away")

    def start(folder, *more):
        seed_everything(7)
        model, nwa = noisy(), NWACallback(weight=1e-2, **HEAD)
        trainer = Trainer(
            default_root_dir=tmp_path / folder,
            plugins=[SLURMEnvironment(requeue_signal=signal.SIGUSR1)],
            max_steps=12,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            callbacks=[nwa, NWAWeightSchedule(warmup=4), *more],
        )
        trainer.fit(model, NWADataModule(str(reads), batch_size=16, nwa_batch_size=6))
        return model.state_dict() | nwa.nwa.state_dict()

    whole = start("whole")
    with pytest.raises(ZeroDivisionError):
        start("jobs", Time())
    assert (tmp_path / "requeued").read_text().split() == ["requeue", "7"]
    found = start("jobs")
    for name, value in whole.items():
        assert torch.equal(found[name], value), name


def test_random_states_survive_a_file(tmp_path):
    state = random_state()
    torch.save(state, tmp_path / "state.pt")
    expected = torch.rand(3).tolist(), np.random.random(3).tolist(), random.random()  # noqa: NPY002
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert (torch.rand(3).tolist(), np.random.random(3).tolist(), random.random()) == expected  # noqa: NPY002
