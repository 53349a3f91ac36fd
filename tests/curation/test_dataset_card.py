"""The card states what the records say, in a form that the Hub reads, whatever words the data holds."""

import json
import re
import xml.etree.ElementTree as ET

import pytest
import yaml
from track_records import record

from elysium.curation.dataset.card import write_card
from elysium.curation.dataset.funnel import draw_funnel
from elysium.curation.dataset.publish import publish_dataset
from elysium.curation.dataset.reviews import Review, append_reviews, content_of
from elysium.errors import ElysiumError

STATS = {
    "num_clips": 1234,
    "num_candidates": 40,
    "num_records": 30,
    "funnel": [
        {"stage": "grounding", "entered": 40, "rejected": 8, "passed": 32},
        {"stage": "tracking", "entered": 32, "rejected": 2, "passed": 30},
    ],
    "rejects": {"grounding": {"ambiguous": 5, "not_found_first": 3}, "tracking": {"low_confidence": 2}},
}
RECORDS = [
    record(
        f"r{number}",
        share=number // 3 / 10,
        split="evaluation" if number < 6 else "train",
        kind="real" if number % 2 else "simulated",
        count=2 + number,
        expression="a black dog" if number % 5 else "a | cat <b>`x`",
        source=f"https://clips.example/{number}.mp4",
        licence="CC-BY-4.0",
    )
    for number in range(30)
]


@pytest.fixture
def card(tmp_path, settings):
    """Publishes records and returns the card's text."""

    def make(records=RECORDS, settings=settings, **options):
        publish_dataset(iter(records), tmp_path, settings, parquet=options.pop("parquet", True))
        (tmp_path / "stats.json").write_text(json.dumps(STATS))
        return write_card(tmp_path, settings, **options).read_text()

    return make


def row(card, name):
    """Returns the cells of the first table row with a name."""
    found = re.search(rf"^\| {re.escape(name)} \|(.*)\|$", card, re.MULTILINE)
    assert found, name
    return [cell.strip() for cell in found[1].split("|")]


def test_counts_are_those_of_the_records(card):
    text = card()
    assert row(text, "expression–track pairs") == ["24", "6", "30"]
    assert row(text, "source videos") == ["8", "2", "10"]
    assert row(text, "stored frames") == [str(sum(range(8, 32))), str(sum(range(2, 8))), str(sum(range(2, 32)))]
    assert row(text, "dog") == ["24", "80.0 %"]
    assert row(text, "simulated") == ["15", "50.0 %"]
    assert row(text, "CC-BY-4.0") == ["30", "100.0 %"]
    assert row(text, "64×48") == ["30", "100.0 %"]
    assert row(text, "Frames of a track") == ["2", "3.45", "16.5", "29.55", "31"]
    assert row(text, "Duration of a track (s)")[4] == "2.5"
    assert row(text, "Frames a second")[2] == "12"
    assert row(text, "Words of an expression") == ["3", "3", "3", "4", "4"]
    assert row(text, "large") == ["30", "100.0 %"]
    assert "Source videos on both sides: 0." in text


def test_a_video_on_both_sides_is_told(card):
    text = card([record("a", share=0.1), record("b", share=0.1, split="evaluation"), record("c", share=0.2)])
    assert row(text, "source videos") == ["2", "1", "2"]
    assert "Source videos on both sides: 1." in text


def test_other_records_give_other_figures(card):
    assert row(card(RECORDS[:9]), "expression–track pairs") == ["3", "6", "9"]


def test_the_header_is_what_the_hub_reads(card):
    header = yaml.safe_load(card().split("---\n")[1])
    assert (header["license"], header["size_categories"], header["pretty_name"]) == (
        "cc-by-4.0",
        ["n<1K"],
        "ElysiumTrack",
    )
    assert header["configs"] == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train", "path": "parquet/train-*.parquet"},
                {"split": "evaluation", "path": "parquet/evaluation-*.parquet"},
            ],
        }
    ]
    lines = yaml.safe_load(card(parquet=False, title="Ours: #1").split("---\n")[1])
    assert lines["pretty_name"] == "Ours: #1"
    assert [file["path"] for file in lines["configs"][0]["data_files"]] == ["train.jsonl", "evaluation.jsonl"]


def test_several_licences_are_other(card):
    mixed = [record("a", licence="MIT"), record("b", share=0.2)]
    text = card(mixed)
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "other"
    assert (row(text, "MIT"), row(text, "not stated")) == (["1", "50.0 %"], ["1", "50.0 %"])


def test_words_of_the_data_are_no_markup(card):
    text = card()
    assert r"&lt;b&gt;\`x\`" in text
    assert "<b>" not in text


def test_settings_versions_and_the_funnel_are_stated(card, settings_with, tmp_path):
    text = card(settings=settings_with(min_iou=0.41), versions={"some model": "1.2"})
    assert row(text, r"min\_iou")[0] == "0.41"
    assert row(text, "some model") == ["1.2"]
    assert row(text, "grounding")[1:4] == ["40", "8", "32"]
    assert "1,234 videos gave 40 candidates" in text
    assert "![Candidates left after each filter](funnel.svg)" in text
    bars = [
        float(rect.get("width"))
        for rect in ET.parse(tmp_path / "funnel.svg").iter("{http://www.w3.org/2000/svg}rect")  # noqa: S314  # just written
        if rect.get("fill") == "#1f5fd6"
    ]
    assert [round(bar / bars[0], 3) for bar in bars] == [1, 0.8, 0.75]


def test_a_funnel_of_nothing_is_drawn():
    ET.fromstring(draw_funnel({"funnel": [{"stage": "<x>", "entered": 0, "rejected": 0, "passed": 0}]}))  # noqa: S314  # ours


def test_what_was_found_by_hand_is_summed_up(card, tmp_path):
    ticks = [
        Review(id=one.id, verdict=verdict, reviewer="ada", time="2024-05-01T12:00:00Z", content=content_of(one))
        for one, verdict in zip(RECORDS, ["right", "right", "wrong_box", "unsure"], strict=False)
    ]
    append_reviews(tmp_path / "reviews.jsonl", ticks)
    text = card()
    assert "4 of 30 records were looked at: right 2, wrong box 1, wrong expression 0, not unique 0, unsure 1." in text
    assert "Right are 66.7 %, with 95 % confidence between 20.8 and 93.9 % (Wilson)" in text
    (tmp_path / "reviews.jsonl").unlink()
    assert "No record was looked at by a person." in card()
    assert "1 records carry `metadata.checked`" in card([record("a", checked=True), record("b")])


def test_the_same_data_gives_the_same_card(card):
    assert card() == card()


@pytest.mark.parametrize(("content", "message"), [(None, "does not exist"), ("{", "cut short or damaged")])
def test_statistics_that_cannot_be_read(card, tmp_path, settings, content, message):
    card()
    (tmp_path / "stats.json").unlink()
    if content is not None:
        (tmp_path / "stats.json").write_text(content)
    with pytest.raises(ElysiumError, match=message):
        write_card(tmp_path, settings)


def test_a_data_set_of_nothing_has_a_card(card):
    assert row(card([]), "expression–track pairs") == ["0", "0", "0"]
