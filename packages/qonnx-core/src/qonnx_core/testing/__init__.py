"""What tests of plug-ins need: the contract tests, and access to shared files."""

from qonnx_core.testing.shared_files import shared_file

__all__ = ["shared_file"]
