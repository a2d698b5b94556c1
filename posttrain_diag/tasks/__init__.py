"""Problems and how their completions are judged: loaders, verifiers, and the checks of both."""

from posttrain_diag.tasks.check import MAX_FALSE_POSITIVES, TasksCheck, check_tasks
from posttrain_diag.tasks.problems.load import load_problems, load_tasks, parse_verifier, with_demos
from posttrain_diag.tasks.problems.references import corrupted_completions, reference_completions
from posttrain_diag.tasks.problems.rows import builtin_names
from posttrain_diag.tasks.problems.taskset import TaskSet, problem_sha, tasks_sha
from posttrain_diag.tasks.problems.write import find_written, write_tasks
from posttrain_diag.tasks.verifiers.spec import (
    Verifier,
    check_verifier,
    compares_with_answer,
    compile_verifier,
    judges_code,
    verifier_sha,
    verify,
)

__all__ = [
    "MAX_FALSE_POSITIVES",
    "TaskSet",
    "TasksCheck",
    "Verifier",
    "builtin_names",
    "check_tasks",
    "check_verifier",
    "compares_with_answer",
    "compile_verifier",
    "corrupted_completions",
    "find_written",
    "judges_code",
    "load_problems",
    "load_tasks",
    "parse_verifier",
    "problem_sha",
    "reference_completions",
    "tasks_sha",
    "verifier_sha",
    "verify",
    "with_demos",
    "write_tasks",
]
