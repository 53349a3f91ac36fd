"""Checking by hand: what is told apart, kept, counted and taken over into the data set; and the page for it."""

import http.client
import json
import shutil
import subprocess
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from track_records import record

from elysium.curation.dataset.publish import publish_dataset
from elysium.curation.dataset.review_command import review_command
from elysium.curation.dataset.review_server import ReviewServer
from elysium.curation.dataset.reviews import (
    Review,
    append_reviews,
    checked_records,
    content_of,
    judge,
    read_reviews,
    summarise_reviews,
    take_in,
    wilson,
)
from elysium.curation.dataset.sheet import write_contact_sheet
from elysium.data.track_set import TrackSet
from elysium.errors import ElysiumError, UsageError

BROWSER = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
HOSTILE = "<script>document.title='owned'</script> & \"'</script><!--\u2028"
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
RECORDS = [
    record(f"r{number}", split="evaluation" if number < 6 else "train", expression=f"a dog {number}")
    for number in range(9)
]


def tick(name, verdict, reviewer="ada", minutes=0, content=None):
    one = next((one for one in RECORDS if one.id == name), RECORDS[0])
    return Review(
        id=name,
        verdict=verdict,
        reviewer=reviewer,
        time=NOON + timedelta(minutes=minutes),
        content=content or content_of(one),
    )


@pytest.fixture
def data(tmp_path, settings):
    """A data set with frames; one expression and its caption are hostile."""
    root = tmp_path / "set"
    hostile = record("r0", split="evaluation", expression=HOSTILE, caption=HOSTILE, licence=HOSTILE)
    publish_dataset([hostile, *RECORDS[1:]], root, settings)
    for one in RECORDS:
        for number, name in enumerate(one.frames):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((48, 64, 3), 40 * number + 60, np.uint8)).save(root / name)
    return root


# Reviews


def test_ticks_are_kept_one_line_each(tmp_path):
    path = tmp_path / "reviews.jsonl"
    append_reviews(path, [tick("r0", "right")])
    append_reviews(path, [tick("r1", "unsure"), tick("r0", "wrong_box", minutes=1)])
    assert [(one.id, one.verdict) for one in read_reviews(path)] == [
        ("r0", "right"),
        ("r1", "unsure"),
        ("r0", "wrong_box"),
    ]


@pytest.mark.parametrize("left", [b'{"id":"r1","verd', b"\xff", b"{"])
def test_what_a_kill_left_of_a_line_is_no_tick_and_spoils_no_other(tmp_path, left):
    path = tmp_path / "reviews.jsonl"
    append_reviews(path, [tick("r0", "right")])
    with path.open("ab") as file:
        file.write(left)
    assert len(read_reviews(path)) == 1
    append_reviews(path, [tick("r1", "right")])
    assert [one.id for one in read_reviews(path)] == ["r0", "r1"]


def test_a_broken_line_among_others_is_named(tmp_path):
    path = tmp_path / "reviews.jsonl"
    append_reviews(path, [tick("r0", "right")])
    path.write_bytes(b'{"id":"r1"}\n' + path.read_bytes())
    with pytest.raises(ElysiumError, match=r"reviews\.jsonl, line 1 is no review: verdict: Field required"):
        read_reviews(path)


def test_the_later_tick_counts_and_disagreement_is_listed():
    reviews = [
        tick("r0", "wrong_box"), tick("r0", "right", minutes=1),  # changed one's mind
        tick("r1", "right", minutes=5), tick("r1", "not_unique", "bob", minutes=4),  # taken in later, said earlier
        tick("r2", "right"), tick("r2", "right", "bob", minutes=1),
    ]  # fmt: skip
    judged = judge(reviews)
    assert {name: one.verdict for name, one in judged.verdicts.items()} == {"r0": "right", "r1": "right", "r2": "right"}
    (conflict,) = judged.conflicts
    assert (conflict.id, [one.reviewer for one in conflict.reviews]) == ("r1", ["bob", "ada"])


