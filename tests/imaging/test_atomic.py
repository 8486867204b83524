import os
import stat

import pytest

from cryotwin.imaging.atomic import atomic_output


def test_a_file_takes_its_place_when_it_is_complete(tmp_path):
    path = tmp_path / "map.mrc"

    with atomic_output(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")

    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def _fail_half_way(path, error):
    with atomic_output(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_after_an_error_the_old_file_stays_and_no_partial_one(tmp_path, error):
    path = tmp_path / "map.mrc"
    path.write_text("old")

    with pytest.raises(error):
        _fail_half_way(path, error)

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_a_new_file_does_not_appear(tmp_path):
    with pytest.raises(RuntimeError):
        _fail_half_way(tmp_path / "new.star", RuntimeError)

    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_replaced(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("old")

    with atomic_output(str(path)) as temporary:
        temporary.write_text("new")

    assert path.read_text() == "new"


def test_missing_folders_are_made(tmp_path):
    path = tmp_path / "run" / "deep" / "map.mrc"

    with atomic_output(path) as temporary:
        temporary.write_text("x")

    assert path.read_text() == "x"


def test_the_temporary_file_is_hidden_beside_its_target_and_keeps_all_suffixes(tmp_path):
    with atomic_output(tmp_path / "map.mrc.gz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffixes[-2:] == [".mrc", ".gz"]


def test_the_file_gets_the_permissions_that_the_user_gives_new_files(tmp_path):
    path = tmp_path / "map.mrc"
    before = os.umask(0o027)
    try:
        with atomic_output(path) as temporary:
            temporary.write_text("x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o640
