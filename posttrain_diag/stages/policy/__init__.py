"""The model in training: its weights, sampled from between two steps, whole or cut over several devices."""
