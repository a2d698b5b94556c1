"""The one way from an engine to judged rollouts: drawing, judging, storing, for analyses and for stages in training."""
