"""Is a tasks file fit to measure with? The data behind `diag tasks check`.

kinds     what kind of answer a problem has, and texts around it
forms     the right answer in other words: what a sound verifier accepts
wrong     wrong answers that look right: what it rejects
attacks   what a model without an answer may write to be paid all the same
judge     all of them judged and counted

"""

from posttrain_diag.tasks.check.judge import MAX_FALSE_POSITIVES, Hits, TasksCheck, Tried, check_tasks

__all__ = ["MAX_FALSE_POSITIVES", "Hits", "TasksCheck", "Tried", "check_tasks"]
