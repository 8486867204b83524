import argparse
import errno
import importlib.util
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import mrcfile
import pytest

from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.pipelines import command_line, evaluate_command, models_command
from cryotwin.pipelines.command_line import COMMANDS, build_parser, main

PROGRAM = [sys.executable, "-m", "cryotwin.pipelines.command_line"]
WRONG = {
    "demo": ["--out"],
    "generate": ["7cfn"],
    "convert": ["data/7cfn"],
    "train": ["data", "--model", "resnet_small"],
    "recover": ["--out", "run"],
    "embed": ["particles.star", "--out", "features"],
    "evaluate": [],
    "reproduce": ["--quick", "--unreduced", "--out", "DIR"],
    "models": ["--no-such-flag"],
}


def error_line(capsys):
    """The one line on stderr, and nothing on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


@pytest.fixture
def command_that(monkeypatch):
    """Makes `cryotwin models` do what a test wants."""

    def replace(run):
        monkeypatch.setattr(models_command, "run", run)

    return replace


def test_every_command_has_its_module():
    for name in COMMANDS:
        assert importlib.util.find_spec(f"cryotwin.pipelines.{name}_command"), name


def test_the_overview_names_every_command_and_their_order(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert f"  cryotwin {name}" in text
    assert text.index("cryotwin generate 7cfn") < text.index("cryotwin train data")
    assert main([]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_shows_an_example(name, capsys):
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: cryotwin {name}" in text
    assert f"  cryotwin {name}" in text.partition("options:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_arguments_are_told_in_one_line(name, capsys):
    assert main([name, *WRONG[name]]) == 2
    line = error_line(capsys)
    assert line.startswith(f"cryotwin {name}: error: ")
    assert line.endswith(f"see cryotwin {name} --help\n")


def test_an_unknown_command_is_answered_with_the_known_ones(capsys):
    assert main(["recove"]) == 2
    line = error_line(capsys)
    assert "COMMAND must be one of demo, generate" in line
    assert "not 'recove' (did you mean 'recover'?)" in line


@pytest.mark.parametrize(
    "words", [["models", "--js"], ["--vers"], ["evaluate", "x", "--trut", "y"]]
)
def test_abbreviations_are_not_taken(words, capsys):
    assert main(words) == 2
    assert "error" in error_line(capsys)


def test_flags_of_beam_reach_generate_alone(capsys):
    words = ["7cfn", "--out", "x", "--direct_num_workers", "2"]
    args = build_parser().parse_args(["generate", *words])
    assert args.structures == ["7cfn"]
    assert args.beam_args == ["--direct_num_workers", "2"]
    assert main(["evaluate", "x", "--truth", "y", "--direct_num_workers", "2"]) == 2
    assert "unrecognized argument: --direct_num_workers" in error_line(capsys)


def test_a_flag_that_nobody_knows_is_named(tmp_path, capsys):
    assert main(["generate", "7cfn", "--out", str(tmp_path / "x"), "--colour", "red"]) == 2
    assert "unknown argument '--colour'" in error_line(capsys)
    assert not (tmp_path / "x").exists()


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"cryotwin {version('cryotwin')}\n"


def test_help_and_models_wait_for_no_large_library():
    for words in ([], ["models", "--help"]):
        code = (
            "import sys; from cryotwin.pipelines.command_line import main\n"
            f"main({words!r})\n"
            "print([name for name in ('tensorflow', 'keras', 'apache_beam', 'jax', 'scipy', "
            "'pandas') if name in sys.modules])"
        )
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert result.stdout.splitlines()[-1] == "[]", words


@pytest.mark.parametrize("name", COMMANDS)
def test_declaring_arguments_imports_no_large_library(name):
    code = (
        "import sys; from cryotwin.pipelines.command_line import main\n"
        f"main([{name!r}, '--help'])\n"
        "print([name for name in ('tensorflow', 'keras', 'apache_beam', 'jax') "
        "if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("size must be even,\n not 33"), "error: size must be even, not 33"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/x"), "error: out/x: no space left"),
        (OSError("cannot write (No space left on device)"), "error: no space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "error: x: Permission denied"),
        (MemoryError("Unable to allocate 3 GiB"), "error: not enough memory (Unable to allocate"),
        (MemoryError(), "error: not enough memory\n"),
    ],
)
def test_what_the_user_can_mend_takes_one_line(error, line, command_that, capsys):
    def fail(args: argparse.Namespace) -> int:
        raise error

    command_that(fail)
    assert main(["models"]) == 2
    assert error_line(capsys).startswith(f"cryotwin models: {line}")


def test_an_interrupt_ends_with_130(command_that, capsys):
    def interrupt(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    command_that(interrupt)
    assert main(["models"]) == 130
    assert error_line(capsys) == "cryotwin models: interrupted\n"


def test_an_interrupt_that_ends_as_another_error_is_told_as_one(command_that, capsys):
    def interrupt(args: argparse.Namespace) -> int:
        try:
            raise KeyboardInterrupt
        finally:  # As zipfile does, in the middle of a file.
            raise ValueError("there is an open writing handle")

    command_that(interrupt)
    assert main(["models"]) == 130
    assert error_line(capsys) == "cryotwin models: interrupted\n"


def test_an_error_in_the_place_of_an_interrupt_is_told_as_itself(command_that, capsys):
    def interrupt(args: argparse.Namespace) -> int:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:  # As where a worker was lost.
            raise OSError("a worker was lost") from None

    command_that(interrupt)
    assert main(["models"]) == 2
    assert error_line(capsys) == "cryotwin models: error: a worker was lost\n"


def test_an_interrupt_that_meets_a_finaliser_is_not_lost(command_that, capsys):
    class Mortal:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    def run(args):
        Mortal()
        for _ in range(1000):
            time.sleep(0.01)
        return 0

    command_that(run)
    assert main(["models"]) == 130
    assert error_line(capsys) == "cryotwin models: interrupted\n"


def test_a_mistake_of_the_program_is_not_hidden(command_that):
    def fail(args: argparse.Namespace) -> int:
        raise ValueError("shapes do not match")

    command_that(fail)
    with pytest.raises(ValueError, match="shapes do not match"):
        main(["models"])


@pytest.mark.parametrize("words", [["--debug", "evaluate"], ["evaluate", "--debug"], ["evaluate"]])
def test_debug_shows_where_an_error_arose(words, monkeypatch, tmp_path, capsys):
    if "--debug" not in words:
        monkeypatch.setenv(command_line.DEBUG_VARIABLE, "1")
    assert main([*words, str(tmp_path), "--truth", "x"]) == 2
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert evaluate_command.__file__ in text
    assert text.splitlines()[-1].startswith("cryotwin evaluate: error: ")


def test_a_file_that_finds_the_disk_full_is_named(tmp_path):
    path = tmp_path / "map.mrc"
    with (
        pytest.raises(OSError, match="No space left") as caught,
        atomic_output(path),
        open("/dev/full", "w") as full,
    ):
        full.write("x")
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_written_is_told_by_the_file_that_was_wanted(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file") as caught, atomic_output(tmp_path / "file" / "x"):
        pass
    assert ".partial-" not in str(caught.value)


def test_a_full_disk_ends_generate_in_one_line(tmp_path, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(mrcfile, "new", full)
    out = tmp_path / "data"
    words = ["generate", "7cfn", "--out", str(out), "--size", "16", "--count", "20"]
    assert main(words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"cryotwin generate: error: {out}")
    assert line.endswith("7cfn.mrc: no space left on device")
    assert not (out / "features.json").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_told():
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 2
    assert result.stderr.startswith("cryotwin: error: ")
    assert result.stderr.endswith("no space left on device\n")
    assert result.stderr.count("\n") == 1


def test_a_reader_that_leaves_early_causes_no_noise():
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [*PROGRAM, "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, "")


def test_ctrl_c_in_generate_ends_with_130_and_no_dataset(tmp_path):
    out = tmp_path / "data"
    words = ["generate", "7cfn", "--out", str(out), "--size", "32", "--count", "200000"]
    with subprocess.Popen(
        [*PROGRAM, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while not list(out.glob(".unfinished/*tfrecord*")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert text.splitlines()[-1] == "cryotwin generate: interrupted"
    assert "Traceback" not in text
    assert not (out / "features.json").exists()
