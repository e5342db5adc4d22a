"""MLflow as the model registry: `registry` asks it, `layout` is how a model lies in its folders."""

from holdfast.backends.mlflow.registry import MlflowRegistry

__all__ = ["MlflowRegistry"]
