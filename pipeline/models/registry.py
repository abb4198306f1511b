"""All models, by name."""

from pipeline.models.settings import ModelSettings
from pipeline.settings.registry import Kind, Registry

MODELS: Registry[ModelSettings] = Registry(
    "model",
    {
        "av_transformer": Kind(
            "pipeline.models.av_transformer.settings:AvTransformerSettings",
            "pipeline.models.av_transformer.model:AvTransformer",
        ),
        "co_attention": Kind(
            "pipeline.models.co_attention.settings:CoAttentionSettings",
            "pipeline.models.co_attention.model:CoAttention",
        ),
        "gavt": Kind("pipeline.models.settings:GavtSettings", "pipeline.models.gavt:Gavt"),
        "see_hear": Kind("pipeline.models.see_hear.settings:SeeHearSettings", "pipeline.models.see_hear.model:SeeHear"),
        "towers": Kind("pipeline.models.towers_settings:TowersSettings", "pipeline.models.towers:Towers"),
        "tribert": Kind("pipeline.models.tribert.settings:TribertSettings", "pipeline.models.tribert.model:Tribert"),
    },
    default="gavt",
)
