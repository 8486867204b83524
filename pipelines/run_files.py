"""Names of the files that `cryotwin recover` leaves in its folder."""

ORIENTATIONS_FILE = "orientations.star"
MAP_FILE = "initial_model.mrc"
HALF_MAP_FILES = ("half_map_1.mrc", "half_map_2.mrc")
METRICS_FILE = "metrics.json"
REPORT_FILE = "report.html"
STACK_FILE = "particles.mrcs"
