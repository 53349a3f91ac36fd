"""Sets whose phrases, regions and names have boxes: GRIT, Flickr30k Entities and Visual Genome."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from set_files import about, boxes, lines

from elysium.errors import UsageError

CAPTION = "a wire hanger with a paper cover that reads we heart our customers"


def grit(number, **fields):
    """A row as it is published, and as img2dataset writes it with `key` and `status`."""
    return {
        "key": f"{number:09}",
        "clip_similarity_vitb32": 0.353271484375,
        "id": 1795296605000 + number,
        "url": f"https://host/{number}.jpg",
        "caption": CAPTION,
        "width": 1024,
        "height": 693,
        "noun_chunks": [[19, 32, 0.02, 0.31, 0.96, 0.96, 0.79], [0, 13, 0.0, 0.03, 0.5, 1.004, 0.67]],
        "ref_exps": [[19, 66, 0.02, 0.31, 0.96, 0.96, 0.79]],
        **fields,
    }


def downloaded(number, **fields):
    return grit(number, status="success", error_message=None, **fields)


@pytest.fixture
def grit_sample():
    return [
        downloaded(1),
        downloaded(2, ref_exps=[[0, 13, 0.5, 0.5, 0.4, 0.9, 0.7], [0, 99, 0.1, 0.1, 0.4, 0.9, 0.7]]),
        downloaded(3),
        grit(4, status="failed_to_download", error_message="404"),
        downloaded(5, noun_chunks=[], ref_exps=[[0, 13, 0.1, 0.1, 1.2, 0.9, 0.7]]),
        downloaded(6, ref_exps=[], noun_chunks=[[0, 13, 0, 0, 0.3, 0.3, 0.7], [0, 13, 0.6, 0.6, 1, 1, 0.7]]),
    ]


def test_grit(pictures, write, bring_in, grit_sample):
    pictures(*(f"00000/00000000{n}.jpg" for n in (1, 2, 5, 6)))
    imported = bring_in("grit", write("grit.jsonl", lines([*grit_sample, '{"caption": "cut'])))
    first, second = imported.records.values()
    assert (first.id, first.frames, first.frame_size) == ("1795296605001", ["00000/000000001.jpg"], (1024, 693))
    # The chunk "a paper cover" has the box of the longer expression; the other box is cut at the picture's edge.
    assert boxes(first) == {
        "a paper cover that reads we heart our customers": about(0.02, 0.31, 0.96, 0.96),
        "a wire hanger": about(0.0, 0.03, 0.5, 1.0),
    }
    assert list(boxes(second)) == [CAPTION, "a paper cover", "a wire hanger"]
    assert imported.reasons == {
        "the image is missing": ["1795296605003"],
        "the picture was not downloaded": ["1795296605004"],
        "no object can be used": ["1795296605005", "1795296605006"],
        "not a JSON object": ["grit-6"],
    }
    assert imported.report.dropped == {
        "a box has no area": 1,
        "a box lies outside the image": 1,
        "the expression names several boxes": 2,
    }


def test_grit_reads_parquet_and_img2datasets_files_alike(tmp_path, pictures, write, bring_in, grit_sample):
    pictures(*(f"00000/00000000{n}.jpg" for n in (1, 2, 5, 6)))
    (tmp_path / "tables").mkdir()
    pq.write_table(pa.Table.from_pylist(grit_sample), tmp_path / "tables/00000.parquet")
    for row in grit_sample:
        write(f"files/00000/{row['key']}.json", row)
    write("files/00000_stats.json", {"count": 6})
    tables = bring_in("grit", tmp_path / "tables")
    files = bring_in("grit", tmp_path / "files")
    assert tables.records == files.records
    assert len(tables.records) == 2
    assert tables.reasons == files.reasons


def test_a_published_key_of_grit_is_the_number_of_another_download(pictures, write, bring_in):
    pictures("00000/000000001.jpg", "1795296605002.jpg", "own/3.jpg")
    rows = [grit(1), grit(2), grit(3, image="own/3.jpg")]
    imported = bring_in("grit", write("grit.jsonl", lines(rows)))
    assert [record.frames for record in imported.records.values()] == [["1795296605002.jpg"], ["own/3.jpg"]]
    assert imported.reasons == {"the image is missing": ["1795296605001"]}


def test_grit_in_tar_files_says_what_to_do(pictures, write, bring_in):
    folder = write("packed/00000.tar", "tar").parent
    with pytest.raises(UsageError, match="unpack them, or let img2dataset write --output_format files"):
        bring_in("grit", folder)


ENTITIES = """<annotation>
    <filename>1000092795.jpg</filename>
    <size><width>200</width><height>100</height><depth>3</depth></size>
    <object><name>1</name><bndbox><xmin>21</xmin><ymin>11</ymin><xmax>60</xmax><ymax>50</ymax></bndbox></object>
    <object><name>1</name><bndbox><xmin>101</xmin><ymin>11</ymin><xmax>140</xmax><ymax>50</ymax></bndbox></object>
    <object><name>2</name><name>4</name>
        <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>200</xmax><ymax>100</ymax></bndbox></object>
    <object><name>3</name><scene>1</scene><nobndbox>0</nobndbox></object>
    <object><name>5</name><bndbox><xmin>301</xmin><ymin>11</ymin><xmax>340</xmax><ymax>50</ymax></bndbox></object>
