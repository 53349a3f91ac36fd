"""Greedy decoding under a grammar, many clips and questions at once: the model is asked only where it has a choice.

What one pass of the language model does for one question: it reads the tokens decided since the last pass (a choice and
the text that the grammar fixes after it) and, behind them, a guess of what comes next (`drafts`). Where the model would
have chosen what was guessed, the guess was read rightly and the next choice is there already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from elysium.errors import UsageError
from elysium.inference.cache import SHARED, ClipCache
from elysium.inference.drafts import MotionDraft
from elysium.inference.grammar import AnswerState, BoxesState, ChoiceVocabulary, Options
from elysium.inference.guessing import NO_GUESSES, Feed, as_if_right, least_chance, make_feed
from elysium.inference.spending import DecodingStats, Work

# Passes that do not guess, once guesses were found not worth their time.
_REST = 3


class Choice(NamedTuple):
    """A token that the model chose.

    Attributes:
        part: Which of the answer's boxes it belongs to.
        log_probability: Of the token, among those that were allowed.
    """

    part: int
    log_probability: float


@dataclass(frozen=True)
class Sampling:
    """Draws answers in the model's own words instead of taking the likeliest token.

    Attributes:
        temperature: Above 0; higher is wilder.
        seed: The same seed gives the same answer.
    """

    temperature: float
    seed: int = 0


@dataclass(eq=False)
class Ask:
    """One question about a clip.

    Attributes:
        question: Ids of the text behind the frames.
        answer: Holds the result.
        draft: Guesses boxes, if given; the answer is the same without.
        sampling: For answers in own words; by default the likeliest token is taken.
        chosen: The tokens that the model chose, in order.
    """

    question: list[int]
    answer: AnswerState
    draft: MotionDraft | None = None
    sampling: Sampling | None = None
    chosen: list[Choice] = field(default_factory=list)
    # Decided and not read yet; the position of the first of them; boxes that the drafter knows.
    pending: list[int] = field(default_factory=list, repr=False)
    position: int = field(default=0, repr=False)
    seen: int = field(default=0, repr=False)
    generator: torch.Generator | None = field(default=None, repr=False)


@dataclass(eq=False)
class ClipJob:
    """A clip and what is asked about it.

    Attributes:
        embeddings: Shape `(L, D)`: of all that stands before the questions.
        positions: Shape `(L,)`, ascending.
        next_position: Of a question's first token.
        asks: The questions, at least one.
    """

    embeddings: Tensor
    positions: Tensor
    next_position: int
    asks: list[Ask]


class Decoder:
    """Answers clips; they may come at any time and end at different times.

    Args:
        language_model: A causal language model of the transformers library with full attention, in evaluation mode.
        vocabulary: Of the grammars.
        batch_size: Questions answered at once; a clip with more is still taken whole.
        never: Ids that answers in own words do not hold.
        stats: Counted into, if given.
        work: What passes cost is added to it, if given.

    Raises:
        UsageError: If the model's attention cannot take a mask a token.
    """

    def __init__(
        self,
        language_model: Any,
        vocabulary: ChoiceVocabulary,
        batch_size: int = 16,
        never: Sequence[int] = (),
        stats: DecodingStats | None = None,
        work: Work | None = None,
    ) -> None:
        config = language_model.config.get_text_config()
        attention: str = config._attn_implementation
        if attention not in ("sdpa", "eager"):
            raise UsageError(
                f"the engine needs attention that takes a mask a token (sdpa or eager), but the model runs "
                f"{attention}; load it with attn_implementation='sdpa'"
            )
        _check_layers(config)
        self._body = language_model.get_decoder()
        self._head: nn.Module = language_model.get_output_embeddings()
        self._embed: nn.Module = language_model.get_input_embeddings()
        self._vocabulary = vocabulary
        self._batch_size = batch_size
        self._never = list(never)
        self.stats = stats if stats is not None else DecodingStats()
        self._work = work
        self._device = next(language_model.parameters()).device
        self._cache = ClipCache(config.num_hidden_layers, self._device)
        self._waiting: deque[ClipJob] = deque()
        self._rows: list[ClipJob] = []
        self._least, self._passes_to_rest = NO_GUESSES, 0
        self._choice_rows: tuple[Tensor, Tensor | None] | None = None

    @property
    def num_asks(self) -> int:
        """Questions that wait or are being answered."""
        return sum(len(job.asks) for job in (*self._waiting, *self._rows))

    def submit(self, job: ClipJob) -> None:
        """Takes a clip."""
        self._waiting.append(job)

    def run(self, jobs: Sequence[ClipJob]) -> None:
        """Answers some clips to the end."""
        self._waiting.extend(jobs)
        while self._waiting or self._rows:
            self.step()

    @torch.inference_mode()
    def step(self) -> list[ClipJob]:
        """Makes one pass; returns the clips that it finished."""
        fresh = self._admit()
        if fresh:
            self._pass(fresh, first=True)
        elif self._rows:
            self._pass(range(len(self._rows)), first=False)
        return self._finished()

    def _admit(self) -> list[int]:
        """Gives waiting clips a row each while there is room; returns the rows."""
        fresh: list[int] = []
        running = sum(not ask.answer.over for job in self._rows for ask in job.asks)
        while self._waiting and (not running or running + len(self._waiting[0].asks) <= self._batch_size):
            job = self._waiting.popleft()
            for ask in job.asks:
                fixed = ask.answer.write_fixed()
                self.stats.fixed += len(fixed)
                ask.pending, ask.position, ask.seen = [*ask.question, *fixed], job.next_position, ask.answer.part
                if ask.sampling is not None:
                    ask.generator = torch.Generator().manual_seed(ask.sampling.seed)
                if ask.draft is not None:
                    ask.draft.begin()
            self._cache.add_row(len(self._rows))
            fresh.append(len(self._rows))
            self._rows.append(job)
            running += len(job.asks)
        return fresh

    def _pass(self, rows: Sequence[int], *, first: bool) -> None:
        jobs = [self._rows[row] for row in rows]
        # With prompts, where tokens rather than passes cost time, several questions' guesses wait for the next pass.
        wait = first and sum(len(job.asks) for job in jobs) > 1
        asks = [[ask for ask in job.asks if not ask.answer.over] for job in jobs]
        if not wait and self._passes_to_rest == 0:
            self._least = least_chance(asks, self._device.type)
            # To weigh guesses takes time too: where they are not worth theirs, they will not be in the next pass.
            self._passes_to_rest = _REST if self._least == NO_GUESSES else 0
        elif not wait:
            self._passes_to_rest -= 1
        least = NO_GUESSES if wait else self._least
        feeds = [[make_feed(ask, least) for ask in of_row] for of_row in asks]
        shared = [len(self._rows[row].embeddings) if first else 0 for row in rows]
        counts = [before + sum(len(feed.ids) for feed in of_row) for before, of_row in zip(shared, feeds, strict=True)]
        shape = (len(feeds), max(counts))
        # Ids, slots, owners and positions in one array: one copy to the device.
        table = np.zeros((4, *shape), dtype=np.int64)
        table[2] = -1
        for number, (row, before) in enumerate(zip(rows, shared, strict=True)):
            if before:
                table[1, number, :before] = self._cache.take_slots(row, before)
                table[2, number, :before] = SHARED
            at = before
            owners_of = {id(ask): owner for owner, ask in enumerate(self._rows[row].asks, start=1)}
            for feed in feeds[number]:
                ask, owner = feed.ask, owners_of[id(feed.ask)]
                stop = at + len(feed.ids)
                feed.slots = self._cache.take_slots(row, len(feed.ids))
                table[0, number, at:stop] = feed.ids
                table[1, number, at:stop] = feed.slots
                table[2, number, at:stop] = owner
                table[3, number, at:stop] = np.arange(ask.position, ask.position + len(feed.ids))
                feed.choices = [(at + place, options) for place, options in feed.choices]
                at = stop
        ids, slots, owners, positions = torch.from_numpy(table).to(self._device)
        embeddings = self._embed(ids)
        if first:
            for number, row in enumerate(rows):
                job = self._rows[row]
                embeddings[number, : shared[number]] = job.embeddings.to(embeddings)
                positions[number, : shared[number]] = job.positions
        mask = self._cache.begin(list(rows), slots, owners.int(), positions.int(), alone=first)
        hidden = self._body(
            inputs_embeds=embeddings,
            attention_mask=self._as_attention(mask, embeddings.dtype),
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        self.stats.passes += 1
        self.stats.prompts += first
        self.stats.tokens += sum(counts)
        if self._work is not None:
            logits = sum(len(feed.choices) for of_row in feeds for feed in of_row)
            used = [self._cache.num_used(row) for row in rows]
            self._work.add_pass(first, counts, used, logits, len(self._vocabulary.ids))
        self._choose(hidden, list(rows), feeds)

    def _as_attention(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        # As numbers also for sdpa, which would make them of a mask of bits in every layer anew.
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)

    def _choose(self, hidden: Tensor, rows: list[int], feeds: list[list[Feed]]) -> None:
        """Lets the model choose at every place where it has a choice, and keeps the guesses that it agrees with."""
        places = [
            (number, place, options)
            for number, of_row in enumerate(feeds)
            for feed in of_row
            for place, options in feed.choices
        ]
        index = torch.tensor([place[:2] for place in places], device=hidden.device)
        states = hidden[index[:, 0], index[:, 1]]
        tokens, logs = self._restricted(states, [place[2] for place in places])
        start = 0
        for number, of_row in enumerate(feeds):
            for feed in of_row:
                stop = start + len(feed.choices)
                if feed.choices[0][1] is None:
                    read = self._free(states[start], feed)
                else:
                    read = self._agree(feed, tokens[start:stop], logs[start:stop])
                start = stop
                feed.ask.position += read
                if feed.slots[read:] and not feed.ask.answer.over:
                    self._cache.drop(rows[number], feed.slots[read:])

    def _restricted(self, states: Tensor, options: list[Options | None]) -> tuple[list[int], list[float]]:
        """Returns of each place the likeliest allowed token and its log probability among the allowed ones."""
        if all(option is None for option in options):
            return [0] * len(options), [0.0] * len(options)
        allowed = np.zeros((len(options), len(self._vocabulary.ids)), dtype=bool)
        for number, option in enumerate(options):
            if option is None:
                allowed[number] = True
            else:
                allowed[number, option.columns] = True
        logits = self._choice_logits(states).float()
        logits = logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), -torch.inf)
        best = logits.log_softmax(-1).max(-1)
        columns: list[int] = best.indices.tolist()
        logs: list[float] = best.values.tolist()
        return [self._vocabulary.ids[column] for column in columns], logs

    def _choice_logits(self, states: Tensor) -> Tensor:
        """Returns the logits of the vocabulary of choices alone: a head of thousands of rows is mostly not needed."""
        head = self._head
        count = len(self._vocabulary.ids)
        if not isinstance(head, nn.Linear) or not head.weight.is_floating_point():
            logits: Tensor = head(states)
            return logits[:, torch.tensor(self._vocabulary.ids, device=logits.device)]
        if self._choice_rows is None or len(self._choice_rows[0]) != count:
            ids = torch.tensor(self._vocabulary.ids, device=head.weight.device)
            self._choice_rows = (head.weight[ids], None if head.bias is None else head.bias[ids])
        return nn.functional.linear(states, *self._choice_rows)

    def _free(self, state: Tensor, feed: Feed) -> int:
        """Chooses one token among all; returns how many tokens were read."""
        logits: Tensor = self._head(state).float()
        logits[self._never] = -torch.inf
        ask = feed.ask
        if ask.sampling is None or ask.generator is None:
            token = int(logits.argmax())
        else:
            shares = (logits / ask.sampling.temperature).softmax(-1).cpu()
            token = int(torch.multinomial(shares, 1, generator=ask.generator))
        self._write(ask, token, float(logits.log_softmax(-1)[token]))
        return len(feed.ids)

    def _agree(self, feed: Feed, tokens: list[int], logs: list[float]) -> int:
        """Takes the model's choices as far as what it read was right; returns how many tokens were."""
        ask = feed.ask
        base = feed.choices[0][0] - (len(ask.pending) - 1)
        reached = 0
        for number, (token, log) in enumerate(zip(tokens, logs, strict=True)):
            reached = number
            self._write(ask, token, log)
            if number >= len(feed.guesses) or feed.guesses[number] != token:
                break
        read = feed.choices[reached][0] - base + 1
        if ask.draft is not None and feed.guesses:
            if feed.whole:
                ask.draft.decided(reached + 1)
            if isinstance(ask.answer, BoxesState):
                ask.draft.hear(as_if_right(ask.answer, tokens[reached + 1 :]))
            guessed = min(reached + 1, len(feed.guesses))
            self.stats.guessed += guessed
            self.stats.agreed += reached
        return read

    def _write(self, ask: Ask, token: int, log_probability: float) -> None:
        answer = ask.answer
        ask.chosen.append(Choice(answer.part, log_probability))
        answer.push(token)
        fixed = answer.write_fixed()
        ask.pending = [token, *fixed]
        self.stats.chosen += 1
        self.stats.fixed += len(fixed)
        if ask.draft is not None and isinstance(answer, BoxesState):
            while ask.seen < answer.part:
                ask.draft.observe(answer.values[4 * ask.seen : 4 * ask.seen + 4])
                ask.seen += 1

    def _finished(self) -> list[ClipJob]:
        done = []
        row = 0
        while row < len(self._rows):
            if all(ask.answer.over for ask in self._rows[row].asks):
                done.append(self._rows[row])
                last = len(self._rows) - 1
                self._cache.move_row(last, row)
                self._rows[row] = self._rows[last]
                self._rows.pop()
            else:
                row += 1
        return done


def _check_layers(config: Any) -> None:
    """Checks that every layer attends to all that came before.

    Raises:
        UsageError: If not: the engine's cache holds no window and no running state.
    """
    window = getattr(config, "sliding_window", None)
    narrow = window is not None and window < config.max_position_embeddings
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention" if narrow else "full_attention"])
    if kinds != {"full_attention"}:
        raise UsageError(
            f"the engine needs a language model with full attention in every layer, this one has "
            f"{', '.join(sorted(kinds - {'full_attention'}))}; use the model's own generate()"
        )
