"""Integer form: a quantized graph as integers, exact thresholds and host-side scales."""
