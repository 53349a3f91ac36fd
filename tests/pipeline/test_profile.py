"""What a cluster is like is said in one file, and what is wrong in it is told before anything starts."""

import pytest

from elysium.errors import UsageError
from elysium.pipeline.profile import JobProfile, load_profile
from elysium.pipeline.steps import STEPS, Resources, step


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "profile.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_a_profile_that_says_nothing_leaves_the_table_as_it_is(row):
    assert JobProfile().resources_of(row.name, row.resources) == row.resources


def test_a_small_cluster_cuts_what_a_step_asks_for_and_nothing_else():
    profile = JobProfile(gpu=False, max_cpu=1.5, max_memory_gib=6)
    cut = profile.resources_of("finetune", step("finetune").resources)
    assert profile.limits(cut) == {"cpu": "1.5", "memory": "6Gi"}
    assert (cut.seconds, cut.retries, cut.grace_seconds) == (24 * 3600, 3, 300)
    assert profile.limits(profile.resources_of("ingest", Resources(cpu=1, memory_gib=2))) == {
        "cpu": "1",
        "memory": "2Gi",
    }


def test_a_cluster_of_large_nodes_gives_a_step_more_but_never_more_than_a_node():
    profile = JobProfile(resources={"finetune": {"gpu": 8, "cpu": 96, "memory_gib": 512}}, max_cpu=64)
    found = profile.resources_of("finetune", step("finetune").resources)
    assert profile.limits(found) == {"cpu": "64", "memory": "512Gi", "nvidia.com/gpu": "8"}
    assert profile.resources_of("warmup", step("warmup").resources).gpu == 1


def test_the_file_is_named_by_an_option_or_by_the_environment(written, tmp_path, monkeypatch):
    monkeypatch.delenv("ELYSIUM_JOB_PROFILE", raising=False)
    assert load_profile() == JobProfile()
    monkeypatch.setenv("ELYSIUM_JOB_PROFILE", str(written("{name: lab, nodes: 4}")))
    assert (load_profile().name, load_profile().nodes) == ("lab", 4)
    other = tmp_path / "other.yaml"
    other.write_text("name: other")
    assert load_profile(other).name == "other"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node: 4", "unknown key 'node'; did you mean 'nodes'?"),
        ("resources: {finetune: {gpus: 8}}", "unknown key 'resources.finetune.gpus'; did you mean 'gpu'?"),
        ("resources: {tune: {gpu: 8}}", "there is no step 'tune'; the steps are ingest,"),
        ("nodes: 0", "nodes: Input should be greater than or equal to 1, got 0"),
        ("pull_policy: Sometimes", "pull_policy: Input should be 'Always', 'IfNotPresent' or 'Never', got 'Sometimes'"),
        ("- nodes", "must be a mapping, got list"),
        ("{nodes", "is not valid YAML"),
    ],
)
def test_a_wrong_profile_is_refused_by_its_name(written, text, message):
    path = written(text)
    with pytest.raises(UsageError) as refused:
        load_profile(path)
    assert str(path) in str(refused.value)
    assert message in str(refused.value)


def test_a_profile_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.yaml cannot be read: No such file"):
        load_profile(tmp_path / "gone.yaml")
