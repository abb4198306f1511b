"""The lines by which the system is known: GAVT_EXTENSIONS=toy_system.kinds."""

from pipeline.evaluate.registry import MEASURES, READOUTS
from pipeline.features.inputs import FIELDS
from pipeline.models.registry import MODELS
from pipeline.tasks.registry import TASKS

FIELDS.add("corners", "toy_system.field:CornersSettings")
MODELS.add("three_streams", "toy_system.settings:ThreeStreamsSettings", "toy_system.model:ThreeStreams")
TASKS.add("belong", "toy_system.settings:BelongSettings", "toy_system.task:BelongTogether")
READOUTS.add("points_look", part="toy_system.readout:PointsLook")
MEASURES.add("notice", "toy_system.measure:NoticeSettings", "toy_system.measure:Notice")
