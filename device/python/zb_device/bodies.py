"""Typed bodies from what a caller said: by model and values, or by the name of a type and plain JSON.

What does not fit is RecordInvalid with the first fault named, before anything is signed. It records nothing.
"""

from typing import Any, TypeVar

from pydantic import ValidationError

from zb_contracts import canonical
from zb_contracts.events import Body, Opaque, read_body
from zb_device.faults import RecordInvalid

B = TypeVar("B", bound=Body)


def built(model: type[B], /, **values: Any) -> B:
    """The body of these values; None says nothing."""
    try:
        return model.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as fault:
        raise RecordInvalid(first_error(fault)) from fault


def typed_body(type_name: str, body: dict[str, Any]) -> Body:
    """The body as its event type has it, in the type's newest version."""
    try:
        found = read_body(type_name, canonical.encode(body))
    except ValueError as fault:
        raise RecordInvalid(f"{type_name}: {fault}") from fault
    if isinstance(found, Opaque):
        raise RecordInvalid(f"{type_name}: {found.reason}")
    return found


def first_error(fault: ValidationError) -> str:
    """Where the first fault is and what it is."""
    error = fault.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"
