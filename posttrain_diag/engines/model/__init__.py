"""A model without its weights: its files, tokenizer, templates, stop tokens and identity."""
