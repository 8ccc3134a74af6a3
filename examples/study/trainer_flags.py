"""Try the flags of the Trainer with NWA, by inheritance and by the callback, and write the results to a table.

Run it with ``python examples/study/trainer_flags.py``; it takes a few minutes and writes examples/results/trainer_flags.md.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.progress import track

HERE = Path(__file__).parent

#: Little data and few steps: what is tried is whether the parts fit.
SMALL = (
    "--data.train_size=96 --data.val_size=60 --data.test_size=60 --data.batch_size=16 --trainer.max_steps=12 "
    "--trainer.log_every_n_steps=1 --trainer.enable_progress_bar=false"
)
WAYS = {
    "mixin": "--model=EditDistanceModel",
    "callback": "--model=existing_model.Siamese --trainer.callbacks+=NWACallback --checkpoint.monitor=null",
}

CPUS = "--trainer.accelerator=cpu --trainer.devices=2"

#: What is tried, and the arguments of ``nwa fit`` that try it.
FLAGS = {
    "nothing": "",
    "ddp, two processes": f"--trainer.strategy=ddp {CPUS}",
    "ddp_find_unused_parameters_true": f"--trainer.strategy=ddp_find_unused_parameters_true {CPUS}",
    "fsdp": "--trainer.strategy=fsdp --trainer.devices=2",
    "bf16-mixed": "--trainer.precision=bf16-mixed",
    "64-true": "--trainer.precision=64-true",
    "gradient accumulation": "--trainer.accumulate_grad_batches=3",
    "gradient clipping": "--trainer.gradient_clip_val=0.5",
    "overfit_batches": "--trainer.overfit_batches=2",
    "overfit_batches under ddp": f"--trainer.overfit_batches=2 --trainer.strategy=ddp {CPUS}",
    "fast_dev_run": "--trainer.fast_dev_run=true",
    "limit_train_batches, limit_val_batches": "--trainer.limit_train_batches=3 --trainer.limit_val_batches=1",
    "val_check_interval": "--trainer.val_check_interval=2",
    "LearningRateFinder": "--trainer.callbacks+=LearningRateFinder --trainer.callbacks.num_training_steps=40",
    "EarlyStopping": "--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor=train/nwa_loss",
    "StochasticWeightAveraging": "--trainer.callbacks+=StochasticWeightAveraging --trainer.callbacks.swa_lrs=0.001 "
    "--trainer.callbacks.swa_epoch_start=1 --trainer.max_steps=-1 --trainer.max_epochs=3",
    "workers for the data": "--data.num_workers=2",
    "detect_anomaly": "--trainer.detect_anomaly=true",
    "deterministic": "--trainer.deterministic=true",
    "profiler": "--trainer.profiler=simple",
}


def compiled(way: str) -> None:
    """Run the row of ``torch.compile``, for which there is no flag."""
    import torch
    from existing_model import Siamese, SiameseWithNWA
    from lightning.pytorch import Trainer
    from lightning.pytorch.loggers import CSVLogger

    from nwa_lightning import NWACallback, NWADataModule

    data = NWADataModule(train_size=96, val_size=60, test_size=60, batch_size=16)
    callbacks = [NWACallback()] if way == "callback" else []
    model = Siamese() if way == "callback" else SiameseWithNWA()
    trainer = Trainer(
        max_steps=12,
        logger=CSVLogger("."),
        log_every_n_steps=1,
        callbacks=callbacks,
        limit_val_batches=0,
        enable_progress_bar=False,
    )
    trainer.fit(torch.compile(model), data)


def attempt(flags: str | None, way: str) -> str:
    """Run one cell of the table; returns the result in a few words."""
    with tempfile.TemporaryDirectory() as folder:
        if flags is None:
            command = [sys.executable, str(HERE / "trainer_flags.py"), "--compiled", way]
        else:
            options = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=."]
            options += shlex.split(f"{SMALL} {WAYS[way]} {flags}")
            command = [sys.executable, "-m", "nwa_lightning", "fit", *options]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent.resolve())}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
        if done.returncode != 0:
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
            return f"stopped: {lines[-1][:160]}"
        found = list(Path(folder).rglob("metrics.csv"))
        if not found:
            return "ran"
        with found[0].open(newline="") as file:
            losses = [float(row["train/nwa_loss"]) for row in csv.DictReader(file) if row.get("train/nwa_loss")]
        if not all(math.isfinite(loss) for loss in losses):
            return "ran, but the NWA loss is not finite"
        return f"{len(losses)} steps, NWA loss {losses[0]:.1f} to {losses[-1]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="rows to try, by name; with it, the table is only printed")
    parser.add_argument("--compiled", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.compiled:
        compiled(options.compiled)
        return
    rows: dict[str, str | None] = {**FLAGS, "torch.compile(model)": None}
    chosen = {name: flags for name, flags in rows.items() if not options.only or name in options.only}
    lines = [f"| what | flags | {' | '.join(WAYS)} |", f"| --- | --- |{' --- |' * len(WAYS)}"]
    for name, flags in track(chosen.items(), "trying"):
        cells = [attempt(flags, way) for way in WAYS]
        shown = f"`{flags}`" if flags else ""
        lines.append(f"| {name} | {shown} | {' | '.join(cells)} |")
    table = "\n".join(lines)
    print(table)
    if not options.only:
        text = (
            "# Trainer flags that were tried\n\nWritten by `python examples/study/trainer_flags.py` on 2 CPU cores, no GPU. "
            f"Every cell is `nwa fit {SMALL}` with `{WAYS['mixin']}` (mixin) or `{WAYS['callback']}` (callback), and the flags "
            "of the row. `torch.compile` has no flag: there, the models of examples/existing_model.py are compiled. A compiled "
            "step must not call `self.log` (with Lightning 2.6 and torch 2.13 that fails for any model): log from a method under "
            "`@torch.compiler.disable`, as `EditDistanceModel` does. StochasticWeightAveraging takes an epoch more for models "
            "with batch norm. What needs a GPU was not tried.\n\n"
        )
        (HERE.parent / "results" / "trainer_flags.md").write_text(f"{text}{table}\n")


if __name__ == "__main__":
    main()
