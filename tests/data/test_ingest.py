import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from elysium.data.ingest import SkippedClip, run
from elysium.data.records import ClipAnnotations, RawClip, read_jsonl
from elysium.data.samples import sample_clips, seeds
from elysium.data.transfer import FetchError
from elysium.data.video import probe
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.workspace import scan, sha256

FEW = ("ingest.num_simulated_train=2", "ingest.num_simulated_evaluation=1", "ingest.simulated_frames=4")


def manifest(folder):
    return list(read_jsonl(folder / "manifest.jsonl", RawClip))


def skipped(folder):
    return {line.id: line.reason for line in read_jsonl(folder / "skipped.jsonl", SkippedClip, allow_empty=True)}


def test_the_built_in_source_gives_real_and_simulated_clips(make_context):
    context = make_context("ingest", *FEW)
    result = run(context)
    clips = manifest(context.output)
    assert [clip.id for clip in clips[:3]] == ["carphone", "bikes", "bigbuckbunny"]
    assert [clip.split for clip in clips] == [None, None, None, "train", "train", "evaluation"]
    assert (result.metrics["num_clips"], result.metrics["num_simulated"]) == (6, 3)
    for clip in clips:
        assert sha256(context.output / clip.path) == clip.sha256
        assert clip.caption
        assert clip.licence


def test_real_clips_are_the_wheels_files_byte_for_byte(make_context):
    context = make_context("ingest", *FEW)
    run(context)
    for sample in sample_clips():
        assert (context.output / f"clips/{sample.id}.mp4").read_bytes() == sample.path.read_bytes()


def test_simulated_clips_carry_annotations_for_every_frame(make_context):
    context = make_context("ingest", *FEW)
    run(context)
    for clip in manifest(context.output)[3:]:
        annotations = ClipAnnotations.model_validate_json((context.output / clip.annotations).read_bytes())
        assert probe(context.output / clip.path).num_frames == 4
        assert {len(item.boxes) for item in annotations.objects} == {4}


def test_training_and_evaluation_seeds_never_meet():
    known = seeds()
    train = range(known.train_seeds.first, known.train_seeds.first + known.train_seeds.count)
    evaluation = range(known.evaluation_seeds.first, known.evaluation_seeds.first + known.evaluation_seeds.count)
    assert train.stop <= evaluation.start or evaluation.stop <= train.start


def test_more_clips_than_seeds_are_refused():
    with pytest.raises(ElysiumError, match="there are seeds for"):
        seeds().train_seeds.take(10**9)


def test_one_bad_clip_never_stops_the_rest(make_context, make_video, tmp_path):
    make_video(tmp_path / "in/good.mp4")
    (tmp_path / "in/empty.mp4").touch()
    rows = ["id,path,caption", "good,good.mp4,A wall.", "empty,empty.mp4,x", "gone,gone.mp4,x", "none,,x"]
    rows += ["odd,ftp://host/a.mp4,x", "inward,http://127.0.0.1:9/a.mp4,x"]
    (tmp_path / "in/list.csv").write_text("\n".join(rows))
    settings = (f"ingest.source={tmp_path}/in/list.csv", "ingest.allow_private_hosts=true", "ingest.retries=0")
    context = make_context("ingest", *settings)
    result = run(context)
    assert [clip.id for clip in manifest(context.output)] == ["good"]
    reasons = skipped(context.output)
    assert list(reasons) == ["empty", "gone", "none", "odd", "inward"]
    assert "empty (0 bytes)" in reasons["empty"]
    assert "does not exist" in reasons["gone"]
    assert "refused" in reasons["inward"]
    assert result.metrics["num_skipped"] == 5
    assert str(tmp_path) not in (context.output / "skipped.jsonl").read_text()


def test_a_clip_above_the_size_limit_is_skipped(make_context, make_video, tmp_path):
    make_video(tmp_path / "in/good.mp4")
    (tmp_path / "in/huge.mp4").write_bytes(bytes(2 << 20))
    context = make_context("ingest", f"ingest.source={tmp_path}/in", "ingest.max_clip_mib=1")
    run(context)
    assert "exceed the limit of 1 MiB" in skipped(context.output)["huge"]


def test_a_clip_with_another_checksum_than_announced_is_skipped(make_context, make_video, tmp_path):
    make_video(tmp_path / "in/a.mp4")
    make_video(tmp_path / "in/b.mp4", shade=9)
    (tmp_path / "in/list.csv").write_text(f"path,caption,sha256\na.mp4,x,{'0' * 64}\nb.mp4,x,\n")
    context = make_context("ingest", f"ingest.source={tmp_path}/in/list.csv")
    run(context)
    assert "SHA-256" in skipped(context.output)["a"]
    assert [path.name for path in (context.output / "clips").iterdir()] == ["b.mp4"]


