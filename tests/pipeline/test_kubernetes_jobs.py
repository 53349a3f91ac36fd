"""Jobs from start to end, against a small server that answers as the Kubernetes API does."""

import copy
import itertools
import re
import threading

import pytest
from jobs_api import BACKOFF, COMPLETE, DEADLINE, POLICY, event, pod

from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.job_watch import JobWatch, run_job
from elysium.pipeline.jobs import JobPlace, Unreachable
from elysium.pipeline.kubernetes import JobRequest, Work, render_job, render_work
from elysium.pipeline.profile import JobProfile
from elysium.pipeline.steps import step

REQUEST = JobRequest("run", "/workspace/run")
MANIFEST = render_job(step("validate-raw"), REQUEST)
NAME = MANIFEST["metadata"]["name"]


@pytest.fixture
def run(jobs_api):
    """Runs Jobs and returns how they ended and what was said."""

    def start(*manifests, patience=0.0):
        said = []
        with jobs_api.cluster(said.append) as cluster:
            return run_job(cluster, list(manifests) or [MANIFEST], patience=patience), said

    return start


def ranks(count=2):
    profile = JobProfile(nodes=count, indexed=False)
    request = JobRequest("run", "/workspace/run", profile=profile)
    return render_work(Work.of(step("finetune"), request), request)


def test_a_job_is_made_followed_and_ends_with_its_last_line(jobs_api, run):
    end, said = run()
    assert end.complete
    assert end.reason == "two"
    assert end.tail == ("one", "two")
    assert said[-2:] == ["one", "two"]
    made = jobs_api.jobs[NAME]
    assert made["spec"] == MANIFEST["spec"]


def test_a_living_job_is_gone_on_with_and_no_second_one_is_made(jobs_api, run):
    """apache/airflow 70585: the task failed, its Job lived on, and the retry started another."""
    jobs_api.make(MANIFEST)
    jobs_api.ends = {3: COMPLETE}
    end, said = run()
    assert end.complete
    assert "lives already" in said[0]
    assert "POST" not in jobs_api.methods()
    assert "DELETE" not in jobs_api.methods()


@pytest.mark.parametrize("conditions", [COMPLETE, DEADLINE], ids=["complete", "failed"])
def test_a_job_that_ended_earlier_is_not_believed_and_makes_way(jobs_api, run, conditions):
    jobs_api.make(MANIFEST, conditions)
    jobs_api.ends = {3: COMPLETE}
    assert run()[0].complete
    assert [method for method in jobs_api.methods() if method != "GET"] == ["DELETE", "POST"]


def test_a_job_that_somebody_else_makes_at_the_same_moment_is_gone_on_with(jobs_api, run):
    usual = jobs_api.answer

    def answer(method, *request):
        if method == "POST" and not jobs_api.jobs:
            jobs_api.make(MANIFEST)
        return usual(method, *request)

    jobs_api.answer, jobs_api.ends = answer, {3: COMPLETE}
    end, said = run()
    assert end.complete
    assert "lives already" in said[0]


def test_a_line_is_handed_on_once(jobs_api, run):
    jobs_api.pods = [pod("Running")]
    jobs_api.ends = {5: COMPLETE}
    assert run()[1].count("one") == 1


def test_a_refused_gate_is_told_by_its_exit_code_and_its_reason(jobs_api, run):
    jobs_api.ends, jobs_api.pods, jobs_api.log = {1: POLICY}, [pod("Failed", code=3)], ["refused: 2 clips are black"]
    jobs_api.ends = {2: POLICY}
    end, _ = run()
    assert not end.complete
    assert end.exit_code == 3
    assert "2 clips are black" in end.reason
    assert "PodFailurePolicy" in end.reason


@pytest.mark.parametrize("code", [2, 3])
def test_where_the_cluster_knows_no_failure_policy_a_final_exit_code_still_ends_the_job(jobs_api, run, code):
    jobs_api.ends, jobs_api.pods, jobs_api.log = {}, [pod("Failed", code=code)], ["2 clips are black"]
    end, _ = run()
    assert (end.complete, end.exit_code) == (False, code)
    assert "2 clips are black" in end.reason
    assert not jobs_api.jobs


