"""Answers Envoy's ext_authz: a CheckRequest's bytes in, a CheckResponse's bytes out."""

from authz._pb import ext_authz_pb2 as pb
from authz.edge.clock import TimeRemaining
from authz.edge.envoy.reader import read_check
from authz.edge.envoy.writer import check_response
from authz.edge.ids import new_decision_id
from authz.edge.service import CheckService, log_fault


class Authorization:
    """The methods of ``envoy.service.auth.v3.Authorization``."""

    def __init__(self, service: CheckService) -> None:
        """Take the service that decides."""
        self._service = service
        self._wall, self._monotonic = service.clock.wall, service.clock.monotonic
        check_response(service.last_resort(""))  # encoded beforehand, so that it can't fail

    def check(self, data: bytes, time_remaining: TimeRemaining, proxy: str = "") -> bytes:
        """Answer a serialised CheckRequest with a serialised CheckResponse. Never raises.

        ``time_remaining`` gives the seconds that the caller still waits, None for no deadline;
        ``proxy`` is the SPIFFE ID of the caller, "" when its connection has none.
        """
        service = self._service
        decision_id = new_decision_id()
        try:
            begun = self._wall(), self._monotonic()
            snapshot = service.snapshot  # bound once: the same snapshot reads and decides
            try:
                message = pb.CheckRequest.FromString(data)
                check = read_check(snapshot.inputs, message, proxy)
            except Exception as error:  # noqa: BLE001 - the law: whatever it was, it is a deny
                return check_response(service.refuse(error, begun, decision_id))
            return check_response(
                service.answer(snapshot, check, begun, time_remaining, decision_id)
            )
        except Exception as error:  # noqa: BLE001 - an RPC error can be an allow to some proxies
            log_fault(error)
            return check_response(service.last_resort(decision_id))
