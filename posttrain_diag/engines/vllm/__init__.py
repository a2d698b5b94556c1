"""The `vllm` engine: vLLM in a process of its own, with an interpreter of its own."""
