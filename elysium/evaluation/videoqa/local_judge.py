"""A judge that runs here: any causal language model of Hugging Face with a chat template, greedy."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elysium.errors import ElysiumError
from elysium.evaluation.videoqa.judges import (
    CHECK,
    Declined,
    JudgeError,
    JudgeIdentity,
    JudgeOptions,
    JudgeRefused,
    Reply,
)
from elysium.evaluation.videoqa.prompt import Conversation

_PIECE = 1 << 20


class LocalJudge:
    """See `Judge`; one thread asks it, several questions at once.

    The model is loaded with the first question. Its name carries a fingerprint of its files, so that other weights in
    the same folder are another judge.

    Args:
        options: Without `url`.
        home: The folder with the local registry.

    Raises:
        UsageError: If there is no such model.
        JudgeRefused: If a temperature is wanted.
        ElysiumError: If it cannot be fetched, or transformers is not installed.
    """

    def __init__(self, options: JudgeOptions, home: Path = Path("runs")) -> None:
        if options.temperature:
            raise JudgeRefused(
                f"a local judge always gives its likeliest answer; got temperature {options.temperature}"
            )
        try:
            from elysium.inference.checkpoints import find_checkpoint
        except ImportError as error:
            raise ElysiumError("a local judge needs torch and transformers: pip install 'elysium[train]'") from error
        self._options = options
        self._folder = find_checkpoint(options.model, home)
        if not (self._folder / "config.json").is_file():
            raise JudgeRefused(f"{self._folder} holds no config.json: it is no model that transformers can load")
        self._name = f"{options.model} [{_fingerprint(self._folder)}]"
        self._loaded: tuple[Any, Any] | None = None
        self.identity = JudgeIdentity(backend="local", model=self._name)
        self.max_tokens = options.max_tokens
        self.batch_size = options.batch_size
        self.num_workers = 1

    def check(self) -> str:
        """Loads the model and asks it one question; see `Judge`."""
        found = self.ask([CHECK], threading.Event())[0]
        if isinstance(found, Declined):
            raise JudgeRefused(f"the judge {self._name} will not answer: {found.reason}")
        return found.model

    def ask(self, conversations: Sequence[Conversation], stop: threading.Event) -> list[Reply | Declined]:
        """Returns one answer a conversation; see `Judge`."""
        tokenizer, model = self._load()
        prompts = [_prompt(tokenizer, conversation) for conversation in conversations]
        lengths = [len(tokenizer(prompt, add_special_tokens=False)["input_ids"]) for prompt in prompts]
        room = getattr(model.config, "max_position_embeddings", None)
        fitting = [number for number, length in enumerate(lengths) if room is None or length + self.max_tokens <= room]
        replies: list[Reply | Declined] = [
            Declined(f"{length} tokens and {self.max_tokens} of an answer exceed the model's {room}")
            for length in lengths
        ]
        if fitting:
            texts = self._generate([prompts[number] for number in fitting])
            for number, (text, written) in zip(fitting, texts, strict=True):
                replies[number] = Reply(text, self._name, lengths[number], written)
        return replies

    def close(self) -> None:
        """Lets go of the model."""
        self._loaded = None

    def _generate(self, prompts: list[str]) -> list[tuple[str, int]]:
        """Returns the answers, and how many tokens each has."""
        import torch

        tokenizer, model = self._load()
        inputs = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = {name: inputs[name].to(model.device) for name in ("input_ids", "attention_mask")}
        try:
            with torch.inference_mode():
                made = model.generate(
                    **inputs,
                    do_sample=False,
                    max_new_tokens=self.max_tokens,
                    pad_token_id=tokenizer.pad_token_id,
                )
        except torch.OutOfMemoryError as error:
            raise JudgeError(
                f"the judge {self._name} needs more memory than {model.device} has, for {len(prompts)} questions at "
                "once; ask fewer together (--judge-batch-size)"
            ) from error
        answers = made[:, inputs["input_ids"].shape[1] :]
        written = (answers != tokenizer.pad_token_id).sum(dim=1).tolist()
        return list(zip(tokenizer.batch_decode(answers, skip_special_tokens=True), written, strict=True))

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModelForCausalLM, AutoTokenizer

            from elysium.inference.checkpoints import choose_device, choose_dtype

            device = choose_device(self._options.device)
            dtype = choose_dtype(self._options.dtype, device)
            try:
                # Said outright: where a model brings code of its own, transformers would ask on the terminal.
                trust = {"trust_remote_code": False}
                tokenizer = AutoTokenizer.from_pretrained(self._folder, padding_side="left", **trust)
                model = AutoModelForCausalLM.from_pretrained(self._folder, dtype=dtype, use_safetensors=True, **trust)
            except (OSError, ValueError, KeyError) as error:
                reason = str(error).strip().splitlines()[0]
                raise JudgeRefused(f"{self._folder} is no language model that can judge: {reason}") from error
            if tokenizer.pad_token_id is None:
                tokenizer.pad_token = tokenizer.eos_token
            # What the checkpoint suggests for sampling has no meaning here, and transformers says so every time.
            model.generation_config.temperature = model.generation_config.top_p = model.generation_config.top_k = None
            self._loaded = tokenizer, model.to(device).eval()
        return self._loaded


def _prompt(tokenizer: Any, conversation: Conversation) -> str:
    """Returns a conversation as the model's own template writes it; without one, as plain text."""
    if not tokenizer.chat_template:
        return "\n\n".join(text for _, text in conversation) + "\n\n"
    from jinja2 import TemplateError

    messages = [{"role": role, "content": text} for role, text in conversation]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except TemplateError:
        if len(messages) < 2 or messages[0]["role"] != "system":
            raise
        # Some templates know no system message: it goes in front of the question.
        first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
        return str(tokenizer.apply_chat_template([first, *messages[2:]], tokenize=False, add_generation_prompt=True))


def _fingerprint(folder: Path) -> str:
    """Returns what changes with a model's files: names, sizes, and the first and last MiB of each."""
    digest = hashlib.sha256()
    for path in sorted(
        path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".jinja", ".model")
    ):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_PIECE))
            file.seek(max(0, size - _PIECE))
            digest.update(file.read(_PIECE))
    return digest.hexdigest()[:12]
