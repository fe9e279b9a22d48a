"""The whole configuration: one YAML file may hold any part of it, the rest keeps its defaults."""

from typing import Self

from pydantic import Field, model_validator

from wsiseg.classes import ClassSchema
from wsiseg.config.base import Section
from wsiseg.config.classes import ClassConfig, build_schema, default_classes
from wsiseg.config.predicting import PredictConfig
from wsiseg.config.tiling import AnnotationConfig, TilingConfig, TissueConfig
from wsiseg.config.training import TrainConfig


class Config(Section):
    """Every knob of the method; paths, devices and workers are command-line options instead."""

    classes: tuple[ClassConfig, ...] = Field(default_factory=default_classes, description="Background first")
    annotations: AnnotationConfig = Field(default_factory=AnnotationConfig)
    tissue: TissueConfig = Field(default_factory=TissueConfig)
    tiling: TilingConfig = Field(default_factory=TilingConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    predict: PredictConfig = Field(default_factory=PredictConfig)

    @property
    def schema_(self) -> ClassSchema:
        """The class schema (underscore: pydantic keeps ``schema`` for itself)."""
        return build_schema(self.classes)

    @model_validator(mode="after")
    def _classes_make_a_schema(self) -> Self:
        build_schema(self.classes)
        return self
