"""`elysium data undelete`: objects that were deleted from a bucket with versions come back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from elysium.cli import print_json
from elysium.data.storage import split_s3
from elysium.errors import ElysiumError, UsageError
from elysium.options import json_option


@click.command("undelete")
@click.argument("uri", metavar="S3_URI")
@click.option(
    "--since",
    required=True,
    type=click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]),
    help="Only what was deleted from this moment on, in UTC.",
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@json_option
def undelete_command(uri: str, since: datetime, dry_run: bool, as_json: bool) -> None:
    """Bring back objects below S3_URI that were deleted, on a bucket that keeps versions.

    Models of MLflow and data of DVC are written once and never changed, so what was deleted is all that can be lost.

    \b
    Example:
      elysium data undelete s3://bucket/mlflow --since 2026-11-22T02:00 --dry-run
    """
    import boto3

    # The endpoint is the environment's, AWS_ENDPOINT_URL, as everywhere.
    count = undelete(boto3.Session().client("s3"), uri, since.replace(tzinfo=UTC), dry_run=dry_run)
    told = "would come back" if dry_run else "are back"
    click.echo(f"{count} objects below {uri} {told}", err=as_json)
    if as_json:
        print_json({"objects": count, "dry_run": dry_run})


def undelete(client: Any, uri: str, since: datetime, *, dry_run: bool = False) -> int:
    """Removes the delete markers of objects whose latest version is one, and returns how many there were.

    Args:
        client: A boto3 client of S3.
        uri: Bucket and prefix; one without a prefix is the whole bucket.
        since: Older markers stay.
        dry_run: Removes none.

    Raises:
        UsageError: If the bucket keeps no versions, so that nothing can come back.
        ElysiumError: If the server refuses or cannot be reached.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, prefix = split_s3(uri)
    count = 0
    try:
        if client.get_bucket_versioning(Bucket=bucket).get("Status") not in ("Enabled", "Suspended"):
            raise UsageError(
                f"{bucket} keeps no versions: what was deleted is gone, unless there is a copy of the bucket"
            )
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
            for marker in page.get("DeleteMarkers", []):
                if not marker["IsLatest"] or marker["LastModified"] < since:
                    continue
                if not dry_run:
                    client.delete_object(Bucket=bucket, Key=marker["Key"], VersionId=marker["VersionId"])
                count += 1
    except (BotoCoreError, ClientError) as error:
        raise ElysiumError(f"{uri}: {count} objects are back, then the server said: {error}") from error
    return count
