"""Recommendation: the rules that turn a diagnosis into an ordered plan of stages."""

from posttrain_diag.recommend.facts import Facts, Resources
from posttrain_diag.recommend.rules import recommend

__all__ = ["Facts", "Resources", "recommend"]
