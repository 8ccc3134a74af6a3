"""A callback that prints the Needleman-Wunsch divergence during training, for the scripts in this folder."""

from lightning.pytorch import Callback


class PrintDivergence(Callback):
    """Prints L_nw at the first step, at the last step, and ten times in between."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        step = trainer.global_step
        if step == 1 or step % max(1, trainer.max_steps // 10) == 0:
            found = trainer.callback_metrics["train/nwa_loss"]
            print(f"step {step:4d}  loss {outputs['loss']:7.3f}  L_nw {found:6.2f}")
