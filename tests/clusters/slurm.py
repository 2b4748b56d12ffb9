"""A Slurm of two nodes on this machine, for tests: its own munge, controller and node daemons.

Everything lies in one folder and listens on 127.0.0.1. Nothing of the system's is changed.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Dict, List

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
SwitchType=switch/none
ReturnToService=2
KillWait=8
MinJobAge=600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 State=UNKNOWN
PartitionName=low Nodes=node[1-2] Default=YES PriorityTier=1 GraceTime={grace} State=UP
PartitionName=high Nodes=node[1-2] PriorityTier=9 PreemptMode=OFF State=UP
"""


def why_not() -> str:
    """Why there can be no Slurm here; empty if there can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"needs {', '.join(missing)} (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "needs root, as the daemons of Slurm do"


class Slurm:
    """The cluster; `stop` ends all that was started.

    Args:
        folder: for configuration, state and logs.
        grace_seconds: between the signal to a preempted job and its end.
    """

    def __init__(self, folder: Path, grace_seconds: int = 90) -> None:
        self.folder = folder
        self._daemons: List[subprocess.Popen] = []
        for name in ("state", "spool-node1", "spool-node2"):
            (folder / name).mkdir(parents=True)
        text = _CONFIGURATION.format(
            folder=folder, host=socket.gethostname(), ports=_free_ports(3), grace=grace_seconds
        )
        (folder / "slurm.conf").write_text(text)
        # The key decides who may speak for whom, so munge reads none that others can read.
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        os.chmod(folder / "munge.key", 0o600)
        os.chmod(folder, 0o755)
        self.environment: Dict[str, str] = {
            **os.environ,
            "PATH": _PATH,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "MASTER_ADDR": "127.0.0.1",  # nobody resolves the names of these nodes
        }
        try:
            self._start_daemons()
        except BaseException:
            self.stop()
            raise

    def run(self, *command: str, **options: object) -> str:
        """What a program of Slurm prints; it has to succeed."""
        done = subprocess.run(
            command, capture_output=True, text=True, env=self.environment, timeout=60, **options
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def submit(self, *arguments: str, **options: object) -> str:
        """Submit a job; returns its number."""
        return self.run("sbatch", "--parsable", *arguments, **options)

    def job(self, job: str) -> Dict[str, str]:
        """What the controller says of a job: JobState, ExitCode, Restarts, ..."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split(" ")
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, job: str, *states: str, seconds: float = 300) -> Dict[str, str]:
        """Wait until a job is in one of some states."""
        deadline = time.monotonic() + seconds
        while (found := self.job(job))["JobState"] not in states:
            assert time.monotonic() < deadline, f"job {job} is {found['JobState']}: {self.logs()}"
            time.sleep(0.3)
        return found

    def logs(self) -> str:
        """The ends of the daemons' logs."""
        files = sorted(self.folder.glob("slurm*.log"))
        return "\n".join(f"{file.name}:\n{file.read_text()[-1500:]}" for file in files)

    def stop(self) -> None:
        """Cancel all jobs and end the daemons."""
        if len(self._daemons) > 1:
            subprocess.run(["scancel", "--user=root"], env=self.environment, timeout=30)
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and self.run("squeue", "--noheader"):
                time.sleep(0.3)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()

    def _start_daemons(self) -> None:
        folder = self.folder
        munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        munge.append(f"--socket={folder}/munge.socket")
        self._start("munged", "--foreground", "--force", *munge)
        _wait_for((folder / "munge.socket").exists)
        configuration = str(folder / "slurm.conf")
        self._start("slurmctld", "-D", "-i", "-f", configuration)
        for node in ("node1", "node2"):
            self._start("slurmd", "-D", "-N", node, "-f", configuration)
        _wait_for(self._is_ready)

    def _is_ready(self) -> bool:
        command = ["sinfo", "--noheader", "--Node", "--partition=low", "--format=%T"]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment)
        return done.stdout.split() == ["idle", "idle"]

    def _start(self, *command: str) -> None:
        with open(self.folder / f"{Path(command[0]).name}.out", "ab") as out:
            self._daemons.append(
                subprocess.Popen(command, stdout=out, stderr=out, env=self.environment)
            )


def _free_ports(count: int) -> List[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_for(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "Slurm did not start"
        time.sleep(0.2)
