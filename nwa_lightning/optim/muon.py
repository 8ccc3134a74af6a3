"""Muon: an optimizer that steps equally far along every direction of a weight matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from nwa_lightning.errors import InputError

#: Coefficients of the polynomial of Jordan et al., and how often it is applied.
_FIRST, _THIRD, _FIFTH = 3.4445, -4.7750, 2.0315
_STEPS = 5


class Muon(Optimizer):
    r"""Orthogonalised momentum for weights of layers, Adam for biases, norms and other vectors.

    The momentum of a matrix, :math:`U S V^T`, is replaced by about :math:`U V^T`, so that directions of small gradients
    are learnt as fast as those of large ones. The weight of a convolution is treated as a matrix: the first dimension by all
    others. If a matrix has more rows than columns, its step is larger by the square root of their ratio.

    ``torch.optim.Muon`` takes only matrices, and Lightning's automatic optimization takes only one optimizer, so this class
    handles both kinds. Every process needs whole matrices, so it works with ddp and not with sharded parameters.

    Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, https://kellerjordan.github.io/posts/muon.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        momentum: Nesterov momentum of the matrices.
        betas: Coefficients of Adam.

    Raises:
        InputError: If a number is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.01,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "betas": betas})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters; a group may set its own numbers.

        Raises:
            InputError: If a number is out of its range.
        """
        numbers = {**self.defaults, **param_group}
        lr, momentum, betas = numbers["lr"], numbers["momentum"], numbers["betas"]
        if not 0 <= lr < math.inf:
            raise InputError(f"lr: expected at least 0, found {lr}; give a positive learning rate")
        if not all(0 <= factor < 1 for factor in (momentum, *betas)):
            raise InputError(
                f"momentum, betas: expected numbers from 0 to below 1, found {momentum} and {betas}; give some such as 0.95 "
                f"and (0.9, 0.999)"
            )
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step; returns the value of the closure, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim >= 2:
                    self._step_matrix(parameter, parameter.grad, group["lr"], group["momentum"])
                else:
                    self._step_vector(parameter, parameter.grad, group["lr"], *group["betas"])
        return loss

    def _step_matrix(self, parameter: Tensor, gradient: Tensor, lr: float, momentum: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(state["momentum"], momentum)
        direction = orthogonalised(ahead.flatten(1))
        rows, columns = direction.shape
        parameter.add_(direction.reshape(parameter.shape), alpha=-lr * max(1, rows / columns) ** 0.5)

    def _step_vector(self, parameter: Tensor, gradient: Tensor, lr: float, beta1: float, beta2: float) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - beta1)
        state["square"].lerp_(gradient.square(), 1 - beta2)
        mean = state["mean"] / (1 - beta1 ** state["step"])
        square = state["square"] / (1 - beta2 ** state["step"])
        parameter.addcdiv_(mean, square.sqrt_().add_(1e-8), value=-lr)


def orthogonalised(matrix: Tensor) -> Tensor:
    r"""Approximately :math:`U V^T` of a matrix :math:`U S V^T`, by five Newton-Schulz steps.

    Each step applies an odd polynomial of fifth degree to all singular values. If the matrix has norm 1, values of at least
    0.003 end between 0.68 and 1.21; smaller ones end lower, and 0 stays 0.

    Args:
        matrix: ``(rows, columns)``.

    Returns:
        ``(rows, columns)``.

    Example:
        >>> orthogonalised(torch.tensor([[3.0, 0.0], [0.0, 0.1]])).round(decimals=2)
        tensor([[0.7000, 0.0000],
                [0.0000, 1.1300]])
    """
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    # The polynomials are computed from the small Gram matrix, so the matrix itself is multiplied only twice.
    gram = wide @ wide.T
    product = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for _ in range(_STEPS):
        polynomial = torch.addmm(gram, gram, gram, beta=_THIRD, alpha=_FIFTH)
        polynomial.diagonal().add_(_FIRST)
        product = polynomial @ product
        gram = polynomial @ gram @ polynomial
    result: Tensor = product @ wide
    return result if len(matrix) <= matrix.shape[1] else result.T
