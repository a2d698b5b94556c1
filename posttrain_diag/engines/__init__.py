"""Engines turn requests into token draws and scores: `contract` is the protocol, each backend has its own folder."""