def test_wrong_records_go_and_right_ones_are_marked():
    verdicts = ("right", "wrong_box", "wrong_expression", "not_unique", "unsure")
    judged = judge([tick(f"r{number}", verdict) for number, verdict in enumerate(verdicts)])
    kept = list(checked_records(RECORDS, judged))
    assert [one.id for one in kept] == ["r0", "r4", "r5", "r6", "r7", "r8"]
    assert [(one.metadata.model_extra or {}).get("checked") for one in kept] == [True] + [None] * 5
    assert kept[1:] == [RECORDS[number] for number in (4, 5, 6, 7, 8)]


def test_a_verdict_on_other_boxes_says_nothing():
    judged = judge([tick("r0", "wrong_box", content="0" * 16)])
    assert list(checked_records(RECORDS, judged)) == RECORDS
    assert summarise_reviews(RECORDS, judged)["of_other_content"] == 1


def test_a_record_that_was_marked_before_is_the_same_track():
    judged = judge([tick("r0", "right")])
    once = list(checked_records(RECORDS, judged))
    assert list(checked_records(once, judged)) == once


def test_the_summary_counts():
    reviews = [tick("r0", "right"), tick("r1", "right", "bob"), tick("r2", "not_unique"), tick("r3", "unsure")]
    found = summarise_reviews(RECORDS[:6], judge([*reviews, tick("r8", "wrong_box")]))
    assert (found["records"], found["checked"], found["reviewers"]) == (6, 4, {"ada": 3, "bob": 1})
    assert found["right_share"] == pytest.approx(2 / 3)
    # By hand: p = 2/3, n = 3, z = 1.96: (0.6667 + 0.6403 ± 1.96 √(0.07407 + 0.10671)) / (1 + 1.2805).
    assert found["right_interval"] == pytest.approx([0.2077, 0.9385], abs=1e-4)
    assert summarise_reviews(RECORDS, judge([]))["right_share"] is None


@pytest.mark.parametrize(("right", "total", "bounds"), [(81, 263, (0.2553, 0.3662)), (0, 20, (0, 0.1611))])
def test_wilson_bounds_are_published_ones(right, total, bounds):
    # Newcombe 1998 (Statistics in Medicine 17, table I, method 3).
    assert wilson(right, total) == pytest.approx(bounds, abs=5e-5)


# Answers from elsewhere


def write_answers(path, *reviews):
    path.write_text(json.dumps({"title": "t", "answers": [review.model_dump(mode="json") for review in reviews]}))
    return path


def find(name):
    return next((one for one in RECORDS if one.id == name), None)


