"""Names of the files that `cryotwin recover` leaves in its folder."""

ORIENTATIONS_FILE = "orientations.star"
MAP_FILE = "initial_model.mrc"
HALF_MAP_FILES = ("half_map_1.mrc", "half_map_2.mrc")
CS_FILE = "orientations.cs"
MASK_FILE = "mask.mrc"
METRICS_FILE = "metrics.json"
REPORT_FILE = "report.html"
STACK_FILE = "particles.mrcs"
RUN_FILES = (
    ORIENTATIONS_FILE,
    CS_FILE,
    STACK_FILE,
    MAP_FILE,
    *HALF_MAP_FILES,
    MASK_FILE,
    METRICS_FILE,
    REPORT_FILE,
)
"""All of them; those of an earlier run that a later one does not write are removed."""
