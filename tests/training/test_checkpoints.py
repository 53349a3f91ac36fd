"""The seal of a checkpoint that several processes write."""

import json
import os
import socket
import subprocess
import sys

import pytest

# What a node does when its part of a checkpoint is written; the first one's disk is slow.
SEAL = """
import os, sys, time
from pathlib import Path
import torch.distributed as dist
from elysium.training.checkpoints import seal_checkpoint

checkpoint, slow = Path(sys.argv[1]), os.fsync
if os.environ["RANK"] == "0":
    os.fsync = lambda file: (slow(file), time.sleep(0.5))
dist.init_process_group("gloo")
checkpoint.mkdir(parents=True, exist_ok=True)
(checkpoint / f"rng_state_{os.environ['RANK']}.pth").write_text(os.environ["RANK"])
seal_checkpoint(checkpoint)
dist.destroy_process_group()
"""


@pytest.mark.parametrize("shared", [True, False], ids=["one-folder", "a-folder-each"])
def test_nodes_seal_what_all_of_them_wrote(tmp_path, shared):
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    folders = [tmp_path / ("shared" if shared else str(rank)) / "checkpoint-5" for rank in (0, 1)]
    place = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    nodes = [
        subprocess.Popen(
            [sys.executable, "-c", SEAL, str(folder)],
            env={**os.environ, **place, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, folder in enumerate(folders)
    ]
    errors = [node.communicate(timeout=120)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], errors
    sealed = json.loads((folders[0] / "complete.json").read_text())
    assert sorted(sealed) == ["processes.json", "rng_state_0.pth", "rng_state_1.pth"]
    assert json.loads((folders[0] / "processes.json").read_text()) == {"processes": 2}
