"""New tracks from captioned videos: curation divided into parts that run side by side, judged, and announced.

`curate-parts` is mapped over the parts; `curate` puts them together and does what a part has left. When the records
have passed their gate, the asset `elysium_tracks` changes, with workspace, preset, digest and number of records in its
event, and `elysium_retrain` goes on from there.

| param | says |
| --- | --- |
| shards | parts; 0 takes the job profile's number |
| workspace, preset, overrides, runner | as of `elysium_retrain` |
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Metadata, Param, get_current_context, task

from elysium.pipeline.dag_parts import DEFAULT_ARGS, TRACKS, chain, run_params, shard_tasks

with DAG(
    dag_id="elysium_curate",
    description="Curates in parts side by side, and announces the tracks that passed their gate.",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["elysium", "data"],
    default_args=DEFAULT_ARGS,
    params=run_params(
        shards=Param(
            0, type="integer", minimum=0, maximum=1000, title="Parts", description="0: as many as the job profile says."
        )
    ),
) as dag:

    @task(retries=0)
    def plan() -> list[str]:
        """Says into how many parts curation is divided."""
        from elysium.pipeline.profile import load_profile

        count = int(get_current_context()["params"]["shards"]) or load_profile().shards
        return [f"{index}/{count}" for index in range(count)]

    @task(outlets=[TRACKS], retries=0)
    def publish(curated: dict[str, Any]) -> Any:
        """Announces the tracks."""
        from elysium.pipeline.dag_runs import place_of

        place = place_of(get_current_context())
        metrics = curated["metrics"]
        records = sum(int(metrics.get(f"{split}_records") or 0) for split in ("train", "evaluation"))
        yield Metadata(
            TRACKS,
            {
                "workspace": place.workspace,
                "preset": place.preset,
                "digest": curated["digest"],
                "records": records,
                "summary": curated["summary"],
            },
        )

    steps = chain("ingest", "validate-raw", "curate", "validate-tracks", undivided=("curate",))
    parts = shard_tasks("curate", "curate-parts", plan())
    steps["validate-raw"] >> parts >> steps["curate"]
    steps["validate-tracks"] >> publish(steps["curate"].output)