</annotation>"""
SENTENCES = """[/EN#1/people Two young guys] with [/EN#2/bodyparts shaggy hair] stand in [/EN#3/scene the yard] .
[/EN#4/bodyparts Hair] of [/EN#5/people a man] and [/EN#0/notvisual nothing] .
[/EN#1/people Two friends] show [/EN#2/bodyparts shaggy hair] .
"""


@pytest.fixture
def flickr(tmp_path, write):
    def add(number, sentences=SENTENCES, annotations=ENTITIES):
        write(f"entities/Sentences/{number}.txt", sentences)
        if annotations is not None:
            write(f"entities/Annotations/{number}.xml", annotations)

    for number in (11, 12, 13):
        add(number)
    add(14, annotations=None)
    add(15, annotations=ENTITIES.replace("</annotation>", ""))
    add(16, sentences="Nothing is marked here .\n")
    write("entities/train.txt", "11\n12\n14\n15\n16\n")
    write("entities/test.txt", "13\n")
    return tmp_path / "entities"


def test_flickr30k_entities(pictures, bring_in, flickr):
    pictures("11.jpg", "flickr30k-images/13.jpg", "14.jpg", "15.jpg", "16.jpg")
    imported = bring_in("flickr30k-entities", flickr)
    (record,) = imported.records.values()
    assert (record.id, record.frames, record.frame_size) == ("11", ["11.jpg"], (200, 100))
    # The whole picture is 1..200 x 1..100 when pixels are counted from 1 and the last one belongs to the box.
    assert boxes(record) == {"shaggy hair": about(0, 0, 1, 1), "Hair": about(0, 0, 1, 1)}
    assert record.objects[0].object_class == "bodyparts"
    assert imported.reasons == {
        "the image is missing": ["12"],
        "the xml file is missing": ["14"],
        "the annotation file is broken": ["15"],
        "no object can be used": ["16"],
    }
    # Two boxes each of "Two young guys" and "Two friends", in 11 and in 12, whose picture is missing.
    assert imported.report.dropped == {"the expression names several boxes": 8, "a box lies outside the image": 2}
    assert imported.report.passed_over == {"test": 1}
    assert list(bring_in("flickr30k-entities", flickr, split="test").records) == ["13"]


def test_flickr30k_pixels_count_from_one(pictures, bring_in, flickr, write):
    pictures("11.jpg")
    write("entities/Sentences/11.txt", "[/EN#1/people A guy] .")
    one = ENTITIES.replace("<name>1</name><bndbox><xmin>101", "<name>9</name><bndbox><xmin>101")
    write("entities/Annotations/11.xml", one)
    # 21..60 of 200 is 20/200 to 60/200, 11..50 of 100 is 10/100 to 50/100.
    assert boxes(bring_in("flickr30k-entities", flickr).records["11"]) == {"A guy": about(0.1, 0.1, 0.3, 0.5)}


def test_xml_that_declares_entities_is_not_read(pictures, bring_in, flickr, write):
    pictures("11.jpg")
    bomb = '<!DOCTYPE a [<!ENTITY a "1"><!ENTITY b "&a;&a;">]>' + ENTITIES.replace("<xmin>1<", "<xmin>&b;<")
    write("entities/Annotations/11.xml", bomb)
    imported = bring_in("flickr30k-entities", flickr, max_skipped=1.0, split="all", check_images=False)
    assert "11" in imported.reasons["the annotation file is broken"]


def test_flickr30k_without_its_lists_of_parts_is_not_guessed(pictures, bring_in, flickr):
    pictures("11.jpg", "12.jpg", "13.jpg")
    (flickr / "train.txt").unlink()
    with pytest.raises(UsageError, match=r"has no train\.txt.*--split all"):
        bring_in("flickr30k-entities", flickr)
    assert list(bring_in("flickr30k-entities", flickr, split="all").records) == ["11", "12", "13"]


def region(number, phrase, x, y, width, height):
    box = {"x": x, "y": y, "width": width, "height": height}
    return {"region_id": number, "image_id": 1, "phrase": phrase, **box}


def thing(number, name, x, y, w, h):
    names = [name] if name else []
    return {"object_id": number, "names": names, "synsets": [], "x": x, "y": y, "w": w, "h": h, "merged_object_ids": []}


@pytest.fixture
def genome(write):
    """Visual Genome's three files; image 2 is in no image data, image 3 has no picture."""
    regions = [
        {
            "id": 1,
            "regions": [
                region(1, "the clock is green", 40, 10, 80, 50),
                region(2, "a man", 0, 0, 20, 20),
                region(3, "A man", 100, 50, 20, 20),
                region(4, "a hat", 0, 0, 0, 20),
                region(5, "  ", 0, 0, 9, 20),
            ],
        },
        {"id": 2, "regions": [region(6, "a dog", 50, 25, 55, 80)]},
        {"id": 3, "regions": [region(7, "a cat", 0, 0, 20, 20)]},
        {"id": 4, "regions": []},
        "broken",
    ]
    objects = [
        {"image_id": 1, "objects": [thing(1, "tree", 0, 0, 100, 100), thing(2, "car", 0, 0, 20, 20)], "image_url": ""},
        {
            "image_id": 2,
            "objects": [thing(3, "dog", 0, 0, 20, 20), thing(4, "dog", 5, 0, 20, 20), thing(5, "", 0, 0, 9, 9)],
        },
        {"image_id": 2, "objects": [thing(6, "cow", 0, 0, 20, 20)]},
        {"image_id": 5, "objects": [thing(7, "cow", 0, 0, 20, 20)]},
        {"image_id": 1},
    ]
    url = "https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg"
    data = [{"image_id": 1, "url": url, "width": 400, "height": 100, "coco_id": None, "flickr_id": None}]
    contents = {"region_descriptions": regions, "objects": objects, "image_data": data}
    return {name: write(f"{name}.json", content) for name, content in contents.items()}


def test_visual_genomes_regions(pictures, bring_in, genome):
    pictures("VG_100K_2/1.jpg", "VG_100K/2.jpg", "VG_100K/4.jpg")
    imported = bring_in("visual-genome", genome["region_descriptions"], genome["image_data"])
    (first,) = imported.records.values()
    assert (first.id, first.frames, first.frame_size) == ("regions-1", ["VG_100K_2/1.jpg"], (400, 100))
    # 40/400, 10/100, 120/400, 60/100 by the stated size; "a man" names two people.
    assert boxes(first) == {"the clock is green": about(0.1, 0.1, 0.3, 0.6)}
    # 50/200, 25/100, 105/200, 105/100 by the picture's own size: 5 % over the edge is too much.
    assert imported.reasons == {
        "no object can be used": ["regions-2", "regions-4"],
        "the image is missing": ["regions-3", "regions-at-4"],
    }
    assert imported.report.dropped == {
        "the expression names several boxes": 2,
        "a box has no area": 1,
        "phrase is missing": 1,
        "a box lies outside the image": 1,
    }


def test_visual_genomes_objects_need_a_name_of_their_own(pictures, bring_in, genome):
    pictures("VG_100K_2/1.jpg", "VG_100K/2.jpg")
    imported = bring_in("visual-genome", genome["objects"], genome["image_data"])
    first, second = imported.records.values()
    assert boxes(first) == {"tree": about(0, 0, 0.25, 1), "car": about(0, 0, 0.05, 0.2)}
    # Two boxes of "dog" overlap by 15 of 25 pixels: one dog, marked twice.
    assert (second.id, boxes(second)) == ("objects-2", {"dog": about(0, 0, 0.1, 0.2)})
    assert second.objects[0].object_class == "dog"
    assert imported.report.num_duplicates == 2
    assert imported.reasons == {"the image is missing": ["objects-5"]}


def test_visual_genomes_files_are_told_apart(pictures, bring_in, genome, write):
    pictures("VG_100K_2/1.jpg")
    with pytest.raises(UsageError, match=r"got image_data\.json only"):
        bring_in("visual-genome", genome["image_data"])
    with pytest.raises(UsageError, match=r"relationships\.json is no file of Visual Genome"):
        bring_in("visual-genome", write("relationships.json", json.dumps([{"relationships": []}])))
