"""What a watch over Jobs makes of trouble: what is waited for, what is given up, and whose lines say why."""

import pytest
from jobs_api import BACKOFF, COMPLETE, DEADLINE, POLICY, event, pod

from elysium.pipeline.job_watch import run_job
from elysium.pipeline.kubernetes import JobRequest, Work, render_job, render_work
from elysium.pipeline.profile import JobProfile
from elysium.pipeline.steps import step

REQUEST = JobRequest("run", "/workspace/run", profile=JobProfile(shards=3))
MANIFEST = render_job(step("validate-raw"), REQUEST)
(PARTS,) = render_work(Work.parts_of(step("curate"), REQUEST), REQUEST)
# Over after any two looks at a Job.
MOMENT = 0.001
NO_ROOM = pod(
    "Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "full"}]
)
BACK_OFF = pod(waiting="ImagePullBackOff", message="Back-off pulling image")
NO_PULL = pod(waiting="ErrImagePull", message="503 from the registry")


@pytest.fixture
def run(jobs_api):
    """Runs a Job and returns how it ended and what was said."""

    def start(manifest=MANIFEST, patience=MOMENT):
        said = []
        with jobs_api.cluster(said.append) as cluster:
            return run_job(cluster, [manifest], patience=patience), said

    return start


def shard(index, phase="Failed", **options):
    return pod(phase, index=index, name=f"shard-{index}", **options)


def test_a_hiccup_after_a_long_wait_for_a_node_is_no_reason_to_give_up(jobs_api, run):
    jobs_api.pods, jobs_api.ends = [[NO_ROOM]] * 5 + [[NO_PULL], [pod()]], {8: COMPLETE}
    end, said = run()
    assert end.complete, end.reason
    assert sum("waits for a node" in line for line in said) == sum("cannot be had" in line for line in said) == 1


def test_one_trouble_in_two_wordings_is_not_waited_for_twice(jobs_api, run):
    jobs_api.pods, jobs_api.ends = [[NO_PULL], [BACK_OFF], [NO_PULL], [pod()]], {5: COMPLETE}
    end, _ = run()
    assert "cannot be had (ImagePullBackOff: Back-off pulling image)" in end.reason


def test_one_trouble_after_another_is_not_one_that_lasts(jobs_api, run):
    jobs_api.pods, jobs_api.ends = [[NO_PULL], [pod(waiting="CreateContainerConfigError")], [pod()]], {4: COMPLETE}
    end, _ = run()
    assert end.complete, end.reason


def test_a_pod_that_waits_for_room_does_not_hide_what_ails_the_next(jobs_api, run):
    jobs_api.pods, jobs_api.ends = [NO_ROOM, NO_PULL], {}
    end, said = run()
    assert "cannot be had (ErrImagePull: 503 from the registry)" in end.reason
    assert any("waits for a node" in line for line in said)


@pytest.mark.parametrize("reason", ["FailedMount", "FailedAttachVolume"])
def test_a_mount_that_failed_once_and_is_no_more_heard_of_is_over(jobs_api, run, reason):
    jobs_api.events = [event(reason, "failed to sync configmap cache: timed out", seconds_ago=170)]
    jobs_api.pods, jobs_api.ends = [pod(waiting="ContainerCreating", message=None)], {6: COMPLETE}
    end, said = run(patience=0)
    assert end.complete, end.reason
    assert not any("cannot mount" in line for line in said)


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        (500, "dial tcp 10.0.0.1:10250: no route to host", "the cluster's API answers 500: dial tcp"),
        (403, "pods/log is forbidden", "the cluster denies it: pods/log is forbidden; the rights are in k8s/base"),
    ],
)
@pytest.mark.parametrize("conditions", [COMPLETE, BACKOFF], ids=["complete", "failed"])
@pytest.mark.parametrize("phase", ["Running", "ended"])
def test_a_job_is_judged_also_where_its_lines_cannot_be_read(jobs_api, run, status, message, told, conditions, phase):
    jobs_api.answers["GET", "log"] = [(status, message)]
    ended = pod("Succeeded") if conditions is COMPLETE else pod("Failed", code=1)
    jobs_api.pods, jobs_api.ends = [pod("Running") if phase == "Running" else ended], {4: conditions}
    end, said = run()
    assert end.complete == (conditions is COMPLETE)
    assert sum(told in line for line in said) == 1
    assert not any("does not answer" in line for line in said)


