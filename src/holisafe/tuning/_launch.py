"""accelerate's configuration for a run on so many GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holisafe.errors import TuningError

GPUS_PER_MACHINE = 8


def launch_config(gpus: int, *, fsdp: bool, on_cpu: bool = False) -> dict[str, Any]:
    """What `accelerate launch --config_file` reads.

    Args:
        gpus: How many there are; more than 8 are on several machines, with 8 each.
        fsdp: Whether weights are sharded (FSDP2); else each GPU has the whole model (DDP).
        on_cpu: Processes of the CPU in place of GPUs.

    Raises:
        TuningError: There is no such number of GPUs, or one and shards.
    """
    if gpus < 1 or (gpus > GPUS_PER_MACHINE and gpus % GPUS_PER_MACHINE):
        raise TuningError(f"launcher: expected 1 to {GPUS_PER_MACHINE} GPUs or a multiple of that, found {gpus}")
    if fsdp and gpus == 1:
        raise TuningError("launcher: one GPU cannot shard weights; leave out --fsdp, or use more GPUs")
    kind = "NO" if gpus == 1 else "FSDP" if fsdp else "MULTI_GPU"
    machines = max(1, gpus // GPUS_PER_MACHINE)
    config: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "debug": False,
        "distributed_type": kind,
        "downcast_bf16": "no",
        "machine_rank": 0,
        "main_training_function": "main",
        "mixed_precision": "no",  # the recipe's `precision` decides
        "num_machines": machines,
        "num_processes": gpus,
        "rdzv_backend": "static",
        "same_network": True,
        "use_cpu": on_cpu and gpus == 1,
    }
    if fsdp:
        config["fsdp_config"] = {
            "fsdp_version": 2,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_reshard_after_forward": True,
            "fsdp_state_dict_type": "SHARDED_STATE_DICT",
            "fsdp_offload_params": False,
            "fsdp_cpu_ram_efficient_loading": False,
            "fsdp_activation_checkpointing": False,
        }
    if machines > 1:
        config |= {"main_process_ip": "FIRST_MACHINE", "main_process_port": 29500}
    return config


def write_launch_config(folder: Path, gpus: int, *, fsdp: bool, on_cpu: bool = False) -> Path:
    """Write the configuration as YAML.

    Args:
        folder: The run's; made if missing.
        gpus: See `launch_config`.
        fsdp: See `launch_config`.
        on_cpu: See `launch_config`.

    Returns:
        The file.

    Raises:
        TuningError: As `launch_config`, or the file cannot be written.
    """
    import yaml  # type: ignore[import-untyped]

    config = launch_config(gpus, fsdp=fsdp, on_cpu=on_cpu)
    path = folder / f"accelerate-{gpus}{'-fsdp' if fsdp else ''}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(config, sort_keys=True), encoding="utf-8")
    except OSError as error:
        raise TuningError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def accumulation_on(gpus: int, accumulation: int) -> int:
    """`gradient_accumulation_steps` of each of so many GPUs, for the samples per step of one.

    Raises:
        TuningError: The batches do not divide.
    """
    if accumulation % gpus:
        raise TuningError(
            f"gradient_accumulation_steps: {accumulation} batches per optimizer step cannot be dealt to {gpus} GPUs in "
            f"equal numbers; choose a smaller batch_size and more steps (a multiple of {gpus}), or another number of "
            "GPUs"
        )
    return accumulation // gpus
