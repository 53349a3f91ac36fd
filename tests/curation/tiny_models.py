"""Checkpoints of the real architectures with random weights, small enough to be made on the spot, and a stand-in."""

import torch
from safetensors.torch import save_model
from transformers import (
    BertConfig,
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    Sam2HieraDetConfig,
    Sam2VideoConfig,
    Sam2VideoMaskDecoderConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
    SwinConfig,
)

# Where Grounding DINO expects BERT's special tokens; the words stand before them.
_SPECIAL = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
_WORDS = ("a", "the", "man", "in", "suit", "red", "car", "dog", "mr", "smith", "on", "of", "two", "s", ",", "'")
_PIECES = ("un", "##bel", "##ievable", "##s")
MAX_TEXT = 24


def save_grounding_dino(folder):
    """Writes a Grounding DINO of half a million weights, with a tokenizer of few words."""
    torch.manual_seed(0)
    swin = SwinConfig(embed_dim=16, depths=[1] * 4, num_heads=[1, 2, 2, 4], window_size=4, out_indices=[2, 3, 4])
    bert = BertConfig(vocab_size=1100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    config = GroundingDinoConfig(
        backbone_config=swin,
        text_config=bert,
        d_model=32,
        num_queries=30,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        max_text_len=MAX_TEXT,
    )
    _save(GroundingDinoForObjectDetection(config), folder)
    places = {number: word for word, number in _SPECIAL.items()} | dict(enumerate(_WORDS + _PIECES, start=1))
    (folder / "vocab.txt").write_text("\n".join(places.get(number, f"[unused{number}]") for number in range(1100)))
    BertTokenizer.from_pretrained(folder, do_lower_case=True).save_pretrained(folder)


def save_sam2(folder):
    """Writes a SAM 2 video model of a one and a half million weights, which sees 128 x 128 pixels."""
    hiera = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[128, 128],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[8, 4, 4, 2],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )
    config = Sam2VideoConfig(
        vision_config=Sam2VisionConfig(
            backbone_config=hiera,
            backbone_channel_list=[64, 32, 16, 8],
            backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
            fpn_hidden_size=128,
        ),
        prompt_encoder_config={"hidden_size": 128, "image_size": 128},
        mask_decoder_config=Sam2VideoMaskDecoderConfig(
            hidden_size=128, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=32
        ),
        image_size=128,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[8, 8],
        memory_encoder_hidden_size=128,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=32,
    )
    model = Sam2VideoModel(config)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1:
                weights.normal_(0, 0.1 if name.startswith("memory") else 0.15)
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(3.0)
    _save(model, folder)


class ByToken:
    """Answers like Grounding DINO, with scores of our own for each token and the box of each query."""

    class config:  # noqa: N801  # read as the model's
        max_text_len = MAX_TEXT

    def __init__(self, scores, boxes):
        self.scores, self.boxes = scores, torch.tensor(boxes)

    def to(self, *_):
        return self

    eval = to

    def __call__(self, pixel_values, input_ids, **_):
        self.logits = torch.full((len(input_ids), len(self.boxes), MAX_TEXT), -torch.inf)
        for row, ids in enumerate(input_ids.tolist()):
            for place, token in enumerate(ids):
                for query in range(len(self.boxes)):
                    self.logits[row, query, place] = torch.logit(torch.tensor(self.scores(ids, place, token, query)))
        self.pred_boxes = self.boxes.expand(len(input_ids), -1, -1)
        return self


def _save(model, folder):
    """Writes what `save_pretrained` would, without importing DeepSpeed for it, which takes seconds."""
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    save_model(model, str(folder / "model.safetensors"), metadata={"format": "pt"})
