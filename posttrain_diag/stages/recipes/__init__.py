"""One file per post-training stage: what it trains on and with which trainer."""
