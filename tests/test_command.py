"""The commands' scaffold: help, exit statuses and messages."""

import argparse

import pytest
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.withanyone_core.command import packages_needed, positive, run_command


def run(effect, arguments=("x",), interrupted=""):
    parser = argparse.ArgumentParser(prog="drawing")
    parser.add_argument("subject", nargs="?")
    return run_command("draw", parser, effect, list(arguments), lambda options: options.subject is None, interrupted)


def raises(error):
    def effect(options):
        raise error

    return effect


def test_the_status_is_that_of_what_was_run():
    assert [run(lambda options, status=status: status) for status in (0, 1)] == [0, 1]


def test_called_bare_it_prints_its_help(capsys):
    assert run(raises(ValueError("never run")), ()) == 0
    assert "usage: drawing" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error", [ValueError("no such brush"), RuntimeError("no such brush"), OSError("no such brush")]
)
def test_wrong_input_is_status_2_and_one_line(capsys, error):
    assert run(raises(error)) == 2
    assert capsys.readouterr().err == "draw: no such brush\n"


def test_an_interruption_is_status_130_and_says_what_to_do(capsys):
    assert run(raises(KeyboardInterrupt()), interrupted="Run it again.") == 130
    assert run(raises(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "\ndraw: interrupted. Run it again.\n\ndraw: interrupted.\n"


def test_a_missing_package_is_named_with_its_remedy(capsys):
    def effect(options):
        with packages_needed("Drawing"):
            raise ImportError("No module named 'brush'")

    assert run(effect) == 2
    assert "No module named 'brush'. Drawing needs packages" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_a_count_is_1_or_more(text):
    assert positive("12") == 12
    with pytest.raises((ValueError, argparse.ArgumentTypeError)):
        positive(text)


def test_every_command_has_this_scaffold():
    rooms = [ROOT / room for room in ("withanyone_core", "training", "miniature/lab")]
    texts = {path: path.read_text(encoding="utf-8") for room in rooms for path in sorted(room.rglob("*.py"))}
    commands = {path: text for path, text in texts.items() if "ArgumentParser(" in text}
    assert len(commands) >= 20
    own = [path for path, text in commands.items() if "run_command(" not in text or "basicConfig" in text]
    assert [str(path.relative_to(ROOT)) for path in own] == []
