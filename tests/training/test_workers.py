"""Who is a worker of a run, by the variables of torchrun and Slurm."""

import pytest
from omegaconf import OmegaConf

from eat.training.workers import Place, check_alone, find_place, starting

TORCHRUN = {
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
    "WORLD_SIZE": "8",
    "RANK": "5",
    "LOCAL_RANK": "1",
}
STEP = {
    "SLURM_JOB_ID": "70001",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu[03-05,9],login1",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
}


@pytest.fixture
def settings():
    """`settings(**values)` -> the section distributed_training, fairseq's values otherwise."""
    values = {
        "distributed_world_size": 1,
        "distributed_init_method": None,
        "distributed_port": -1,
        "distributed_rank": 0,
        "device_id": 0,
        "distributed_no_spawn": False,
    }
    return lambda **others: OmegaConf.create({**values, **others})


def test_alone(settings):
    assert find_place(settings(), {}, num_gpus=0) == Place(1)
    assert find_place(settings(), {}, num_gpus=4) == Place(1)


def test_one_worker_for_each_gpu_of_this_machine(settings):
    place = find_place(settings(distributed_world_size=4, distributed_port=1234), {}, num_gpus=4)
    assert place == Place(4, meet="tcp://localhost:1234", starts=4)
    with pytest.raises(ValueError) as caught:
        find_place(settings(distributed_world_size=4), {}, num_gpus=2)
    assert str(caught.value) == (
        "distributed_training.distributed_world_size: found 4, expected at most 2, the GPUs of this"
        " machine"
    )


def test_several_workers_on_the_cpu(settings):
    place = find_place(settings(distributed_world_size=3, distributed_port=1234), {}, num_gpus=0)
    assert place == Place(3, meet="tcp://localhost:1234", starts=3)


def test_workers_for_gpus_that_are_not_there_are_refused(settings, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    section = settings(distributed_world_size=4, pipeline_model_parallel=False)
    cfg = OmegaConf.create(
        {"common": {"cpu": False, "tpu": False}, "distributed_training": section}
    )
    with pytest.raises(ValueError, match="found 4 and no GPU, expected 1, or common.cpu=true"):
        starting(lambda cfg, main: None, cfg, None)


def test_torchrun(settings):
    assert find_place(settings(), TORCHRUN, num_gpus=0) == Place(8, 5, 0, "env://")
    assert find_place(settings(), TORCHRUN, num_gpus=4) == Place(8, 5, 1, "env://")
    # Each process may see one GPU only.
    assert find_place(settings(), TORCHRUN, num_gpus=1) == Place(8, 5, 0, "env://")
    alone = {**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}
    assert find_place(settings(), alone, num_gpus=0) == Place(1)
    with pytest.raises(ValueError, match="torchrun: found a worker 4 on a machine with 2 GPUs"):
        find_place(settings(), {**TORCHRUN, "LOCAL_RANK": "4"}, num_gpus=2)


def test_slurm_with_a_task_for_each_worker(settings):
    place = find_place(settings(distributed_port=29671), STEP, num_gpus=0)
    assert place == Place(2, 1, 0, "tcp://gpu03:29671")
    eight = {**STEP, "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "6", "SLURM_LOCALID": "2"}
    place = find_place(settings(distributed_port=29671), eight, num_gpus=4)
    assert place == Place(8, 6, 2, "tcp://gpu03:29671")
    # The tasks of a job meet at a port that other jobs on the node do not have.
    ports = {find_place(settings(), {**STEP, "SLURM_JOB_ID": job}, 0).meet for job in "123"}
    assert len(ports) == 3


def test_slurm_with_a_task_for_each_node_starts_workers_for_its_gpus(settings):
    place = find_place(settings(distributed_world_size=4, distributed_port=29671), STEP, num_gpus=4)
    assert place == Place(8, 4, 0, "tcp://gpu03:29671", starts=4)


def test_slurm_where_the_user_says_who_is_first(settings):
    environment = {**STEP, "MASTER_ADDR": "10.1.1.1", "MASTER_PORT": "7000"}
    assert find_place(settings(), environment, num_gpus=0).meet == "tcp://10.1.1.1:7000"


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("node[07-12]", "node07"),
        ("rack2-[3,5-9],other", "rack2-3"),
        ("n[1-4]-ib", "n1-ib"),
    ],
)
def test_the_first_host(settings, hosts, first):
    place = find_place(
        settings(distributed_port=1), {**STEP, "SLURM_STEP_NODELIST": hosts}, num_gpus=0
    )
    assert place.meet == f"tcp://{first}:1"


def test_a_job_of_two_nodes_without_srun_is_refused(settings):
    with pytest.raises(ValueError, match=r"SLURM_JOB_NUM_NODES: found a job of 2 nodes and a proc"):
        find_place(settings(), {"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "2"}, num_gpus=0)


def test_what_the_user_set_is_kept(settings):
    given = settings(
        distributed_world_size=2,
        distributed_init_method="tcp://10.0.0.1:1",
        distributed_rank=1,
        distributed_no_spawn=True,
    )
    assert find_place(given, {}, num_gpus=0) == Place(2, 1, 0, "tcp://10.0.0.1:1")


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_one_of_several_processes_does_not_train_alone(monkeypatch, name):
    check_alone()
    monkeypatch.setenv(name, "2")
    with pytest.raises(ValueError, match=f"{name}: found 2 processes that each would train alone"):
        check_alone()
