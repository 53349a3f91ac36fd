"""Small `metrics.json` contents for the tests of this folder."""

import json


def task(auc, num_failures=0, static=30.0):
    """Returns one task of `metrics.json` with a sequence for each figure of `auc`."""
    mean = sum(auc) / len(auc)
    return {
        "model": {"auc": mean},
        "baselines": {"static_box": {"auc": static}, "frame_by_frame": {"auc": 9.0}},
        "intervals": {"auc": [mean - 1, mean + 1]},
        "num_sequences": len(auc),
        "num_failures": num_failures,
        "per_sequence": {f"clip-{i:02}": {"model": {"auc": value}} for i, value in enumerate(auc)},
        "curves": {},
    }


def figures(auc, data_hash="abc.dir", **changes):
    return {"data_hash": data_hash, "tasks": {"sot-simulated": task(auc, **changes)}}


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
