"""Recommendation: the stage catalogue as data, and the rules that turn a diagnosis into an ordered plan."""

from posttrain_diag.recommend.facts import Facts, Resources
from posttrain_diag.recommend.rules import recommend
from posttrain_diag.stages.catalogue import CATALOGUE, StageCard

__all__ = ["CATALOGUE", "Facts", "Resources", "StageCard", "recommend"]