def test_no_usable_clip_at_all_is_an_error_that_names_the_first(make_context, tmp_path):
    (tmp_path / "list.csv").write_text("path,caption\na.mp4,x\n")
    with pytest.raises(ElysiumError, match=r"no clip of .*1 were skipped; the first: a: the file does not exist"):
        run(make_context("ingest", f"ingest.source={tmp_path}/list.csv"))


def test_a_zero_byte_list_is_bad_usage(make_context, tmp_path):
    (tmp_path / "list.csv").touch()
    with pytest.raises(UsageError, match=r"list\.csv cannot be read: the file is empty \(0 bytes\)"):
        run(make_context("ingest", f"ingest.source={tmp_path}/list.csv"))


def test_a_full_disk_stops_the_step(make_context, make_video, tmp_path, monkeypatch):
    make_video(tmp_path / "in/a.mp4")

    class FullDisk(io.BytesIO):
        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("elysium.data.transfer.whole_file", lambda target: contextlib.nullcontext(FullDisk()))
    with pytest.raises(FetchError, match="No space left on device; make room there and run the same command again"):
        run(make_context("ingest", f"ingest.source={tmp_path}/in"))


def test_what_stops_every_clip_stops_the_step_and_skips_nothing(make_context, make_video, tmp_path, monkeypatch):
    make_video(tmp_path / "in/a.mp4")

    def expired(*arguments):
        raise FetchError("the token has expired", kind="credentials", scope="run")

    monkeypatch.setattr("elysium.data.storage.LocalStorage.fetch", expired)
    context = make_context("ingest", f"ingest.source={tmp_path}/in")
    with pytest.raises(FetchError, match="the token has expired"):
        run(context)
    assert not (context.output / "skipped.jsonl").exists()


def test_a_raw_artifact_is_a_source_that_keeps_splits_and_boxes(make_context, tmp_path):
    first = make_context("ingest", *FEW)
    run(first)
    again = tmp_path / "again"
    first.output.rename(again)
    second = make_context("ingest", f"ingest.source={again}")
    run(second)
    assert manifest(second.output) == manifest(again)
    assert scan(second.output) == scan(again)


def test_what_an_earlier_attempt_finished_is_kept(make_context, make_video, tmp_path):
    make_video(tmp_path / "in/a.mp4")
    make_video(tmp_path / "in/b.mp4", shade=9)
    context = make_context("ingest", f"ingest.source={tmp_path}/in")
    run(context)
    first = manifest(context.output)
    (context.output / ".journal.jsonl").write_text(first[0].model_dump_json() + "\n" + '{"id": "b", "pa')
    (context.output / "clips/.b.mp4.77.part").write_text("half")
    stamp = (context.output / "clips/a.mp4").stat().st_mtime_ns
    (tmp_path / "in/a.mp4").write_bytes(b"changed since")
    run(context)
    assert manifest(context.output) == first
    assert (context.output / "clips/a.mp4").stat().st_mtime_ns == stamp
    assert sorted(scan(context.output)) == ["clips/a.mp4", "clips/b.mp4", "manifest.jsonl", "skipped.jsonl"]


def test_a_kept_clip_that_was_damaged_is_fetched_again(make_context, make_video, tmp_path):
    make_video(tmp_path / "in/a.mp4")
    context = make_context("ingest", f"ingest.source={tmp_path}/in")
    run(context)
    (clip,) = manifest(context.output)
    (context.output / ".journal.jsonl").write_text(clip.model_dump_json() + "\n")
    (context.output / "clips/a.mp4").write_bytes(b"damaged")
    run(context)
    assert sha256(context.output / "clips/a.mp4") == clip.sha256


def test_a_killed_run_is_finished_by_the_next_with_the_same_result(tmp_path):
    command = [sys.executable, "-m", "elysium.cli", "step", "ingest", "--json"]
    command += ["--set", "ingest.num_simulated_train=40", "--set", "ingest.num_simulated_evaluation=1"]
    whole = subprocess.run([*command, "--workspace", tmp_path / "whole"], check=True, capture_output=True, text=True)
    process = subprocess.Popen([*command, "--workspace", tmp_path / "cut"], stderr=subprocess.DEVNULL)
    clips = tmp_path / "cut/.partial/ingest/clips"
    deadline = time.monotonic() + 60
    while not (clips / "simulated-0000005.mp4").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, "the step was over before it could be killed"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut/raw").exists()
    again = subprocess.run([*command, "--workspace", tmp_path / "cut"], check=True, capture_output=True, text=True)
    assert "going on with what an earlier attempt left" in again.stderr
    digests = [json.loads(done.stdout.splitlines()[-1])["digest"] for done in (whole, again)]
    assert digests[0] == digests[1]
