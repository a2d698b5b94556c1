"""Engines turn requests into token draws and scores. `base` is the protocol; one file per backend."""