def test_answers_are_taken_in_once(tmp_path):
    path, answers = (
        tmp_path / "reviews.jsonl",
        write_answers(tmp_path / "a.json", tick("r0", "right"), tick("r1", "unsure")),
    )
    assert [take_in(answers, path, find) for _ in range(2)] == [2, 0]
    assert len(read_reviews(path)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no file of answers"),
        ('{"answers": 3}', "no file of answers"),
        ("[]", "no file of answers"),
        ('{"answers": [{"id": "r0"}]}', "an answer that is none: verdict: Field required"),
    ],
)
def test_what_is_no_file_of_answers(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        take_in(tmp_path / "a.json", tmp_path / "reviews.jsonl", find)


def test_unknown_and_changed_records_are_named_and_nothing_is_taken_in(tmp_path):
    for reviews, message in (
        (
            (tick("r0", "right"), tick("x1", "right"), tick("x2", "right")),
            "'x1', 'x2', which the data set does not have",
        ),
        ((tick("r0", "right"), tick("r1", "right", content="0" * 16)), "another version of 'r1'"),
    ):
        with pytest.raises(UsageError, match=message):
            take_in(write_answers(tmp_path / "a.json", *reviews), tmp_path / "reviews.jsonl", find)
    assert not (tmp_path / "reviews.jsonl").exists()


# The served page


@pytest.fixture
def server(data, tmp_path):
    records = list(TrackSet(data, "evaluation"))
    with ReviewServer(records, data, tmp_path / "reviews.jsonl", "data", "ada") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_a_tick_is_on_the_disk_before_it_is_confirmed(server, tmp_path):
    body = tick("r1", "not_unique").model_dump_json()
    assert ask(server, "POST", "/tick", body, **{"X-Token": server.token})[0] == 200
    assert [(one.id, one.verdict) for one in read_reviews(tmp_path / "reviews.jsonl")] == [("r1", "not_unique")]
    # Whoever opens the page next goes on from there.
    assert b'"verdict":"not_unique","by":"ada"' in ask(server, "GET", "/")[1]


def test_pictures_are_drawn(server):
    status, content = ask(server, "GET", "/pictures/2.webp")
    assert (status, content[:4], content[8:12]) == (200, b"RIFF", b"WEBP")
    assert [ask(server, "GET", path)[0] for path in ("/pictures/6.webp", "/pictures/-1.webp", "/../x")] == [404] * 3


def test_a_frame_that_cannot_be_read_is_told(server, data):
    (data / RECORDS[3].frames[0]).unlink()
    status, text = ask(server, "GET", "/pictures/3.webp")
    assert (status, b"record r3" in text) == (500, True)


def test_strangers_are_refused(server, tmp_path):
    body = tick("r1", "right").model_dump_json()
    assert ask(server, "POST", "/tick", body)[0] == 403
    assert ask(server, "POST", "/tick", body, **{"X-Token": "other"})[0] == 403
    assert ask(server, "GET", "/", Host="evil.example")[0] == 403
    assert ask(server, "POST", "/tick", body, **{"X-Token": server.token, "Host": "evil.example:80"})[0] == 403
    for wrong in (tick("r8", "right"), tick("r1", "right", content="0" * 16)):
        assert ask(server, "POST", "/tick", wrong.model_dump_json(), **{"X-Token": server.token})[0] == 400
    assert ask(server, "POST", "/tick", b"x" * 20000, **{"X-Token": server.token})[0] == 400
    assert not (tmp_path / "reviews.jsonl").exists()


def test_a_port_that_is_taken_is_named(server, data, tmp_path):
    with pytest.raises(UsageError, match=f"port {server.server_port} cannot be listened on"):
        ReviewServer([], data, tmp_path / "r", "data", port=server.server_port)


# In a browser: what is done, and what the page shows then.
ACTS = """
<pre id="acts"></pre><script>
const told = { title: document.title, marked: document.querySelectorAll("main script, b *").length };
const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const says = (id) => document.getElementById(id).textContent;
told.expression = says("expression");
told.order = [...document.querySelectorAll("input, button, summary")]
  .filter((one) => !one.disabled && one.tabIndex >= 0).map((one) => one.id || one.dataset.verdict || one.localName);
press("1");
told.nameless = [document.activeElement.id, says("place"), document.getElementById("problem").hidden];
document.getElementById("reviewer").value = "Bob";
press("1"); press("b");
document.querySelectorAll(".choices button")[3].click();
told.ticked = [says("place"), says("done")];
press("ArrowLeft");
told.pressed = document.querySelector("[aria-pressed=true]").dataset.verdict;
press("u");
told.changed = says("done");
press("o"); press("e"); press("r"); press("r");
told.end = [says("place"), says("done"), document.getElementById("open").disabled];
HTMLAnchorElement.prototype.click = () => {};
URL.createObjectURL = (blob) => { blob.text().then((text) => {
  told.answers = JSON.parse(text);
  document.getElementById("acts").textContent = JSON.stringify(told);
}); return "#"; };
document.getElementById("save").click();
</script></body>
"""


def test_the_page_of_one_file_by_keys(data, tmp_path):
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    done = CliRunner().invoke(review_command, [str(data), "--page", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "page.html").read_text()
    assert 'src="http' not in page
    assert 'href="http' not in page
    (tmp_path / "acted.html").write_text(page.replace("</body>", ACTS))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom",
               f"--user-data-dir={tmp_path / 'browser'}", (tmp_path / "acted.html").as_uri()]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    told = json.loads(
        dom.partition('<pre id="acts">')[2]
        .partition("</pre>")[0]
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
    )
    assert (told["title"], told["marked"], told["expression"]) == ("Check 6 tracks of set", 0, HOSTILE)
    verdicts = ["right", "wrong_box", "wrong_expression", "not_unique", "unsure"]
    assert told["order"] == ["reviewer", *verdicts, "next", "open", "save", "summary"]
    assert told["nameless"] == ["reviewer", "1 of 6", False]
    assert told["ticked"] == ["4 of 6", "3 of 6 checked: 1 right, 2 wrong, 0 unsure"]
    assert (told["pressed"], told["changed"]) == ("not_unique", "3 of 6 checked: 1 right, 1 wrong, 1 unsure")
    assert told["end"] == ["5 of 6", "6 of 6 checked: 3 right, 2 wrong, 1 unsure", True]
    (tmp_path / "answers.json").write_text(json.dumps(told["answers"]))
    done = CliRunner().invoke(review_command, [str(data), "--answers", str(tmp_path / "answers.json"), "--json"])
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["verdicts"] == {"right": 3, "wrong_box": 1, "wrong_expression": 1, "not_unique": 0, "unsure": 1}
    assert found["reviewers"] == {"Bob": 6}


# The command


def run(*arguments):
    return CliRunner().invoke(review_command, [str(argument) for argument in arguments])


def test_apply_publishes_what_is_left(data, tmp_path):
    append_reviews(data / "reviews.jsonl", [tick("r1", "wrong_box"), tick("r2", "right"), tick("r7", "not_unique")])
    done = run(data, "--apply", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "out: 2 train and 5 evaluation records" in done.output
    held = TrackSet(tmp_path / "out", "evaluation")
    assert [one.id for one in held] == ["r0", "r2", "r3", "r4", "r5"]
    assert [one.id for one in held if (one.metadata.model_extra or {}).get("checked")] == ["r2"]
    assert all((tmp_path / "out" / name).is_file() for one in held for name in one.frames)
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert stats["records"]["by_split"] == {"evaluation": 5, "train": 2}
    assert stats["rejects"]["dataset"]["called_wrong"] == 2
    assert "| found right by hand | 0 | 1 | 1 |" in (tmp_path / "out" / "README.md").read_text()
    done = run(data, "--apply", tmp_path / "out")
    assert isinstance(done.exception, UsageError)
    assert "is not empty" in str(done.exception)


def test_a_sample_of_the_training_records_is_the_same_each_time(data, tmp_path):
    pages = [run(data, "--split", "train", "--sample", 2, "--page", tmp_path / f"{n}.html") for n in range(2)]
    assert [page.exit_code for page in pages] == [0, 0]
    assert (tmp_path / "0.html").read_bytes() == (tmp_path / "1.html").read_bytes()
    assert "Check 2 tracks" in (tmp_path / "0.html").read_text()


def test_a_folder_without_records_says_so(tmp_path):
    done = run(tmp_path, "--summary")
    assert isinstance(done.exception, UsageError)


# The contact sheet


def test_the_contact_sheet_shows_hostile_words_as_words(data):
    page = write_contact_sheet(data).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;document.title" in page
    assert page.count("<li>") == len(RECORDS)
    assert "http" not in page.replace("http-equiv", "")


def test_the_same_data_gives_the_same_sheet_and_another_seed_another_one(data):
    first = write_contact_sheet(data, count=4).read_bytes()
    assert write_contact_sheet(data, count=4).read_bytes() == first
    assert write_contact_sheet(data, count=4, seed=1).read_bytes() != first


def test_a_frame_that_is_missing_is_named_on_no_sheet(data):
    (data / RECORDS[4].frames[2]).unlink()
    with pytest.raises(ElysiumError, match="record r4: the picture"):
        write_contact_sheet(data)
