"""Convert QKeras (TensorFlow) models to QONNX, layer by layer and exactly.

Importing this package imports neither TensorFlow nor Keras; the first conversion does.
"""

from __future__ import annotations

from ingest_qkeras.environment import prepare_keras_2
from ingest_qkeras.frontend import FRONTEND, QKerasFrontend, from_file, from_keras
from ingest_qkeras.verification import compare_with_keras

__version__ = "0.1.0"

__all__ = [
    "FRONTEND",
    "QKerasFrontend",
    "compare_with_keras",
    "from_file",
    "from_keras",
    "prepare_keras_2",
]
