"""posttrain-diag: which bottleneck holds a model back, and which post-training stage pays next."""

__version__ = "0.1.0"