def test_a_job_whose_pods_are_gone_still_says_why(jobs_api, run):
    jobs_api.ends, jobs_api.pods = {2: DEADLINE}, []
    end, _ = run()
    assert end.exit_code is None
    assert "DeadlineExceeded: active longer than allowed" in end.reason


def test_a_step_that_took_too_much_memory_is_told_with_the_remedy(jobs_api, run):
    jobs_api.ends, jobs_api.pods = {2: BACKOFF}, [pod("Failed", code=137, memory="32Gi")]
    end, _ = run()
    assert end.exit_code == 137
    assert "its limit of 32Gi (OOMKilled); raise memory_gib" in end.reason


@pytest.mark.parametrize(
    ("waiting", "message", "sentence"),
    [
        ("ImagePullBackOff", "no such image", "the image elysium:1 cannot be had (ImagePullBackOff: no such image)"),
        ("InvalidImageName", "bad reference", "the image elysium:1 cannot be had (InvalidImageName: bad reference)"),
        ("CreateContainerConfigError", 'secret "stores" not found', 'a Secret or ConfigMap that it refers to (CreateC'),
        ("RunContainerError", "no such file", f"pod pod-of-{NAME} does not start (RunContainerError: no such file)"),
    ],
)  # fmt: skip
def test_a_pod_that_cannot_start_ends_its_job_in_one_sentence(jobs_api, run, waiting, message, sentence):
    jobs_api.ends, jobs_api.pods = {}, [pod(waiting=waiting, message=message)]
    end, said = run()
    assert sentence in end.reason
    assert "\n" not in end.reason
    assert not end.again
    assert not jobs_api.jobs, "nobody waits for it"
    assert sum(sentence in line for line in said) == 1


def test_a_pod_that_gets_its_image_in_time_goes_on(jobs_api, run):
    jobs_api.ends, jobs_api.pods = {3: COMPLETE}, [pod(waiting="ImagePullBackOff")]
    end, said = run(patience=60)
    assert end.complete
    assert sum("cannot be had" in line for line in said) == 1


def test_a_quota_that_is_spent_is_told_and_may_be_tried_again(jobs_api, run):
    jobs_api.ends, jobs_api.pods = {}, []
    looks = itertools.count()

    def refused():
        # Another pod's name each time, as the controller tries again.
        message = f'pods "x-{next(looks)}" is forbidden: exceeded quota: compute, requested: cpu=8'
        return [event("FailedCreate", message)]

    jobs_api.events = refused
    end, said = run(patience=0.3)
    assert next(looks) > 2
    assert re.search(r"quota is too small for it: .* exceeded quota: compute, requested: cpu=8", end.reason)
    assert end.again
    assert sum("quota is too small" in line for line in said) == 1


def test_a_secret_that_cannot_be_mounted_is_told(jobs_api, run):
    jobs_api.ends, jobs_api.pods = {}, [pod("Pending")]
    jobs_api.events = [event("FailedMount", 'MountVolume.SetUp failed: secret "stores" not found')]
    end, _ = run()
    assert 'cannot mount a volume, Secret or ConfigMap (FailedMount: MountVolume.SetUp failed: secret "st' in end.reason


def test_events_that_may_not_be_read_are_done_without(jobs_api, run):
    jobs_api.answers["GET", "events"] = [(403, "events is forbidden")]
    jobs_api.ends, jobs_api.pods = {4: DEADLINE}, []
    assert "DeadlineExceeded" in run()[0].reason


def test_a_pod_that_finds_no_node_waits_and_says_so(jobs_api, run):
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes fit"}
    jobs_api.ends, jobs_api.pods = {5: COMPLETE}, [pod("Pending", conditions=[unscheduled])]
    end, said = run()
    assert end.complete
    assert sum("waits for a node that has room for it: 0/2 nodes fit" in line for line in said) == 1


@pytest.mark.parametrize(
    "gone",
    [
        {"reason": "Evicted", "message": "the node was low on memory"},
        {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                         "message": "the node was low on memory"}]},
    ],
    ids=["evicted", "preempted"],
)  # fmt: skip
def test_a_pod_that_was_taken_away_is_told(jobs_api, run, gone):
    jobs_api.ends, jobs_api.pods = {4: COMPLETE}, [pod("Failed", code=143, **gone)]
    _, said = run()
    assert sum("was taken away" in line and "low on memory" in line for line in said) == 1


