"""Train on human16s, from a cold start, to the published error of CNN + NWA: 1.52 % (Lee & No, 2024, on Qiita), in seconds.

Run it with ``python examples/benchmarks/cold_start.py`` on an idle machine. The clock starts with the first line, before the
imports, and stops when the test error is known. The number of steps was chosen on the validation set of seed 0;
``--validate`` prints the validation error instead of the test error.
"""

import time

START = time.perf_counter()

import argparse  # noqa: E402
import logging  # noqa: E402

import torch  # noqa: E402
from lightning.pytorch import Trainer, seed_everything  # noqa: E402

from nwa_lightning import EditDistanceModel, NWADataModule, ResidualCNN  # noqa: E402
from nwa_lightning.models.edit_distance import predictor  # noqa: E402
from nwa_lightning.models.metrics import evaluate  # noqa: E402

PUBLISHED = 1.52


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0, help="seed of the split, the batches and the weights")
    parser.add_argument("--validate", action="store_true", help="print the validation error instead of the test error")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    seed_everything(options.seed, verbose=False)
    data = NWADataModule("human16s", nwa_batch_size=0, seed=options.seed)
    model = EditDistanceModel(ResidualCNN(data.max_length), nwa_weight=None)
    trainer = Trainer(
        max_steps=options.steps,
        max_epochs=-1,
        accelerator="cpu",
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    trained = time.perf_counter() - START

    model.eval()
    loader = data.val_dataloader() if options.validate else data.test_dataloader()
    figures = evaluate(predictor(model), loader)
    print(
        f"{'validation' if options.validate else 'test'} RMSE {figures['rmse']:.3f} % (published, on Qiita: {PUBLISHED} %), "
        f"{options.steps} steps, seed {options.seed}: {trained:.1f} s until trained, "
        f"{time.perf_counter() - START:.1f} s in all, {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
