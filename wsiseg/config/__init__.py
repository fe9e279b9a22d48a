"""Configuration: pydantic sections, read from and written to YAML."""

from wsiseg.config.predicting import PredictConfig
from wsiseg.config.root import Config
from wsiseg.config.tiling import AnnotationConfig, TilingConfig, TissueConfig
from wsiseg.config.training import TrainConfig
from wsiseg.config.yaml_io import (
    dump_config,
    find_recipe,
    load_config,
    load_mapping,
    override_config,
    parse_config,
    save_config,
)

__all__ = [
    "AnnotationConfig",
    "Config",
    "PredictConfig",
    "TilingConfig",
    "TissueConfig",
    "TrainConfig",
    "dump_config",
    "find_recipe",
    "load_config",
    "load_mapping",
    "override_config",
    "parse_config",
    "save_config",
]