@pytest.mark.parametrize(
    ("status", "message", "sentence", "again"),
    [
        (403, 'jobs.batch is forbidden: User "x"', "the cluster denies it: jobs.batch is forbidden", False),
        (403, "exceeded quota: jobs", "the namespace's quota is spent", True),
        (404, 'namespaces "elysium" not found', 'the cluster refuses it: namespaces "elysium" not found', False),
        (401, "Unauthorized", "does not know Airflow's credentials", True),
        (503, "etcd is away", "the cluster's API answers 503: etcd is away", True),
    ],
)  # fmt: skip
def test_a_refusal_is_one_sentence_and_says_whether_a_retry_may_help(jobs_api, run, status, message, sentence, again):
    jobs_api.answers["POST", "jobs"] = [(status, message)]
    with pytest.raises(ElysiumError, match="cannot make the Job") as caught:
        run()
    assert sentence in str(caught.value)
    assert isinstance(caught.value, Unreachable) == again


def test_the_job_outlives_an_api_that_does_not_answer(jobs_api, run):
    jobs_api.answers["GET", "jobs"] = [None, (503, "restarting"), (503, "restarting"), (500, "nearly"), None]
    jobs_api.ends = {2: COMPLETE}
    end, said = run()
    assert end.complete
    assert sum("does not answer" in line for line in said) == 1


def test_a_job_that_somebody_deletes_has_not_done_its_work(jobs_api, run):
    usual = jobs_api.answer

    def answer(*request):
        result = usual(*request)
        jobs_api.jobs.clear()
        return result

    jobs_api.answer = answer
    end, _ = run()
    assert not end.complete
    assert end.again
    assert "was deleted" in end.reason


def test_a_job_over_its_deadline_is_removed_where_the_cluster_has_not_done_it(jobs_api, run):
    """apache/airflow 67227: deferred tasks have no time limit of their own."""
    jobs_api.make(MANIFEST, startTime="2026-01-01T00:00:00Z")
    jobs_api.ends, jobs_api.pods = {}, [pod("Running")]
    end, _ = run()
    assert "over its deadline" in end.reason
    assert not jobs_api.jobs


def test_a_job_that_waits_in_a_queue_has_not_begun_to_use_its_time(jobs_api, run):
    queued = copy.deepcopy(MANIFEST)
    queued["spec"]["suspend"] = True
    jobs_api.make(queued, startTime=None)
    jobs_api.ends, jobs_api.pods = {3: COMPLETE}, []
    assert run(queued)[0].complete


def test_a_job_without_a_deadline_is_not_made(run):
    endless = copy.deepcopy(MANIFEST)
    del endless["spec"]["activeDeadlineSeconds"]
    with pytest.raises(UsageError, match="no activeDeadlineSeconds"):
        run(endless)


def test_ranks_are_made_together_and_their_service_goes_when_they_are_done(jobs_api, run):
    manifests = ranks()
    kinds = [manifest["kind"] for manifest in manifests]
    assert kinds == ["Service", "Job", "Job"]
    jobs_api.ends = {3: COMPLETE, 4: COMPLETE}
    end, said = run(*manifests)
    assert end.complete
    assert len(jobs_api.jobs) == 2
    assert not jobs_api.services
    assert said.count("one") == 1, "rank 0 speaks for all"


def test_a_rank_that_fails_ends_the_others(jobs_api, run):
    jobs_api.ends = {4: BACKOFF}
    jobs_api.pods = [pod("Failed", code=1)]
    end, _ = run(*ranks())
    assert not end.complete
    assert "finetune-1 failed (BackoffLimitExceeded" in end.reason
    assert end.tail == ("one", "two")
    assert not jobs_api.jobs
    assert not jobs_api.services


def test_ranks_that_are_half_made_are_completed(jobs_api, run):
    manifests = ranks()
    jobs_api.make(manifests[1])
    jobs_api.ends = dict.fromkeys(range(3, 9), COMPLETE)
    assert run(*manifests)[0].complete
    assert len(jobs_api.methods("jobs")) == 1, "one was made"
    assert len(jobs_api.jobs) == 2


