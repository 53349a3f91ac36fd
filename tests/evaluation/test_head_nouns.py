import pytest

from elysium.evaluation.captions.descriptions import exact_match
from elysium.evaluation.captions.head_nouns import head_noun_match


@pytest.mark.parametrize(
    ("predicted", "noun"),
    [
        ("a red circle", "circle"),
        ("A red circle.", "circle"),
        ("a DOG!", "Dog"),
        ("“a red kite”", "kite"),
        ("a circle with a ring", "circle"),
        ("a little girl who is eating", "girl"),
        # One and many
        ("two dogs", "dog"),
        ("a dog", "dogs"),
        ("three women on a bench", "woman"),
        ("people walking", "person"),
        ("the firemen", "fireman"),
        ("a bus", "buses"),
        ("kitchen knives", "knife"),
        # Of several words
        ("a green traffic light", "traffic light"),
        ("the traffic-light on the left", "traffic light"),
        ("a surf board", "surfboard"),
        ("a surfboard", "surf board"),
        ("a white T-shirt", "t-shirt"),
        ("a red parking meter", "parking meter"),
        ("a dining table with plates", "dining table"),
        # Whose
        ("the car's wheel", "wheel"),
        ("the boys’ team", "team"),
        # What it does, and what was done to it
        ("a man riding a horse", "man"),
        ("a man running", "man"),
        ("a running man", "man"),
        ("a young running man", "man"),
        ("a woman wearing black", "woman"),
        ("a man slowly walking", "man"),
        ("a car parked on the street", "car"),
        ("a parked car", "car"),
        ("a man dressed in black", "man"),
        ("the man is riding a horse", "man"),
        # Nouns that look like participles
        ("a gold ring with a stone", "ring"),
        ("an old painting on a wall", "painting"),
        # And, commas, numbers, places
        ("a black and white dog", "dog"),
        ("a man and a woman", "man"),
        ("a small, red car", "car"),
        ("a dog, running", "dog"),
        ("bus 42", "bus"),
        ("woman far right", "woman"),
        ("the left wheel", "wheel"),
        # Amounts and openings
        ("a pair of shoes", "shoe"),
        ("a group of people", "person"),
        ("a group of people", "group"),
        ("a cup of coffee", "cup"),
        ("there is a man in the room", "man"),
        ("a photo of a cat", "cat"),
        ("a picture of a dog", "picture"),
        ("The object is a red ball.", "ball"),
        ("a dog sitting next to a cat. It is brown.", "dog"),
    ],
)
def test_the_head_noun_names_the_class(predicted, noun):
    assert head_noun_match(predicted, noun)


@pytest.mark.parametrize(
    ("predicted", "noun"),
    [
        ("", "circle"),
        ("...", "circle"),
        ("a red ring", "circle"),
        ("a man in a circle", "circle"),
        ("a man riding a horse", "horse"),
        ("a woman holding flowers", "flower"),
        ("a woman wearing black shirt", "shirt"),
        ("wearing a hat", "hat"),
        ("the car's wheel", "car"),
        ("the boys' team", "boy"),
        ("a car wheel", "car"),
        ("a dog house", "dog"),
        ("a traffic light pole", "traffic light"),
        ("a green light", "traffic light"),
        ("a man and a woman", "woman"),
        ("a man, a dog", "dog"),
        ("a cup of coffee", "coffee"),
        ("there is a man near the car", "car"),
        ("a caravan", "van"),
        ("the man is a king", "king"),
    ],
)
def test_another_noun_is_not_the_head(predicted, noun):
    assert not head_noun_match(predicted, noun)


def test_a_class_without_a_word_is_refused():
    with pytest.raises(ValueError, match="an object class with a word in it is needed, got ' '"):
        head_noun_match("a dog", " ")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("A red circle.", "a red circle", True),
        ("a T-shirt", "a t shirt", True),
        ("the man’s hat", "the man's hat", True),
        ("un cafe\u0301", "un café", True),
        ("a red circle", "a small red circle", False),
        ("red car", "rot car", False),
        ("红色的车", "蓝色的车", False),
        ("", "", False),
        ("...", "", False),
    ],
)
def test_descriptions_match_but_for_case_and_punctuation(first, second, same):
    assert exact_match(first, second) is same
