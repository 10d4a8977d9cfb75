"""What the passes that move axes share: windows, static values in another shape, tensors in several layouts."""
