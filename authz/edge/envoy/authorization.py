"""Answers Envoy's ext_authz: a CheckRequest's bytes in, a CheckResponse's bytes out."""

from typing import Final

import msgspec

from authz.edge.answered import DecodedCheck
from authz.edge.beside_body import MAX_BESIDE_BODY_BYTES, BodyPlace, require_few_bytes_beside
from authz.edge.clock import Moment, TimeRemaining
from authz.edge.envoy.known_messages import CheckReader
from authz.edge.envoy.presenting import note_check
from authz.edge.envoy.reader import with_attempt
from authz.edge.envoy.writer import check_response
from authz.edge.faults import log_fault
from authz.edge.ids import new_decision_id
from authz.edge.service import CheckService
from authz.edge.snapshot import Snapshot

# CheckRequest.attributes.request.http, and there body or raw_body.
_BODY: Final = BodyPlace((1, 4, 2), frozenset({11, 12}))


class Authorization:
    """The method of ``envoy.service.auth.v3.Authorization``, ``Check``."""

    def __init__(self, service: CheckService) -> None:
        """Keep the service that decides."""
        self._service = service
        self._wall, self._monotonic = service.clock.wall, service.clock.monotonic
        self._reader = CheckReader(service.snapshot.inputs)
        check_response(service.last_resort(""))  # encoded beforehand, so that it can't fail

    def begin(self, data: bytes, proxy: str = "", /) -> "bytes | UndecidedCheck":
        """Return the serialised CheckResponse to a serialised CheckRequest, if it is cached.

        Otherwise, and for bytes that can't be read, does as ``Method.begin``. Never raises, never
        waits.
        """
        service = self._service
        decision_id = new_decision_id()
        try:
            begun = self._wall(), self._monotonic()
            snapshot = service.snapshot  # bound once: the same snapshot reads and decides
            try:
                reader = self._reader
                # The results of other readers are of no use.
                if reader.inputs is not snapshot.inputs:
                    reader = self._reader = CheckReader(snapshot.inputs)
                if len(data) > MAX_BESIDE_BODY_BYTES:  # hot path: few are
                    require_few_bytes_beside(data, _BODY)
                check = reader.read(data, proxy)
            except Exception as error:  # noqa: BLE001 - the law: every error is a deny
                return check_response(service.refuse(error, begun, decision_id))
            answered = service.remembered(snapshot, check, begun, decision_id)
            if answered is None:
                if snapshot.has_single_uses:
                    check = with_attempt(check, data)
                return UndecidedCheck(service, snapshot, data, check, begun, decision_id)
            return check_response(answered)
        except Exception as error:  # noqa: BLE001 - an RPC error can be an allow to some proxies
            return _last_resort(service, error, decision_id)


class UndecidedCheck(msgspec.Struct, frozen=True, gc=False):
    """A CheckRequest that was read, its bytes, and the snapshot that read it."""

    service: CheckService
    snapshot: Snapshot
    data: bytes
    check: DecodedCheck
    begun: Moment
    decision_id: str

    def decide(self, time_remaining: TimeRemaining, *, may_wait: bool) -> bytes | None:
        """Return the serialised CheckResponse, None if it needs a wait, as ``Undecided`` does."""
        try:
            answered = self.service.decide(
                self.snapshot,
                self.check,
                self.begun,
                time_remaining,
                self.decision_id,
                may_wait=may_wait,
            )
            if answered is None:
                return None
            response = check_response(answered)
        except Exception as error:  # noqa: BLE001 - an RPC error can be an allow to some proxies
            return _last_resort(self.service, error, self.decision_id)
        note_check(self.service, self.snapshot, self.data, answered, self.begun)
        return response


def _last_resort(service: CheckService, error: Exception, decision_id: str) -> bytes:
    log_fault(error)
    return check_response(service.last_resort(decision_id))
