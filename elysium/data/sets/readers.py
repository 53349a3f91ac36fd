"""The sets that the paper trains on (PROTOCOL §4): what each is, where to get it, and which module reads it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

from elysium.data.sets.source import Sample, Source
from elysium.errors import UsageError


@dataclass(frozen=True)
class PublicSet:
    """One public set.

    Attributes:
        name: What commands call it, and what its records carry.
        title: What people call it.
        page: Official page to get it from.
        annotations: The files that `--annotations` names.
        images: What the folder of `--images` holds.
        module: Of this package; its `read` reads it.
    """

    name: str
    title: str
    page: str
    annotations: str
    images: str
    module: str

    def read(self, source: Source) -> Iterator[Sample]:
        """Checks the annotation files, and returns an iterator over their samples.

        Raises:
            UsageError: If a file is missing, empty or not of this set.
        """
        samples: Iterator[Sample] = import_module(f"elysium.data.sets.{self.module}").read(source)
        return samples


_REFER = "https://github.com/lichengunc/refer"
_COCO_2014 = "COCO's train2014/"
_SETS = (
    PublicSet(
        "llava-558k", "LLaVA-558K", "https://huggingface.co/datasets/liuhaotian/LLaVA-Pretrain",
        "blip_laion_cc_sbu_558k.json", "images.zip, unpacked", "llava",
    ),
    PublicSet(
        "grit", "GRIT-20M", "https://huggingface.co/datasets/zzliang/GRIT",
        "what img2dataset wrote (Parquet or JSON)", "img2dataset's folder, --output_format files", "grit",
    ),
    PublicSet(
        "cogvlm-sft", "CogVLM-SFT-311K", "https://huggingface.co/datasets/THUDM/CogVLM-SFT-311K",
        "the unpacked folder", "the same folder", "cogvlm",
    ),
    PublicSet(
        "coco-vqa", "COCO-VQA (VQAv2)", "https://visualqa.org/download.html",
        "v2_OpenEnded_mscoco_train2014_questions.json, v2_mscoco_train2014_annotations.json", _COCO_2014, "vqa",
    ),
    PublicSet(
        "gqa", "GQA", "https://cs.stanford.edu/people/dorarad/gqa/download.html",
        "train_balanced_questions.json", "images/", "gqa",
    ),
    PublicSet(
        "visual7w", "Visual7W", "https://ai.stanford.edu/~yukez/visual7w/",
        "dataset_v7w_telling.json, dataset_v7w_pointing.json", "images/", "visual7w",
    ),
    PublicSet(
        "flickr30k-entities", "Flickr30k Entities", "https://github.com/BryanPlummer/flickr30k_entities",
        "the folder with Annotations/, Sentences/ and train.txt", "flickr30k-images/", "flickr30k",
    ),
    PublicSet(
        "visual-genome", "Visual Genome", "https://homes.cs.washington.edu/~ranjay/visualgenome/api.html",
        "region_descriptions.json, objects.json, image_data.json", "VG_100K/ and VG_100K_2/", "visual_genome",
    ),
    PublicSet("refcoco", "RefCOCO", _REFER, "refs(unc).p and instances.json", _COCO_2014, "refcoco"),
    PublicSet("refcoco+", "RefCOCO+", _REFER, "refs(unc).p and instances.json", _COCO_2014, "refcoco"),
    PublicSet("refcocog", "RefCOCOg", _REFER, "refs(umd).p and instances.json", _COCO_2014, "refcoco"),
    PublicSet(
        "videochat", "VideoChat-11K", "https://github.com/OpenGVLab/InternVideo/blob/main/Data/instruction_data.md",
        "videochat_instruct_11k.json", "the videos of WebVid that it names", "videochat",
    ),
    PublicSet(
        "elysiumtrack", "ElysiumTrack-1M", "https://huggingface.co/datasets/sty-yyj/ElysiumTrack-1M",
        "ElysiumTrack-1M.json", "the folder with frames/", "elysiumtrack",
    ),
)  # fmt: skip
SETS: dict[str, PublicSet] = {known.name: known for known in _SETS}


def find_set(name: str) -> PublicSet:
    """Returns the set of that name.

    Raises:
        UsageError: If there is none; the message names the nearest.
    """
    if name in SETS:
        return SETS[name]
    near = difflib.get_close_matches(name.lower(), SETS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(f"there is no set {name!r}; {hint}`elysium data sets` lists them: {', '.join(SETS)}")
