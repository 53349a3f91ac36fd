"""Every tensor of a checkpoint accounted for: what it becomes, or what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elysium.errors import UsageError
from elysium.model.release.weights_stream import Shard, TensorEntry

# Tables that old versions of transformers saved and new ones compute.
_COMPUTED = re.compile(r"\.(embeddings\.position_ids|rotary_emb\.(original_)?inv_freq)$")
_SHOWN = 5
_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}


class CheckpointMismatch(UsageError):
    """A checkpoint that does not fit the model it should be.

    Attributes:
        contradictions: Configuration values that the tensors contradict, one line each.
        missing: Expected tensors that are not there.
        unexpected: Tensors that the model has no place for.
        misshaped: Name, expected shape and found shape.
    """

    def __init__(
        self,
        source: Path,
        contradictions: Sequence[str],
        missing: Sequence[str],
        unexpected: Sequence[str],
        misshaped: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]],
    ) -> None:
        self.contradictions, self.missing = tuple(contradictions), tuple(missing)
        self.unexpected, self.misshaped = tuple(unexpected), tuple(misshaped)
        wrong = [f"{name}: expected {list(wanted)}, found {list(found)}" for name, wanted, found in misshaped]
        lines = [f"{source} does not hold the model that its configuration describes; nothing was written"]
        for title, entries in (
            ("contradictions", contradictions),
            ("missing", missing),
            ("unexpected", unexpected),
            ("mis-shaped", wrong),
        ):
            # The wrong configuration makes hundreds of tensors wrong: the reason is what a person needs to see.
            shown = entries[:_SHOWN] if contradictions and title != "contradictions" else entries
            if entries:
                lines += [f"{title} ({len(entries)}):", *(f"  {entry}" for entry in shown)]
            if len(shown) < len(entries):
                lines.append(f"  … and {len(entries) - len(shown)} more, which follow from the contradictions")
        super().__init__("\n".join(lines))


@dataclass
class Account:
    """Which tensor becomes which.

    Attributes:
        shards: New name and source of every tensor, file by file as they came.
        dropped: Names of tensors that are left out because they are computed anew.
    """

    shards: list[Shard] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    @property
    def entries(self) -> list[TensorEntry]:
        """The sources of all tensors."""
        return [entry for shard in self.shards for _, entry in shard]


def account_for(
    source: Path,
    shards: Sequence[Sequence[TensorEntry]],
    expected: Mapping[str, tuple[int, ...]],
    names: Mapping[str, str],
    contradictory: Sequence[str],
) -> Account:
    """Gives every tensor its new name.

    Args:
        source: The checkpoint's folder, for messages.
        shards: Its tensors, file by file.
        expected: Shape of every tensor that the model needs, by its name in the source.
        names: The new name of each of these.
        contradictory: What is already known not to fit, one line each.

    Raises:
        CheckpointMismatch: With everything that does not fit, if anything does not.
    """
    account, found, unexpected, misshaped = Account(), set(), [], []
    for shard in shards:
        renamed: Shard = []
        for entry in shard:
            wanted = expected.get(entry.name)
            if wanted is not None:
                found.add(entry.name)
                renamed.append((names[entry.name], entry))
                if wanted != entry.shape:
                    misshaped.append((entry.name, wanted, entry.shape))
            elif _COMPUTED.search(entry.name):
                account.dropped.append(entry.name)
            else:
                unexpected.append(entry.name)
        account.shards.append(renamed)
    missing = [name for name in expected if name not in found]
    if contradictory or missing or unexpected or misshaped:
        raise CheckpointMismatch(source, contradictory, missing, unexpected, misshaped)
    return account


def common_dtype(source: Path, account: Account) -> str:
    """Returns the type that holds all tensors without loss, in torch's spelling.

    Raises:
        UsageError: If there are tensors of another kind than float16, bfloat16 and float32.
    """
    kinds = {entry.dtype for entry in account.entries}
    if other := sorted(kinds - set(_DTYPES)):
        names = [entry.name for entry in account.entries if entry.dtype in other]
        raise UsageError(
            f"{source} holds {len(names)} tensors as {', '.join(other)} ({names[0]}, …); only float16, bfloat16 and "
            "float32 checkpoints are converted, quantised ones are not"
        )
    return _DTYPES[kinds.pop()] if len(kinds) == 1 else "float32"
