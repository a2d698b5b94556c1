"""The `hf` engine: any causal transformers model in this process, on a CPU or a GPU."""
