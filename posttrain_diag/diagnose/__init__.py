"""Diagnosis: measurements → a class posterior per problem → the bottleneck, or an honest abstention."""

from posttrain_diag.diagnose.bottleneck import diagnose
from posttrain_diag.diagnose.contract import diagnosis_json

__all__ = ["diagnose", "diagnosis_json"]
