"""`cryotwin demo`: the main job on the bundled structure, command by command."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from cryotwin.pipelines.output_paths import output_path

DESCRIPTION = """\
Show the whole way on the bundled structure 7CFN (a receptor bound to its G protein): make
noisy particle images, recover their orientations and a map with the published estimator, and
compare with the truth, which the recovery is not given. Takes a few minutes on two cores.

The commands are printed as they run, to be tried again with other settings."""

EPILOG = """\
example:
  cryotwin demo --out demo"""

_COUNT = 3100
_SNR_DB = -6
_SEED = 2026
"""Not the seed of the dataset that the published estimator was trained on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `cryotwin demo`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "--out",
        type=output_path,
        default=Path("demo"),
        metavar="DIR",
        help="folder for the dataset and the run; replaces an earlier demo there (default: demo)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs `cryotwin demo`.

    Raises:
        InputError: the folder cannot be used.
    """
    from cryotwin.pipelines.command_line import run_command
    from cryotwin.pipelines.run_files import REPORT_FILE
    from cryotwin.pipelines.staging import check_folder

    check_folder(args.out)
    dataset, results = str(args.out / "dataset"), str(args.out / "run")
    made = ["--count", str(_COUNT), "--snr-db", str(_SNR_DB), "--seed", str(_SEED)]
    for words in (
        ["generate", "7cfn", "--out", dataset, *made, "--overwrite"],
        ["recover", dataset, "--estimator", "7cfn", "--out", results, "--overwrite"],
        ["evaluate", results, "--truth", dataset],
    ):
        print(f"$ cryotwin {shlex.join(words)}", flush=True)
        status = run_command(words)
        if status != 0:
            return status
    print(f"the report is {args.out / 'run' / REPORT_FILE}: open it in a browser")
    return 0
