import subprocess
from pathlib import Path

import pytest

from elysium.evaluation.captions.caption_tokens import tokenise
from elysium.evaluation.captions.meteor import find_java

# What Stanford's PTBTokenizer 3.4.1 made of these texts, less pycocoevalcap's list of punctuation.
KNOWN = {
    "A man's dog isn't in the car's seat.": "a man 's dog is n't in the car 's seat",
    "the girls' toys, the boss's hat; James' dog": "the girls toys the boss 's hat james dog",
    "it’s a dog – isn’t it?": "it 's a dog is n't it",
    'a "red" car (left) [blurry] {x}': "a red car -lrb- left -rrb- -lsb- blurry -rsb- -lcb- x -rcb-",
    "a 10-year-old boy in a T-shirt - or a close-up...": "a 10-year-old boy in a t-shirt or a close-up",
    "black/white cats, his/her/its/their": "black/white cats his/her/its / their",
    "3.5 meters, 1,000 people, 50% off, $5.00": "3.5 meters 1,000 people 50 % off $ 5.00",
    "5:30 p.m. on Jan. 5th at 10:30am": "5:30 p.m. on jan. 5th at 10:30 am",
    "Mr. Smith, St. Louis, etc. and the end.": "mr. smith st. louis etc. and the end",
    "the U.S. flag no. 5 is no.": "the u.s. flag no. 5 is no",
    "I'm gonna say you cannot, he'd've": "i 'm gon na say you can not he 'd 've",
    "rock'n'roll at 5 o'clock in the '90s, the 90's": "rock 'n' roll at 5 o'clock in the '90s the 90 's",
    "hi!!! what?! wait... no..": "hi !!! what ?! wait no",
    "AT&T & b&w, #1 and player #23": "at&t & b & w # 1 and player # 23",
    "a ||| b|c": "a | | | b | c",
    "café \U0001f600 红色 车 ½ cup 5° €5": "café 红色 车 1/2 cup 5 ° $ 5",
    "[23,45,46,72], Frame 1: .": "-lsb- 23,45,46,72 -rsb- frame 1",
    "</s> <unk> <a b": "</s> <unk> < a b",
    "a  man\twith \u00a0 spaces": "a man with spaces",
    "one,two.Three four": "one two.three four",
    "don`t 'quoted text' ''x''": "do n`t quoted text x",
    "www.a.com. http://a.b/c?d=e. foo@bar.com": "www.a.com http://a.b/c?d=e foo@bar.com",
    "vitamin c. The end of letter b.": "vitamin c the end of letter b.",
    "": "",
    " .,;:! ?-- ' \" ... ": "",
}


@pytest.mark.parametrize(("text", "words"), KNOWN.items())
def test_words_are_those_of_the_published_tokeniser(text, words):
    assert tokenise(text) == words.split()


def test_the_published_tokeniser_makes_the_same_words(tmp_path):
    package = pytest.importorskip("pycocoevalcap", reason="the published tokeniser comes with pycocoevalcap")
    java = find_java()
    if java is None:
        pytest.skip("the published tokeniser is a Java program, and there is no Java")
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

    jar = next(Path(place) / "tokenizer" / STANFORD_CORENLP_3_4_1_JAR for place in package.__path__)
    texts = [text for text in KNOWN if text.strip()] + list(_descriptions())
    (tmp_path / "texts").write_text("\n".join(text.replace("\t", " ") for text in texts) + "\n", encoding="utf-8")
    tokeniser = ["-cp", jar, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    result = subprocess.run(
        [java, "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", *tokeniser, tmp_path / "texts"],
        capture_output=True,
        check=True,
        timeout=120,
    )
    lines = result.stdout.decode("utf-8").split("\n")
    assert len(lines) == len(texts) + 1
    for text, line in zip(texts, lines[:-1], strict=True):
        published = [word for token in line.split(" ") if token not in PUNCTUATIONS for word in token.split()]
        assert tokenise(text) == published, text


@pytest.mark.parametrize(
    "text", ["a" * 20_000, "'" * 20_000, "a." * 10_000, "a-" * 10_000, "<a " * 10_000, "a'" * 10_000, "a/" * 10_000]
)
def test_a_runaway_answer_takes_no_time_to_speak_of(text):
    assert len(tokenise(text)) <= len(text)


def test_half_a_character_is_no_error():
    assert tokenise("a \ud83d car") == ["a", "car"]


def _descriptions():
    """Yields descriptions of many shapes: every part beside every sign."""
    who = ["a man", "two dogs", "the girl's hand", "The 2nd player", "Mr. Smith", "someone who's", "a non-white car"]
    does = ["riding", "isn't holding", "can't see", "parked on", "wearing", "cannot reach", "they're watching", "by"]
    what = ["a T-shirt", "the 'STOP' sign", "a bike (red)", "the kids' toys", "1/2 pizza", "5 p.m.", "a #1 sign"]
    signs = [" ", ", ", ". ", "; ", ": ", " - ", " -- ", "... ", "! ", "? ", " / ", " & ", ",", "'s ", '" ', " and "]
    for number in range(600):
        # Steps without a common divisor bring all pairs together.
        parts = [who[number % len(who)], does[number % len(does)], what[(number // 7) % len(what)]]
        sign, other = signs[number % len(signs)], signs[(number // 3) % len(signs)]
        text = parts[0] + sign + parts[1] + other + parts[2] + ["", ".", "!", "..."][number % 4]
        yield text.upper() if number % 11 == 0 else text
