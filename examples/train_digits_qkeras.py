"""Train a small QKeras network on scikit-learn's handwritten digits: 64-32-16-10, 4-bit weights and activations.

Every number lies on a power-of-two grid: pixels are k/16 (k of 0 to 16), weights are multiples of 1/8, biases of 1/128,
activations of 1/16. So each sum is exact in float32, whatever its order, and the outputs (logits) are exact integers
times 1/128.

Run it to train, print the accuracy on the held-out part and write the QONNX file beside it::

    python examples/train_digits_qkeras.py digits_qkeras.onnx
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

INPUT_GRID = "UINT5*1/16"
"""The integer grid on which every input value lies."""


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return (x_train, y_train, x_test, y_test) of the fixed 70/30 split: x (N, 64) in k/16, y (N,)."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    x = (pixels / 16.0).astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(x, labels, test_size=0.3, random_state=0, stratify=labels)
    return x_train, y_train, x_test, y_test


def build() -> Any:
    """Return the untrained network (a tf_keras Model) that maps (N, 64) pixels to (N, 10) logits."""
    import tensorflow as tf
    from qkeras import QActivation, QDense

    def dense(units: int, name: str) -> Any:
        return QDense(
            units,
            kernel_quantizer="quantized_bits(4,0,alpha=1)",
            bias_quantizer="quantized_bits(8,0,alpha=1)",
            name=name,
        )

    inputs = tf.keras.Input((64,), name="pixels")
    x = QActivation("quantized_relu(4)", name="relu1")(dense(32, "fc1")(inputs))
    x = QActivation("quantized_relu(4)", name="relu2")(dense(16, "fc2")(x))
    return tf.keras.Model(inputs, dense(10, "fc3")(x), name="digits")


def train(seed: int = 0, *, epochs: int = 60) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return (trained model, x_test, y_test); the same seed on the same machine gives the same weights."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # QKeras 0.9 needs Keras 2; read when tensorflow is imported
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    x_train, y_train, x_test, y_test = digits()
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    model = build()
    steps = epochs * -(-len(x_train) // 32)
    model.compile(
        optimizer=tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(4e-3, steps)),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(x_train, y_train, batch_size=32, epochs=epochs, verbose=0)
    return model, x_test, y_test


def main(out: str = "digits_qkeras.onnx") -> None:
    """Train, convert with verification on the held-out part, and write ``out``."""
    import ingest_qkeras
    import qonnx_core

    model, x_test, y_test = train()
    accuracy = float(np.mean(model.predict(x_test, verbose=0).argmax(axis=1) == y_test))
    print(f"accuracy on {len(y_test)} held-out digits: {100 * accuracy:.2f} %")
    qonnx_core.save(ingest_qkeras.from_keras(model, verify_inputs=x_test), out)
    print(f"wrote {out}; every input lies on the grid {INPUT_GRID}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
