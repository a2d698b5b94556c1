"""Which engine runs a model, and what each engine reads.

config.yaml and the command line hold the settings of all engines side by side (`EngineSettings`). An engine gets the
dataclass that is named after it (`EngineSettings.chosen`): its fields are what the engine reads, declared here alone.
All engines read the prompt settings and `trust_remote_code` besides (`EngineSettings.reading`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, TypedDict

from pydantic import Field

from posttrain_diag.errors import UsageError
from posttrain_diag.settings.block import flag_of
from posttrain_diag.settings.model import ModelSettings
from posttrain_diag.settings.prompt import PromptSettings

EngineName = Literal["hf", "vllm", "openai", "ray"]
WorkerEngine = Literal["hf", "vllm", "openai"]


@dataclass(frozen=True)
class HFChoice:
    """The `hf` engine: the model runs in this process."""

    device: str | None
    dtype: str | None
    batch_rows: int | None


@dataclass(frozen=True)
class VLLMChoice:
    """The `vllm` engine: vLLM in a process of its own."""

    vllm_python: str | None
    dtype: str | None
    batch_rows: int | None


@dataclass(frozen=True)
class OpenAIChoice:
    """The `openai` engine: a server with the OpenAI API."""

    base_url: str | None
    api_key_env: str
    concurrency: int
    tokenizer: str | None


@dataclass(frozen=True)
class RayChoice:
    """The `ray` engine: workers on a cluster that each run another engine, which reads its own settings too."""

    ray_address: str | None
    ray_workers: int | None
    ray_engine: WorkerEngine
    device: str | None
    """"cpu" reserves no GPU for a worker."""


EngineChoice = HFChoice | VLLMChoice | OpenAIChoice | RayChoice
CHOICES: dict[EngineName, type[EngineChoice]] = {
    "hf": HFChoice,
    "vllm": VLLMChoice,
    "openai": OpenAIChoice,
    "ray": RayChoice,
}
"""For each engine the dataclass of the settings that it reads."""


class ReadingSettings(TypedDict):
    """How any engine renders prompts and reads a model's files, as its loader takes it."""

    template: str | None
    use_chat_template: bool | None
    system_prompt: str | None
    trust_remote_code: bool


class EngineSettings(ModelSettings, PromptSettings):
    """The settings of all engines side by side; `chosen` holds those that the chosen engine reads."""

    engine: EngineName = "hf"
    vllm_python: str | None = Field(default=None, description="vllm: interpreter of the environment that has vLLM")
    base_url: str | None = Field(default=None, description="openai: e.g. http://127.0.0.1:8000/v1")
    api_key_env: str = Field(default="OPENAI_API_KEY", description="openai: environment variable that holds the key")
    concurrency: int = Field(default=16, ge=1, description="openai: requests in flight")
    tokenizer: str | None = Field(default=None, description="openai: directory or hub id of the served model's files")
    ray_address: str | None = Field(default=None, description="ray: cluster address; None: RAY_ADDRESS, else local")
    ray_workers: int | None = Field(default=None, ge=1, description="ray: engines in the cluster; None: as many as fit")
    ray_engine: WorkerEngine = Field(default="hf", description="ray: the engine each worker runs")
    dtype: str | None = Field(default=None, description="hf, vllm: float32, bfloat16 or float16")
    batch_rows: int | None = Field(default=None, ge=1, description="hf, vllm: sequences per batch")

    @property
    def chosen(self) -> EngineChoice:
        """The settings that the chosen engine reads, in the engine's own dataclass."""
        kind = CHOICES[self.engine]
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})

    @property
    def reading(self) -> ReadingSettings:
        """The settings that every engine reads."""
        return {
            "template": self.template,
            "use_chat_template": self.chat_template,
            "system_prompt": self.system_prompt,
            "trust_remote_code": self.trust_remote_code,
        }


def read_by(engine: EngineName, worker: EngineName | None = None) -> frozenset[str]:
    """The settings that an engine reads beside those of every engine; for `ray` those of its workers' engine too."""
    own = frozenset(field.name for field in fields(CHOICES[engine]))
    return own | read_by(worker) if engine == "ray" and worker is not None else own


def refuse_unread(config: EngineSettings) -> None:
    """Refuse settings that are not at their default and that the chosen engine does not read.

    Raises:
        UsageError: there is such a setting; the message names the first one and the engines that read it.
    """
    of_any = frozenset[str]().union(*map(read_by, CHOICES))
    read = read_by(config.engine, config.ray_engine)
    for name, declared in EngineSettings.model_fields.items():
        if name not in of_any - read or getattr(config, name) == declared.default:
            continue
        engines = [engine for engine in CHOICES if name in read_by(engine)]
        workers = [] if "ray" in engines else [f"ray with --ray-engine {engine}" for engine in engines]
        chosen = f"ray with {config.ray_engine} workers" if config.engine == "ray" else config.engine
        raise UsageError(
            f"{flag_of(name)}: the engine {chosen} does not read it; engines that do: {', '.join([*engines, *workers])}"
        )
