"""Statistics of rollout counts: numpy and scipy only.

Counts ──► measured (pass@k for k <= n) · MixingLaw (forecasts, per-problem posteriors) ·
ResponseGroups (which problems a treatment lifts) · certificates · bounds;
two runs ──► paired tests · Crossing (support gained and lost) · null resample.
"""

from posttrain_diag.stats.allocation import FIRST_BLOCK, RESOLVED, next_blocks
from posttrain_diag.stats.bounds import assumption_free_bounds
from posttrain_diag.stats.certify import certified_below, certified_share, e_bh, log_e_below
from posttrain_diag.stats.chance import ChanceFloor, chance_floor
from posttrain_diag.stats.consistency import bayes_at_n, g_pass, g_pass_at_k, mg_pass, mg_pass_at_k
from posttrain_diag.stats.counts import Counts
from posttrain_diag.stats.crossing import FATES, Crossing, crossing
from posttrain_diag.stats.detect import SamplingFlaw, sampling_flaws
from posttrain_diag.stats.functionals import (
    Functional,
    below,
    mixed_group,
    pass_at,
    pass_hat,
    solve_rate,
)
from posttrain_diag.stats.importance import (
    WeightHealth,
    betting_lower_bound,
    deep_support,
    importance_terms,
    weight_health,
)
from posttrain_diag.stats.intervals import clopper_pearson, mean_interval, wilson
from posttrain_diag.stats.law_by_label import LawByLabel, law_by_label
from posttrain_diag.stats.luck import known_rate, luck_share, rate_by_answer_set, rate_by_own_answers
from posttrain_diag.stats.mixing_law import MixingLaw, fit_mixing_law
from posttrain_diag.stats.null_resample import NullScores, null_resample
from posttrain_diag.stats.paired import (
    PairedComparison,
    compare_pass_at_k,
    paired_difference,
)
from posttrain_diag.stats.pass_at_k import (
    maj_at_k,
    pass_at_k,
    pass_at_k_per_problem,
    pass_hat_k,
    pass_hat_k_per_problem,
)
from posttrain_diag.stats.response_groups import ResponseGroups, fit_response_groups
from posttrain_diag.stats.two_laws import joint_class_posterior
from posttrain_diag.stats.zero import as_bound

__all__ = [
    "FATES",
    "FIRST_BLOCK",
    "RESOLVED",
    "ChanceFloor",
    "Counts",
    "Crossing",
    "Functional",
    "LawByLabel",
    "MixingLaw",
    "NullScores",
    "PairedComparison",
    "ResponseGroups",
    "SamplingFlaw",
    "WeightHealth",
    "as_bound",
    "assumption_free_bounds",
    "bayes_at_n",
    "below",
    "betting_lower_bound",
    "certified_below",
    "certified_share",
    "chance_floor",
    "clopper_pearson",
    "compare_pass_at_k",
    "crossing",
    "deep_support",
    "e_bh",
    "fit_mixing_law",
    "fit_response_groups",
    "g_pass",
    "g_pass_at_k",
    "importance_terms",
    "joint_class_posterior",
    "known_rate",
    "law_by_label",
    "log_e_below",
    "luck_share",
    "maj_at_k",
    "mean_interval",
    "mg_pass",
    "mg_pass_at_k",
    "mixed_group",
    "next_blocks",
    "null_resample",
    "paired_difference",
    "pass_at",
    "pass_at_k",
    "pass_at_k_per_problem",
    "pass_hat",
    "pass_hat_k",
    "pass_hat_k_per_problem",
    "rate_by_answer_set",
    "rate_by_own_answers",
    "sampling_flaws",
    "solve_rate",
    "weight_health",
    "wilson",
]
