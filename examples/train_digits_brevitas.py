"""Train the Brevitas MLP of the demo on scikit-learn's digits: 64-64-32-10, weights and activations of 2 bits.

Run it to see the accuracy on the held-out part: ``python examples/train_digits_brevitas.py``.
The input is the raw pixel, an integer from 0 to 16 (``UINT5`` as an input grid); the model quantizes it itself.
"""

from __future__ import annotations

import numpy as np
import torch
from brevitas.inject.enum import RestrictValueType, ScalingImplType
from brevitas.nn import QuantIdentity, QuantLinear, QuantReLU
from brevitas.quant import Int8WeightPerTensorFloat, Uint8ActPerTensorFloat
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

EPOCHS = 40
BATCH = 64
SPLIT_SEED = 2024  # fixed: every model of the demo is judged on the same 540 digits


class Weight2Bit(Int8WeightPerTensorFloat):  # type: ignore[misc]
    """Weights -1, 0, 1 times one power of two per layer."""

    bit_width = 2
    narrow_range = True
    restrict_scaling_type = RestrictValueType.POWER_OF_TWO


class Pixel(Uint8ActPerTensorFloat):  # type: ignore[misc]
    """The pixel in 2 bits: 0, 4, 8 or 12 (the nearest, ties to the even multiple)."""

    bit_width = 2
    scaling_impl_type = ScalingImplType.CONST
    scaling_init = 12.0  # the largest value; the step is 12 / (2**2 - 1)


class Act2Bit(Uint8ActPerTensorFloat):  # type: ignore[misc]
    """Activations 0, 1, 2, 3 times one power of two per layer, learned."""

    bit_width = 2
    restrict_scaling_type = RestrictValueType.POWER_OF_TWO
    scaling_impl_type = ScalingImplType.PARAMETER
    scaling_init = 3.0


class DigitsMLP(nn.Module):  # type: ignore[misc]
    """Logits of the ten digits from 64 pixels: ``(N, 64)`` floats from 0 to 16 to ``(N, 10)``."""

    def __init__(self) -> None:
        super().__init__()
        self.pixel = QuantIdentity(act_quant=Pixel, return_quant_tensor=True)
        self.fc1 = QuantLinear(64, 64, bias=False, weight_quant=Weight2Bit)
        self.bn1 = nn.BatchNorm1d(64)
        self.relu1 = QuantReLU(act_quant=Act2Bit, return_quant_tensor=True)
        self.fc2 = QuantLinear(64, 32, bias=False, weight_quant=Weight2Bit)
        self.bn2 = nn.BatchNorm1d(32)
        self.relu2 = QuantReLU(act_quant=Act2Bit, return_quant_tensor=True)
        self.fc3 = QuantLinear(32, 10, bias=False, weight_quant=Weight2Bit)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits."""
        x = self.pixel(pixels)
        x = self.relu1(self.bn1(self.fc1(x)))
        x = self.relu2(self.bn2(self.fc2(x)))
        return self.fc3(x)


def digits() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return ``x_train, x_test, y_train, y_test``: pixels 0..16 as float32 of shape ``(N, 64)``, always the same."""
    data = load_digits()
    split = train_test_split(
        data.data.astype(np.float32),
        data.target.astype(np.int64),
        test_size=0.3,
        random_state=SPLIT_SEED,
        stratify=data.target,
    )
    return tuple(split)


def train(seed: int = 0) -> tuple[DigitsMLP, NDArray[np.float32], NDArray[np.int64]]:
    """Return the trained model in evaluation mode with the held-out pixels and labels; the same for the same seed.

    The global random state and the number of torch threads are left as they were.
    """
    x_train, x_test, y_train, y_test = digits()
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)  # the order of sums, and with it the result, does not depend on the machine's cores
        try:
            model = DigitsMLP()
            _fit(model, torch.from_numpy(x_train), torch.from_numpy(y_train))
        finally:
            torch.set_num_threads(threads)
    return model.eval(), x_test, y_test


def _fit(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Train ``model`` in place with Adam under a falling learning rate."""
    steps = EPOCHS * (len(x) // BATCH)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=steps)
    loss_of = nn.CrossEntropyLoss()
    model.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            optimizer.zero_grad()
            loss_of(model(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()


def accuracy(model: nn.Module, x: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Return the share of ``x`` that ``model`` classifies as ``y``."""
    with torch.no_grad():
        answers = model(torch.from_numpy(x)).numpy().argmax(axis=1)
    return float((answers == y).mean())


if __name__ == "__main__":
    trained, held_out, labels = train()
    print(f"{accuracy(trained, held_out, labels):.2%} of {len(labels)} held-out digits")
