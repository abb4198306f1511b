"""All objectives, by name."""

from pipeline.settings.registry import Kind, Registry
from pipeline.tasks.contract import TaskSettings

TASKS: Registry[TaskSettings] = Registry(
    "task",
    {
        "classification": Kind(
            "pipeline.tasks.classification_settings:ClassificationSettings",
            "pipeline.tasks.classification:Classification",
        ),
        "events": Kind("pipeline.tasks.events_settings:EventsSettings", "pipeline.tasks.events:Events"),
        "gram_triplet": Kind(
            "pipeline.tasks.gram_triplet_settings:GramTripletSettings", "pipeline.tasks.gram_triplet:GramTriplet"
        ),
        "masked_modelling": Kind(
            "pipeline.tasks.masked_modelling_settings:MaskedModellingSettings",
            "pipeline.tasks.masked_modelling:MaskedModelling",
        ),
        "mix_and_separate": Kind(
            "pipeline.tasks.mix_and_separate_settings:MixAndSeparateSettings",
            "pipeline.tasks.mix_and_separate:MixAndSeparate",
        ),
        "mma": Kind("pipeline.tasks.mma_settings:MmaSettings", "pipeline.tasks.mma:MultiModalAlignment"),
        "off_screen": Kind(
            "pipeline.tasks.off_screen_settings:OffScreenSettings", "pipeline.tasks.off_screen:OffScreen"
        ),
        "dense_contrastive": Kind(
            "pipeline.tasks.dense_contrastive_settings:DenseContrastiveSettings",
            "pipeline.tasks.dense_contrastive:DenseContrastive",
        ),
        "self_distillation": Kind(
            "pipeline.tasks.self_distillation_settings:SelfDistillationSettings",
            "pipeline.tasks.self_distillation:SelfDistillation",
        ),
        "separate_and_classify": Kind(
            "pipeline.tasks.separate_and_classify_settings:SeparateAndClassifySettings",
            "pipeline.tasks.separate_and_classify:SeparateAndClassify",
        ),
        "several": Kind("pipeline.tasks.several_settings:SeveralSettings", "pipeline.tasks.several:SeveralTasks"),
        "synchronisation": Kind(
            "pipeline.tasks.synchronisation_settings:SynchronisationSettings",
            "pipeline.tasks.synchronisation:Synchronisation",
        ),
    },
    default="mma",
)
