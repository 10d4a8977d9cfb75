"""Upsampling around a convolution becomes one transposed convolution."""
