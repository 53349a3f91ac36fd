"""Guided decoding against its definition: the argmax among the tokens that the grammar allows, one token at a time."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, Qwen2Config

from elysium.boxes import BoxCodec
from elysium.errors import UsageError
from elysium.inference import decoding
from elysium.inference.decoding import Ask, ClipJob, Decoder, DecodingStats, Sampling
from elysium.inference.drafts import MotionDraft
from elysium.inference.grammar import ChoiceVocabulary, FreeState, GrammarCache
from elysium.inference.guessing import WHOLE

WIDTH = 16
VOCABULARY = 1024
SIZES = {
    "hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.5,
}  # fmt: skip


def language_model(vocabulary, seed, **changes):
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **{**SIZES, **changes})).eval()


@torch.inference_mode()
def naively(model, prefix, question, state):
    """Asks the model before every token, forced or not, over the whole sequence, without a cache."""
    embed = model.get_input_embeddings()
    embeddings = torch.cat([prefix, embed(torch.tensor(question))])[None]
    ids = []
    while allowed := state.allowed():
        logits = model(inputs_embeds=embeddings).logits[0, -1]
        token = max(allowed, key=lambda candidate: float(logits[candidate]))
        state.push(token)
        ids.append(token)
        embeddings = torch.cat([embeddings, embed(torch.tensor([[token]]))], dim=1)
    return ids


def clip(rng, vocabulary, answers, drafts=None):
    """A clip whose frames are noise, with a question before each answer."""
    length = int(rng.integers(2, 12))
    embeddings = torch.from_numpy(rng.normal(size=(length, WIDTH))).float()
    asks = [
        Ask(rng.integers(vocabulary, size=int(rng.integers(1, 6))).tolist(), answer, draft)
        for answer, draft in zip(answers, drafts or [None] * len(answers), strict=True)
    ]
    return ClipJob(embeddings, torch.arange(length), length, asks)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.usefixtures("free_tokens")
def test_guided_decoding_is_the_restricted_argmax_token_for_token(tokenizer, seed):
    check_against_naive(tokenizer, seed)


@pytest.mark.parametrize("seed", range(4))
def test_so_it_is_where_all_that_is_left_is_guessed_in_every_pass(tokenizer, seed, monkeypatch):
    monkeypatch.setattr(decoding, "least_chance", lambda *_: WHOLE)
    heard = []
    monkeypatch.setattr(MotionDraft, "decided", lambda _, choices: heard.append(choices))
    check_against_naive(tokenizer, seed)
    assert min(heard) == 1, "some guesses were wrong from the start"
    assert max(heard) > 1, "and some were right"


def check_against_naive(tokenizer, seed):
    # 12 models, each with 8 clips of 1 to 4 questions: 240 prompts for every tokenizer.
    rng = np.random.default_rng(seed)
    vocabulary, grammars = len(tokenizer), GrammarCache(tokenizer, BoxCodec())
    model = language_model(vocabulary, seed)
    stats = DecodingStats()
    decoder = Decoder(model, grammars.vocabulary, batch_size=5, stats=stats)
    jobs = []
    for number in range(8):
        counts = rng.integers(1, 3, size=1 + number % 4)
        drafts = [MotionDraft(99) if number % 2 else None for _ in counts]
        for draft in filter(None, drafts):
            draft.anchor(rng.integers(99, size=4))
        jobs.append(clip(rng, vocabulary, [grammars.boxes(int(count)).start() for count in counts], drafts))
    decoder.run(jobs)
    for job in jobs:
        for asked in job.asks:
            expected = asked.answer.grammar.start()
            naively(model, job.embeddings, asked.question, expected)
            assert asked.answer.values == expected.values
    assert stats.fixed > 0
    assert stats.guessed > 0, "the guesses were put to the test, too"


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(vocab_size=VOCABULARY, **SIZES),
        Qwen2Config(vocab_size=VOCABULARY, **SIZES),
        MistralConfig(vocab_size=VOCABULARY, sliding_window=None, **SIZES),
    ],
    ids=["llama", "qwen2", "mistral"],
)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_every_kind_of_language_model_and_attention_gives_the_restricted_argmax(config, attention):
    from elysium.model.tokenizer import build_tokenizer

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    rng, grammars = np.random.default_rng(0), GrammarCache(build_tokenizer(512), BoxCodec())
    jobs = [clip(rng, 400, [grammars.boxes(2).start() for _ in range(2)]) for _ in range(3)]
    Decoder(model, grammars.vocabulary).run(jobs)
    for job in jobs:
        for asked in job.asks:
            expected = asked.answer.grammar.start()
            naively(model, job.embeddings, asked.question, expected)
            assert asked.answer.values == expected.values


def test_the_model_is_not_asked_for_what_is_fixed(tokenizer):
    grammars, rng = GrammarCache(tokenizer, BoxCodec()), np.random.default_rng(0)
    stats = DecodingStats()
    decoder = Decoder(language_model(len(tokenizer), 0), grammars.vocabulary, stats=stats)
    job = clip(rng, len(tokenizer), [grammars.boxes(3).start()])
    decoder.run([job])
    assert stats.chosen == len(job.asks[0].chosen) == stats.passes
    assert stats.fixed + stats.chosen <= job.asks[0].answer.grammar.max_tokens
    assert stats.fixed > stats.chosen / 3


def test_clips_end_at_different_times_and_others_take_their_place(tokenizer):
    grammars, rng = GrammarCache(tokenizer, BoxCodec()), np.random.default_rng(1)
    decoder = Decoder(language_model(len(tokenizer), 1), grammars.vocabulary, batch_size=2)
    long, short, third = (clip(rng, 100, [grammars.boxes(count).start()]) for count in (6, 1, 1))
    for job in (long, short, third):
        decoder.submit(job)
    ended = []
    while decoder.num_asks:
        ended += decoder.step()
    assert ended == [short, third, long], "the third clip was not kept waiting by the first"


def test_a_clip_with_more_questions_than_fit_at_once_is_answered_all_the_same(tokenizer):
    grammars, rng = GrammarCache(tokenizer, BoxCodec()), np.random.default_rng(1)
    job = clip(rng, 100, [grammars.boxes(1).start() for _ in range(5)])
    Decoder(language_model(len(tokenizer), 1), grammars.vocabulary, batch_size=2).run([job])
    assert all(asked.answer.over for asked in job.asks)


def test_answers_in_own_words_are_what_greedy_generation_writes():
    model = language_model(64, 5)
    rng = np.random.default_rng(0)
    jobs = [clip(rng, 60, [FreeState(2, 9), FreeState(2, 4)]) for _ in range(3)]
    Decoder(model, ChoiceVocabulary(), never=[7]).run(jobs)
    for job in jobs:
        for asked in job.asks:
            question = model.get_input_embeddings()(torch.tensor(asked.question))
            expected = model.generate(
                inputs_embeds=torch.cat([job.embeddings, question])[None].detach(),
                attention_mask=torch.ones(1, len(job.embeddings) + len(question), dtype=torch.long),
                max_new_tokens=asked.answer._max_tokens, do_sample=False, eos_token_id=2, pad_token_id=0,
                suppress_tokens=[7],
            )[0].tolist()  # fmt: skip
            assert asked.answer.ids == [token for token in expected if token != 2]


def test_words_and_boxes_share_a_batch(tokenizer):
    grammars, rng = GrammarCache(tokenizer, BoxCodec()), np.random.default_rng(1)
    model = language_model(len(tokenizer), 1)
    job = clip(rng, 100, [grammars.boxes(1).start(), FreeState(tokenizer.eos_token_id, 6)])
    Decoder(model, grammars.vocabulary).run([job])
    expected = grammars.boxes(1).start()
    naively(model, job.embeddings, job.asks[0].question, expected)
    assert job.asks[0].answer.values == expected.values
    assert job.asks[1].answer.over


def test_sampling_repeats_with_its_seed_and_varies_without_it():
    def answer(seed):
        model, rng = language_model(64, 5), np.random.default_rng(0)
        job = clip(rng, 60, [FreeState(2, 24)])
        job.asks[0].sampling = Sampling(temperature=2.0, seed=seed)
        Decoder(model, ChoiceVocabulary()).run([job])
        return job.asks[0].answer.ids

    assert answer(1) == answer(1)
    assert len({tuple(answer(seed)) for seed in range(5)}) > 1


def test_a_model_with_a_sliding_window_is_refused_by_name():
    config = MistralConfig(vocab_size=64, **{**SIZES, "sliding_window": 8})
    with pytest.raises(UsageError, match="full attention"):
        Decoder(AutoModelForCausalLM.from_config(config).eval(), ChoiceVocabulary())
