"""The Slurm script, with the variables that Slurm sets; without Slurm."""

import os
import re
import subprocess
import sys
from pathlib import Path

from helpers import REPOSITORY, write_clips

from eat.features import Shard

SCRIPT = REPOSITORY / "examples" / "extract_array.sbatch"


def test_a_task_of_the_array_extracts_its_clips(tmp_path, official_pretrain):
    subprocess.run(["sh", "-n", SCRIPT], check=True)
    # Slurm reads its options above the first command only.
    head = SCRIPT.read_text().split("\nset -eu\n")[0]
    assert re.findall(r"^#SBATCH --array=(.+)$", head, re.M) == ["1-4"]
    cores = re.search(r"^#SBATCH --cpus-per-task=(\d+)$", head, re.M)[1]
    write_clips(tmp_path / "some recordings", 8)
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": tools, "SLURM_CPUS_PER_TASK": cores}
    for key, value in {"ID": 3, "MIN": 1, "MAX": 4, "COUNT": 4}.items():
        environment[f"SLURM_ARRAY_TASK_{key}"] = str(value)
    command = ["sh", SCRIPT, "some recordings", official_pretrain, "features"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    found = {path.stem for path in (tmp_path / "features").glob("*.npy")}
    assert found == set(filter(Shard(3, 4).holds, (f"clip {index}" for index in range(8))))
    assert found
