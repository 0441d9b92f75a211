import pytest

from conceptprobe.display.progress import tracked


@pytest.mark.parametrize("show", [True, False])
def test_steps_come_in_order_and_the_bar_is_on_stderr(show: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(tracked((n for n in range(3)), "counting", 3, show=show)) == [0, 1, 2]
    out, err = capsys.readouterr()
    assert not out
    assert ("counting" in err) == show
