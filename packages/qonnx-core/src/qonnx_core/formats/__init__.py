"""Reading and writing model files: QONNX in all the dialects it has been written in."""
