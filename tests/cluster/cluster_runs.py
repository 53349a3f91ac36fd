"""What the cluster's tests know of runs on S3: their steps, folders and manifests."""

from __future__ import annotations

import json
from typing import Any

from elysium.pipeline.steps import STEPS, step

DAG = "elysium_retrain"
ROWS = [row.name for row in STEPS]
# A finetune that lasts long enough to be disturbed, and leaves checkpoints on its way.
LONG = ("training.finetune.steps=160", "training.finetune.save_steps=20", "training.finetune.tail=null")


def before(name: str) -> list[str]:
    """Returns the folders of all that a run has before a step."""
    return [row.output.folder for row in STEPS[: ROWS.index(name)]]


def manifest_of(s3: Any, bucket: str, run: str, name: str) -> Any:
    """Returns the manifest that a step published."""
    key = f"runs/{run}/{step(name).output.folder}/_manifest.json"
    return json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def has_checkpoint(s3: Any, bucket: str, run: str) -> bool:
    """Returns whether a half-done finetune has saved a checkpoint on S3."""
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=f"runs/{run}/.partial/finetune/files-")
    for entry in listed.get("Contents", ()):
        if b"checkpoint-" in s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read():
            return True
    return False
