import os
import signal
import threading

import pytest

from cryotwin.imaging.interrupts import interrupts_held


def press():
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_waits_for_the_end():
    steps = []

    def work():
        with interrupts_held():
            with interrupts_held():
                press()
                steps.append("inner")
            steps.append("outer")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_does_not_wait():
    steps = []

    def work():
        with interrupts_held():
            press()
            steps.append("once")
            press()
            steps.append("twice")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["once"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_comes_before_another_error():
    def fail():
        press()
        raise ImportError("could not load")

    with pytest.raises(KeyboardInterrupt), interrupts_held():
        fail()


def test_without_an_interrupt_nothing_changes():
    with interrupts_held():
        pass
    with pytest.raises(ImportError, match="could not load"), interrupts_held():
        raise ImportError("could not load")


def test_other_threads_and_other_handlers_are_left_alone():
    handlers = []

    def work():
        with interrupts_held():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
    before = signal.signal(signal.SIGINT, lambda number, frame: handlers.append(number))
    try:
        with interrupts_held():
            press()
    finally:
        signal.signal(signal.SIGINT, before)
    assert handlers[1:] == [signal.SIGINT]
