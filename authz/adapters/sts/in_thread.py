"""Runs work of the event loop in a thread of the pool."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
Submit = Callable[..., None]
"""Has a thread call a function with arguments, soon."""


async def run_in_thread(submit: Submit, work: Callable[..., _T], *arguments: object) -> _T:
    """Do work in a thread of the pool, and return its result. Raises what it raises."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()
    submit(_work, loop, done, work, arguments)
    return await done


def _work(
    loop: asyncio.AbstractEventLoop,
    done: "asyncio.Future[_T]",
    work: Callable[..., _T],
    arguments: tuple[object, ...],
) -> None:
    """Do work for the loop, and tell it the result, unless nobody waits for it any more."""
    try:
        result = work(*arguments)
    except Exception as error:  # noqa: BLE001 - raised where it is waited for
        loop.call_soon_threadsafe(_fail, done, error)
    else:
        loop.call_soon_threadsafe(_finish, done, result)


def _finish(done: "asyncio.Future[_T]", result: _T) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: "asyncio.Future[_T]", error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
