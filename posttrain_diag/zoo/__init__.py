"""The zoo: tiny real models whose bottleneck is known by construction and whose exact p can be enumerated.

worlds      families of problems and the law of pre-training responses, closed-form p
problems    words and task rows; held-out and training never overlap
recipes     how each model is made
build       trains the models                     (needs torch)
targets     which responses are right, and which may still become right
truth       exact p of a trained model            (needs torch)
classes     exact class of each problem           (needs torch)
registry    what is there, by name                (no torch)
ship        makes the files under posttrain_diag/data/zoo
"""

from posttrain_diag.zoo.build import build
from posttrain_diag.zoo.classes import true_bottleneck, true_classes
from posttrain_diag.zoo.family import Family, World
from posttrain_diag.zoo.paths import cache_dir
from posttrain_diag.zoo.problems import family_of, mastered_problems, mix, problems, split_of
from posttrain_diag.zoo.registry import (
    ZooFamily,
    ZooModel,
    list_families,
    list_models,
    load_truth,
    resolve_model,
    truth_table,
)
from posttrain_diag.zoo.truth import exact_success
from posttrain_diag.zoo.worlds import FAMILIES, WORLDS, family

__all__ = [
    "FAMILIES",
    "WORLDS",
    "Family",
    "World",
    "ZooFamily",
    "ZooModel",
    "build",
    "cache_dir",
    "exact_success",
    "family",
    "family_of",
    "list_families",
    "list_models",
    "load_truth",
    "mastered_problems",
    "mix",
    "problems",
    "resolve_model",
    "split_of",
    "true_bottleneck",
    "true_classes",
    "truth_table",
]