def test_ranks_of_which_one_failed_earlier_are_all_made_anew(jobs_api, run):
    manifests = ranks()
    jobs_api.make(manifests[1])
    jobs_api.make(manifests[2], BACKOFF)
    jobs_api.ends = dict.fromkeys(range(5, 9), COMPLETE)
    assert run(*manifests)[0].complete
    assert jobs_api.methods("jobs") == ["POST", "POST"]


@pytest.mark.parametrize("before", [0, 1], ids=["none was there", "one lived"])
@pytest.mark.parametrize("message", ["jobs.batch is forbidden", "exceeded quota: jobs"], ids=["denied", "quota"])
def test_ranks_of_which_one_is_refused_leave_none_that_waits_for_it(jobs_api, run, before, message):
    manifests = ranks()
    for manifest in manifests[1 : 1 + before]:
        jobs_api.make(manifest)
    jobs_api.answers["POST", "jobs"] = [None] * (1 - before) + [(403, message)]
    jobs_api.ends, jobs_api.pods = {}, [pod("Running")]
    with pytest.raises(ElysiumError, match=message):
        run(*manifests)
    assert not jobs_api.jobs
    assert not jobs_api.services


def test_ranks_that_are_half_made_when_the_api_goes_away_wait_for_the_retry(jobs_api, run):
    jobs_api.answers["POST", "jobs"] = [None, (503, "restarting")]
    with pytest.raises(Unreachable):
        run(*ranks())
    assert len(jobs_api.jobs) == 1


def test_what_may_not_be_removed_after_a_refusal_is_told(jobs_api):
    jobs_api.answers["POST", "jobs"] = [None, (403, "jobs.batch is forbidden")]
    jobs_api.answers["DELETE", "jobs"] = [(403, "may not delete")]
    said = []
    with jobs_api.cluster(said.append) as cluster, pytest.raises(ElysiumError, match="is forbidden"):
        run_job(cluster, ranks())
    assert "cannot remove the Job elysium-run-finetune-0: the cluster denies it: may not delete" in said[-1]


def test_a_job_that_goes_is_waited_for_and_that_is_said_once(jobs_api, run):
    jobs_api.make(MANIFEST, COMPLETE)
    jobs_api.leaving, jobs_api.ends = 4, {9: COMPLETE}
    end, said = run()
    assert end.complete
    grace = MANIFEST["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert sum(f"waits for the Job {NAME} of before to go; its pods have {grace} s" in line for line in said) == 1


def test_a_job_that_does_not_go_ends_the_wait_with_what_holds_it(jobs_api):
    stuck = copy.deepcopy(MANIFEST)
    stuck["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 0
    jobs_api.make(stuck, COMPLETE)
    jobs_api.leaving = 10**6
    with jobs_api.cluster(lambda line: None, margin=0.05) as cluster, pytest.raises(Unreachable) as caught:
        run_job(cluster, [MANIFEST])
    assert f"the Job {NAME} of before is still being deleted" in str(caught.value)
    assert "a finalizer holds it, or a node that does not answer" in str(caught.value)


@pytest.mark.parametrize(("minor", "refused"), [("20", True), ("23+", True), ("24", False), ("37", False)])
def test_indexed_jobs_are_refused_where_the_cluster_is_too_old(jobs_api, run, minor, refused):
    request = JobRequest("run", "/workspace/run", profile=JobProfile(nodes=2))
    manifests = render_work(Work.of(step("finetune"), request), request)
    jobs_api.minor, jobs_api.ends = minor, {2: COMPLETE}
    if refused:
        with pytest.raises(UsageError, match=r"Indexed Jobs need 1\.24 or newer; write `indexed: false`"):
            run(*manifests)
        assert not jobs_api.jobs
    else:
        assert run(*manifests)[0].complete


def test_a_watch_that_is_stopped_leaves_the_job(jobs_api):
    stop = threading.Event()
    jobs_api.make(MANIFEST)
    jobs_api.ends, jobs_api.pods = {}, [pod("Running")]

    def say(line):
        if line == "two":
            stop.set()

    with jobs_api.cluster(say) as cluster:
        assert JobWatch(cluster, JobPlace.of([MANIFEST]), stop=stop).follow() is None
    assert NAME in jobs_api.jobs
