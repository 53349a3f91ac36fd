"""The words by which `head_nouns` finds where a noun's phrase ends."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words(
    "a an the this that these those my your his her its our their some any one two three four five six seven eight "
    "nine ten several many each every another other both very"
)
BOUNDARIES = _words(
    # Prepositions
    "about above across after against along alongside amid among around as at atop before behind below beneath "
    "beside besides between beyond by despite down during except for from in inside into like near next of off on "
    "onto opposite out outside over past per than through throughout to toward towards under underneath until up "
    "upon via while with within without "
    # Pronouns and what begins a clause
    "that which who whom whose where when because so if he she it they him them himself herself itself "
    # Verbs
    "is are was were be been has have had does do did can could will would may might must isn't aren't doesn't "
    "don't stands sits lies walks runs rides holds wears carries moves looks plays eats goes drives flies swims "
    "jumps turns appears seems stays faces leans hangs travels stood sat lay walked ran rode held wore "
    # Adverbs
    "also not just still then there here together away upside"
)
# They stand behind their noun as well as before it: "man left", "the dog closest".
PLACES = _words("left right middle center centre top bottom front back far furthest closest nearest alone")
# Before "and" or a comma they go on describing the same thing: "a black and white dog", "a small, red car".
ADJECTIVES = _words(
    "black white red green blue yellow orange purple pink brown gray grey gold golden silver beige tan cream dark "
    "light bright pale big large huge small little tiny tall short long round square young old new wide narrow thin "
    "thick fat wooden metal plastic striped spotted plain clean dirty wet dry hot cold soft hard cute beautiful "
    "pretty"
)
# What follows their "of" is the thing: "a pair of shoes", "a kind of bird".
AMOUNTS = _words(
    "pair couple group bunch set herd flock pile stack row number lot piece slice kind type sort variety series "
    "pairs groups kinds types lots pieces slices"
)
# Participles that take an object, so that a noun may follow at once: "a woman wearing black".
TRANSITIVE = _words(
    "wearing holding riding carrying eating drinking using playing pushing pulling throwing catching kicking "
    "hitting watching reading feeding petting making chasing towing facing showing having doing"
)
NO_PARTICIPLES = _words(
    "king ring wing thing string spring swing sling sting being building ceiling painting clothing railing awning "
    "wedding evening morning earring sibling duckling gosling pudding dumpling stocking crossing drawing carving "
    "landing opening stuffing icing topping dressing bedding lettering writing herring something anything nothing "
    "everything viking starling seedling speed moped steed bobsled hundred"
)
NO_ADVERBS = _words("family fly butterfly dragonfly firefly lily jelly belly bully doily dolly trolly")
PAST = _words("made worn seen shown held driven ridden thrown hidden taken broken torn drawn written left")
IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "persons": "person", "feet": "foot",
    "teeth": "tooth", "mice": "mouse", "geese": "goose", "oxen": "ox", "knives": "knife", "wolves": "wolf",
    "calves": "calf", "leaves": "leaf", "shelves": "shelf", "loaves": "loaf", "scarves": "scarf", "buses": "bus",
    "potatoes": "potato", "tomatoes": "tomato",
}  # fmt: skip
