"""What QONNX adds to onnx-ir: data types, grids, layouts, annotations."""
