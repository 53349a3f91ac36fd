"""Tasks, sets, systems and metrics in the words of people: for reports, tables and logs."""

from __future__ import annotations

from functools import cache

from elysium.evaluation.results import MODEL

_TASKS = {
    "sot": "Follow a given box",
    "rsot": "Find and follow by name",
    "rec": "Find in one picture",
    "video-reg": "Describe the object",
    "vqa": "Answer questions",
}
_SETS = {
    "simulated": "simulated clips",
    "real": "real clips",
    "refcoco": "RefCOCO",
    "refcoco+": "RefCOCO+",
    "refcocog": "RefCOCOg",
}
_SYSTEMS = {
    MODEL: "model",
    "static_box": "static box",
    "frame_by_frame": "frame by frame",
    "csrt": "OpenCV CSRT",
}
_METRICS = {
    "auc": "AUC",
    "precision": "P, 20 px",
    "norm_precision": "P norm., 0.2",
    "ao": "AO",
    "sr50": "SR 0.5",
    "sr75": "SR 0.75",
    "accuracy": "accuracy",
    "accuracy_70": "Acc@0.7",
    "accuracy_90": "Acc@0.9",
    "mean_iou": "mean IoU",
    "exact_match": "exact match",
    "soft_match": "soft match",
    "head_noun": "head noun",
    "meteor": "METEOR",
    "cider": "CIDEr",
    "rouge_l": "ROUGE-L",
    **{f"bleu_{order}": f"BLEU-{order}" for order in range(1, 5)},
    "judge_accuracy": "judge: yes",
    "judge_score": "judge: 0 to 5",
}
_KINDS = {
    "size": "size in the frame",
    "pixels": "size in pixels",
    "class": "class",
    "motion": "challenge, as the true boxes tell",
}


def task_name(task: str) -> str:
    """Returns a task and its set in words.

    Example:
        >>> task_name("rsot-simulated"), task_name("rec-refcoco+-testA")
        ('Find and follow by name · simulated clips', 'Find in one picture · RefCOCO+ testA')
    """
    kind = task_kind(task)
    return f"{_TASKS.get(kind, kind)} · {set_name(task)}"


def task_kind(task: str) -> str:
    """Returns what is asked for, without the set.

    Example:
        >>> task_kind("video-reg-real"), task_kind("rec-refcoco-val"), task_kind("other-thing")
        ('video-reg', 'rec', 'other')
    """
    known = [kind for kind in _TASKS if task == kind or task.startswith(f"{kind}-")]
    return max(known, key=len) if known else task.partition("-")[0]


def set_name(task: str) -> str:
    """Returns the set of a task in words.

    Example:
        >>> set_name("sot-lasot_ext"), set_name("rec-refcocog-test"), set_name("vqa-msvd-qa"), set_name("sot-mine")
        ('LaSOT extension', 'RefCOCOg test', 'MSVD-QA', 'mine')
    """
    where = task.removeprefix(task_kind(task)).lstrip("-")
    titles = _titles()
    known = max((name for name in titles if where == name or where.startswith(f"{name}-")), key=len, default=None)
    return where if known is None else f"{titles[known]} {where[len(known) + 1 :]}".strip()


@cache
def _titles() -> dict[str, str]:
    from elysium.evaluation.tracking.opening import TRACKING_SETS
    from elysium.evaluation.videoqa.questions import QUESTION_SETS

    tracking = {name: entry.title for name, entry in TRACKING_SETS.items()}
    return _SETS | tracking | {name: entry.title for name, entry in QUESTION_SETS.items()}


def system_name(system: str) -> str:
    """Returns a system in words: the model, or a baseline.

    Example:
        >>> system_name("static_box"), system_name("my_baseline")
        ('static box', 'my baseline')
    """
    return _SYSTEMS.get(system, system.replace("_", " "))


def metric_name(metric: str, task: str = "") -> str:
    """Returns a metric as a column's heading; grounding's accuracy says at which overlap.

    Example:
        >>> metric_name("accuracy", "rec-refcoco-val"), metric_name("auc"), metric_name("new_one")
        ('Acc@0.5', 'AUC', 'new one')
    """
    if metric == "accuracy" and task_kind(task) == "rec":
        return "Acc@0.5"
    return _METRICS.get(metric, metric.replace("_", " "))


def kind_name(kind: str) -> str:
    """Returns a kind of breakdown as the end of `by …`.

    Example:
        >>> kind_name("attribute"), kind_name("size")
        ('attribute', 'size in the frame')
    """
    return _KINDS.get(kind, kind.replace("_", " "))


def decimals(metric: str) -> int:
    """Returns with how many decimals a metric is shown: percent with one, scores from 0 to 5 with two."""
    return 2 if metric.endswith("_score") else 1
