"""Wraps a call as grpcio hands it to its pool: all that we use beyond grpcio's public API.

grpcio's server gives its executor a function that receives a call's message, runs the handler and
sends the result, and that waits for the message in its thread. Here these are three steps, of
which the first is an event. ``require_known_grpcio`` refuses a grpcio that works otherwise, before
anything listens.
"""

import inspect
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Final

import grpc
from grpc._common import STATUS_CODE_TO_CYGRPC_STATUS_CODE as STATUS_CODES
from grpc._cython import cygrpc  # type: ignore[attr-defined] # compiled
from grpc._server import (
    _RECEIVE_MESSAGE_TOKEN,
    _abort,
    _handle_unary_unary,
    _is_rpc_state_active,
    _receive_message,
    _RPCState,
    _unary_response_in_pool,
)

_NO_FLAGS: Final = 0
AuthContext = dict[bytes, tuple[bytes, ...]]


class GrpcioError(RuntimeError):
    """The installed grpcio does not work as this module needs; the message says which would."""


class UnaryRpc:
    """A unary call.

    grpcio has one thread for the events of all calls: it makes the call, and calls the listeners.
    An exception would end that thread, and with it the server.
    """

    __slots__ = ("_args", "_call", "_function", "_state")

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Take the function and the arguments that grpcio would have run in a thread."""
        self._function = function
        self._args = args
        self._call = args[1].call
        self._state = args[2]

    def on_finish(self, listener: Callable[[], object]) -> None:
        """Call the listener when the call has ended: taken, cancelled or lost."""
        self._state.callbacks.append(listener)

    @property
    def behavior(self) -> object:
        """The handler of the call, as it was given to grpcio."""
        behavior: object = self._args[3]
        return behavior

    @property
    def peer(self) -> str:
        """The peer's address, such as ``unix:`` or ``ipv4:127.0.0.1:4711``."""
        return str(self._call.peer(), "ascii", "replace")

    def auth_context(self) -> AuthContext:
        """Return what TLS knows of the peer, {} without TLS."""
        return cygrpc.auth_context(self._call) or {}

    @property
    def message(self) -> bytes | None:
        """The message, None while it is not here."""
        message: bytes | None = self._state.request  # nothing deserialises it
        return message

    @property
    def is_active(self) -> bool:
        """Tell whether the client is still there, as far as known, and has had no answer."""
        return bool(_is_rpc_state_active(self._state))

    def receive(self, listener: Callable[[], object]) -> None:
        """Receive the message, and call the listener when it is here, or will never be."""
        received = _receive_message(self._state, self._call, None)

        def on_event(event: object) -> object:
            finished = received(event)
            listener()
            return finished

        with self._state.condition:
            operation = cygrpc.ReceiveMessageOperation(_NO_FLAGS)
            self._call.start_server_batch((operation,), on_event)
            self._state.due.add(_RECEIVE_MESSAGE_TOKEN)

    def answer(self, argument: object) -> None:
        """Run the handler with this argument in the calling thread, and send what it returns.

        Does not wait for the sending. Runs no handler if the client is gone.
        """
        in_pool, event, state, behavior, _, *serializers = self._args
        given = argument if self.is_active else None
        self._function(in_pool, event, state, behavior, lambda: given, *serializers)

    def refuse(self, code: grpc.StatusCode, details: str) -> None:
        """Send a status instead of an answer, without waiting for the sending."""
        with self._state.condition:
            _abort(self._state, self._call, STATUS_CODES[code], details.encode())

    def cancel(self) -> None:
        """End the call, whatever its client does."""
        self._call.cancel()


def require_known_grpcio() -> None:
    """Raise GrpcioError unless grpcio hands over calls as ``UnaryRpc`` takes them."""
    try:
        is_known = _hands_over_as_expected() and _has_what_is_used()
    except Exception:  # noqa: BLE001 - another grpcio may raise anything
        is_known = False
    if not is_known:
        raise GrpcioError(
            f"grpcio {grpc.__version__} hands over calls in an unknown way: "
            "install the version in requirements/runtime.txt"
        )


class _Recorder(Executor):
    def submit(self, *args: object) -> None:  # type: ignore[override]
        self.submitted = args


def _hands_over_as_expected() -> bool:
    recorder, state, event = _Recorder(), _RPCState(), object()
    handler = grpc.unary_unary_rpc_method_handler(lambda data, _: data)
    _handle_unary_unary(event, state, handler, recorder)
    *before, thunk, request_deserializer, response_serializer = recorder.submitted
    expected = [state.context.run, _unary_response_in_pool, event, state, handler.unary_unary]
    return (
        before == expected
        and callable(thunk)
        and request_deserializer is response_serializer is None
    )


def _has_what_is_used() -> bool:
    state = _RPCState()
    signatures = {
        _receive_message: ["state", "call", "request_deserializer"],
        _abort: ["state", "call", "code", "details"],
        _is_rpc_state_active: ["state"],
    }
    return (
        all(list(inspect.signature(of).parameters) == names for of, names in signatures.items())
        and isinstance(_RECEIVE_MESSAGE_TOKEN, str)
        and (state.callbacks, state.due, state.request) == ([], set(), None)
        and all(hasattr(cygrpc.Call, name) for name in ("cancel", "peer", "start_server_batch"))
        and all(hasattr(cygrpc, name) for name in ("ReceiveMessageOperation", "auth_context"))
    )
