"""The same curation on Ray, with a node lost in the middle: the same bytes as in one process."""

import pytest

from elysium.config import load_settings
from elysium.curation.curation import curate
from elysium.curation.step import list_raw
from elysium.errors import ElysiumError, UsageError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'elysium[ray]'")
SMALL = ["curate.shard_videos=2", "curate.batch_videos=1", "curate.batch_pieces=1"]


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(raw, folder, *overrides):
    settings = load_settings("nano", [*SMALL, *overrides])
    listing = list_raw(raw, settings.curate)
    return curate(folder, settings, listing, digest=listing.digest)


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes on this machine; what is called `worker` may be taken away."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "include_dashboard": False})
    cluster.worker = cluster.add_node(num_cpus=3)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_a_lost_node_costs_nothing(cluster, raw, tmp_path, monkeypatch):
    from elysium.curation import shards

    expected = run(raw, tmp_path / "here")
    real = shards.ShardStore.write_block

    def losing(self, block, rows):
        real(self, block, rows)
        if cluster.worker is not None:
            cluster.remove_node(cluster.worker, allow_graceful=False)
            cluster.worker = None

    monkeypatch.setattr(shards.ShardStore, "write_block", losing)
    assert run(raw, tmp_path / "ray", "engine.name=ray", f"engine.address={cluster.address}") == expected
    assert content(tmp_path / "ray") == content(tmp_path / "here")


def test_a_cluster_that_is_not_there_is_told(raw, tmp_path):
    with pytest.raises(UsageError, match=r"no Ray cluster answers at '127\.0\.0\.1:1'"):
        run(raw, tmp_path, "engine.name=ray", "engine.address=127.0.0.1:1")


@pytest.mark.filterwarnings("ignore")
def test_what_is_answered_twice_counts_once(raw, tmp_path, monkeypatch):
    """As by a worker that was lost after its answers had come; here all work is done at once and told twice."""
    from elysium.curation import ray_engine

    class Answers:
        def __init__(self, job, rows):
            stages = (ray_engine._Ground(job.settings), ray_engine._Track(job.settings))
            decode, self.items = ray_engine._Decode(job), []
            for row in rows:
                for batch in decode({name: [value] for name, value in row.items()}):
                    for stage in stages:
                        batch = stage(batch)
                    self.items += ray_engine._store(batch, job.store.root, job.settings)["item"]

        def iter_rows(self):
            return ({"item": item} for item in self.items * 2)

    monkeypatch.setattr(ray_engine, "_connected", lambda settings: ray)
    monkeypatch.setattr(ray_engine, "_data_set", lambda ray, job, rows: Answers(job, rows))
    monkeypatch.setattr(ray_engine, "_SHARDS", 1)  # one after the other, as of many
    stats = run(raw, tmp_path / "ray", "engine.name=ray")
    assert stats == run(raw, tmp_path / "here")
    assert content(tmp_path / "ray") == content(tmp_path / "here")


@pytest.mark.filterwarnings("ignore")
def test_blocks_without_an_answer_are_told(raw, tmp_path, monkeypatch):
    from types import SimpleNamespace

    from elysium.curation import ray_engine

    monkeypatch.setattr(ray_engine, "_connected", lambda settings: ray)
    monkeypatch.setattr(ray_engine, "_data_set", lambda *rest: SimpleNamespace(iter_rows=lambda: iter(())))
    with pytest.raises(ElysiumError, match="without the results of 4 blocks"):
        run(raw, tmp_path, "engine.name=ray")
