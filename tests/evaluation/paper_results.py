"""Evaluations as `metrics.json` would have them."""

from elysium.evaluation.results import Evaluation, TaskFigures


def evaluation(task, num_items, model, *, videos=None, checkpoint="ours", leaks=None, **more):
    """Returns an evaluation of one task."""
    figures = TaskFigures(
        model=model,
        baselines=more.pop("baselines", {}),
        intervals=more.pop("intervals", {}),
        num_sequences=num_items,
        num_failures=more.pop("num_failures", 0),
        per_sequence={},
        videos={f"item-{number}": f"video-{number}" for number in range(videos)} if videos else {},
        **more,
    )
    return Evaluation(tasks={task: figures}, checkpoint=checkpoint, leaks=leaks)
