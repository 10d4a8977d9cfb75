"""`python -m qonnx_core`: the `qonnx` command of this interpreter."""

from qonnx_core.cli import main

if __name__ == "__main__":
    main()