def test_a_job_over_its_deadline_is_removed_also_where_its_lines_cannot_be_read(jobs_api, run):
    jobs_api.make(MANIFEST, startTime="2026-01-01T00:00:00Z")
    jobs_api.answers["GET", "log"] = [(500, "no route to host")]
    jobs_api.ends, jobs_api.pods = {}, [pod("Running")]
    assert "over its deadline" in run()[0].reason
    assert not jobs_api.jobs


def test_last_lines_that_a_hiccup_hides_are_asked_for_again(jobs_api, run):
    jobs_api.answers["GET", "log"] = [(500, "EOF"), (500, "EOF"), None]
    assert run()[0].tail == ("one", "two")


def test_the_shard_that_failed_says_why_and_not_the_one_that_was_followed(jobs_api, run):
    jobs_api.logs = {"shard-0": ["share 0: 12 records"], "shard-1": ["reading", "OSError: clip 7 is no video"]}
    jobs_api.pods = [shard(0, "Succeeded"), shard(1, code=1), shard(2, "Succeeded")]
    jobs_api.ends = {2: BACKOFF}
    end, said = run(PARTS)
    assert end.reason.endswith("; pod shard-1 said: OSError: clip 7 is no video")
    assert end.tail == ("reading", "OSError: clip 7 is no video")
    assert said[-3:] == ["the last lines of pod shard-1:", *end.tail]


@pytest.mark.parametrize("others", ["told to stop", "tried again", "tried again and done"])
@pytest.mark.parametrize("code", [2, 3])
def test_a_final_exit_code_says_more_than_pods_that_ended_later(jobs_api, run, code, others):
    later = {
        "told to stop": [shard(0, code=143), shard(2, code=143)],
        "tried again": [shard(0, code=1), shard(2, code=1)],
        "tried again and done": [shard(0, code=1), pod("Succeeded", index=0, name="shard-0b")],
    }
    jobs_api.logs = {"shard-1": ["ingest.source is missing"]}
    jobs_api.pods, jobs_api.ends = [shard(1, code=code), *later[others]], {2: POLICY}
    end, _ = run(PARTS)
    assert end.exit_code == code
    assert end.reason.endswith("; pod shard-1 said: ingest.source is missing")


def test_a_shard_that_was_mended_by_its_next_pod_is_not_why_the_job_failed(jobs_api, run):
    jobs_api.logs = {"shard-1": ["OSError: clip 7"]}
    jobs_api.pods = [shard(1, code=1), shard(2, code=1), pod("Succeeded", index=2, name="shard-2b")]
    jobs_api.ends = {2: BACKOFF}
    assert run(PARTS)[0].tail == ("OSError: clip 7",)


def test_lines_that_nobody_can_read_are_not_replaced_by_another_pods(jobs_api, run):
    jobs_api.logs = {"shard-0": ["share 0: 12 records"]}
    # The one that was followed, then the one that failed.
    jobs_api.answers["GET", "log"] = [None, (500, "no route to host")]
    jobs_api.pods, jobs_api.ends = [shard(0, "Succeeded"), shard(1, code=1)], {2: BACKOFF}
    end, _ = run(PARTS)
    assert "said" not in end.reason
    assert end.tail == ()


def test_a_deadline_leaves_the_lines_that_were_followed(jobs_api, run):
    jobs_api.pods, jobs_api.ends = [[pod("Running")], [pod("Running"), pod("Pending", name="newer")]], {3: DEADLINE}
    end, _ = run()
    assert end.reason.endswith("it said: two")


def test_where_the_cluster_knows_no_failure_policy_the_final_pods_lines_are_shown_too(jobs_api, run):
    jobs_api.logs = {"shard-0": ["share 0: 12 records"], "shard-1": ["refused: 2 clips are black"]}
    jobs_api.pods, jobs_api.ends = [shard(0, "Succeeded"), shard(1, code=3)], {}
    end, _ = run(PARTS)
    assert (end.exit_code, end.tail) == (3, ("refused: 2 clips are black",))
    assert end.reason.endswith("(exit code 3); pod shard-1 said: refused: 2 clips are black")
