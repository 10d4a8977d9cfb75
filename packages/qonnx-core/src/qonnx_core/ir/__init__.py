"""What QONNX adds to ``onnx_ir``: data types, annotations, constants and the graph verifier."""
