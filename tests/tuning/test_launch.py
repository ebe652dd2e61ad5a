"""accelerate's configuration for a run on so many GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from holisafe.errors import TuningError
from holisafe.tuning import read_recipe
from holisafe.tuning._launch import accumulation_on, write_launch_config
from holisafe.tuning._processes import fsdp_options


@pytest.mark.parametrize(("gpus", "machines"), [(1, 1), (8, 1), (16, 2)])
@pytest.mark.parametrize("fsdp", [False, True])
def test_accelerate_reads_the_file(gpus: int, machines: int, fsdp: bool, tmp_path: Path) -> None:
    if fsdp and gpus == 1:
        pytest.skip("one GPU has nothing to shard over")
    path = write_launch_config(tmp_path, gpus, fsdp=fsdp)
    config = load_config_from_file(str(path))
    assert (config.num_processes, config.num_machines) == (gpus, machines)
    args = launch_command_parser().parse_args(["--config_file", str(path), "-m", "holisafe", "tune", "x"])
    args, *_ = _validate_launch_command(args)
    assert bool(args.use_fsdp) == fsdp
    if fsdp:
        assert (str(args.fsdp_version), args.fsdp_state_dict_type) == ("2", "SHARDED_STATE_DICT")


@pytest.mark.parametrize("recipe", ["llava-1.5-7b", "qwen2.5-vl-7b", "gemma-3-12b"])
@pytest.mark.parametrize("gpus", [1, 8, 16])
def test_the_samples_of_a_step_stay_those_of_the_recipe(recipe: str, gpus: int) -> None:
    config = read_recipe(recipe).config
    each = accumulation_on(gpus, config.gradient_accumulation_steps)
    assert each * gpus * config.batch_size == 128


def test_what_cannot_be_dealt_or_sharded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="8 batches per optimizer step cannot be dealt to 16 GPUs"):
        accumulation_on(16, 8)
    with pytest.raises(TuningError, match="one GPU cannot shard"):
        write_launch_config(tmp_path, 1, fsdp=True)
    with pytest.raises(TuningError, match="expected 1 to 8 GPUs or a multiple of that, found 12"):
        write_launch_config(tmp_path, 12, fsdp=False)


@pytest.mark.parametrize(
    "setting",
    [
        {"reshard_after_forward": "maybe"}, {"cpu_offload": 5}, {"auto_wrap_policy": "X"}, {"min_num_params": -1},
        {"transformer_layer_cls_to_wrap": []},
    ],
)  # fmt: skip
def test_settings_of_fsdp_of_another_kind_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(TuningError, match=f"fsdp_config: {next(iter(setting))}: expected"):
        fsdp_options(True, setting)
