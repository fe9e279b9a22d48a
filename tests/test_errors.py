"""The error tree: its shape, its messages, its exit codes."""

import inspect

import pytest

from wsiseg import errors
from wsiseg.errors import ConfigError, SlideOpenError, UnknownClassError, WsisegError

TREE = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, WsisegError)]


def leaves() -> list[type[WsisegError]]:
    return [kind for kind in TREE if not any(other is not kind and issubclass(other, kind) for other in TREE)]


@pytest.mark.parametrize("kind", leaves())
def test_every_leaf_is_also_a_builtin(kind: type[WsisegError]) -> None:
    builtin = [
        base for base in kind.__mro__ if base.__module__ == "builtins" and base not in (Exception, object)
    ]
    assert builtin and builtin[0] is not BaseException


@pytest.mark.parametrize("kind", TREE)
def test_every_error_is_drawn_in_the_docstring_and_documented(kind: type[WsisegError]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.__doc__


@pytest.mark.parametrize("kind", leaves())
def test_message_is_one_sentence_whatever_the_builtin(kind: type[WsisegError]) -> None:
    error = kind("a.svs", found="nothing", expected="a slide", remedy="Give another file")
    assert str(error) == "a.svs: found nothing, expected a slide. Give another file"


def test_parts_that_are_not_given_leave_no_trace() -> None:
    assert str(SlideOpenError("a.svs cannot be opened")) == "a.svs cannot be opened"
    assert str(SlideOpenError("a.svs", expected="a slide")) == "a.svs: expected a slide"
    assert str(SlideOpenError("a.svs is empty", remedy="Copy it again")) == "a.svs is empty. Copy it again"


def test_usage_errors_exit_with_two_and_others_with_one() -> None:
    assert ConfigError("x").exit_code == UnknownClassError("x").exit_code == 2
    assert SlideOpenError("x").exit_code == 1
