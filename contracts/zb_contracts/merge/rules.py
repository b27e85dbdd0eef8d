"""The names of every rule, conflict, flag and reason of version 1. Codes are stable: they stand in stored states.

The words for people are in `wording`; the rules themselves in the module of their noun.
"""

from typing import Final

UNOPPOSED: Final = "unopposed"
"""The only write that no other write knew."""
LATEST_CLOCK: Final = "latest_clock"
"""Several writes that did not know each other: greatest trusted time (else wall clock), author, seq."""
FIELD_OVER_OFFICE: Final = "field_over_office"
"""A shared field: the writes did not know each other, the field's stands."""
POLICY_STANDS: Final = "policy_stands"
"""A field proposal that the plan's policy let write the office field directly."""
EDITED_AFTER_VOID: Final = "version_unknown_to_void"
"""A void did not know a version of its line: the line stands."""
ABANDONED: Final = "abandoned_by_office"
"""The office ended a visit and knew all that the field had recorded of it."""

RULE_CODES: Final = frozenset(
    {
        UNOPPOSED,
        LATEST_CLOCK,
        FIELD_OVER_OFFICE,
        POLICY_STANDS,
        EDITED_AFTER_VOID,
        ABANDONED,
        "cancelled_too_late",
        "worked_on_cancelled",
    }
)

TWO_HOLDERS: Final = "two_holders"
TWO_OPEN_VISITS: Final = "two_open_visits"
CONCURRENT_VISITS: Final = "concurrent_visits"
ABANDONED_BUT_CONTINUED: Final = "abandoned_visit_continued"
CANCELLED_WHILE_PLANNED: Final = "cancelled_while_planned"
CANCELLED_TOO_LATE: Final = "cancelled_too_late"
WORKED_ON_CANCELLED: Final = "worked_on_cancelled"
TRAVELLED_ON_CANCELLED: Final = "travelled_on_cancelled"
TOO_MANY_VISITS: Final = "too_many_visits"

CONFLICT_CODES: Final = frozenset(
    {
        TWO_HOLDERS,
        TWO_OPEN_VISITS,
        CONCURRENT_VISITS,
        ABANDONED_BUT_CONTINUED,
        CANCELLED_WHILE_PLANNED,
        CANCELLED_TOO_LATE,
        WORKED_ON_CANCELLED,
        TRAVELLED_ON_CANCELLED,
        TOO_MANY_VISITS,
    }
)

NOT_ASSIGNED: Final = "not_assigned"
"""The visit's technician was not the assignee as far as the visit's opening knew."""
CONTINUED_AFTER_CANCEL: Final = "continued_after_cancel"
CONTINUED_AFTER_END: Final = "continued_after_end"
OPENING_MISSING: Final = "opening_missing"
"""The event that gave the visit its id is refused or not readable."""
STRANGE_VISIT: Final = "strange_visit"
"""Events of one technician under the visit id of another: kept as a visit of their own."""

FLAG_CODES: Final = frozenset(
    {
        NOT_ASSIGNED,
        CONTINUED_AFTER_CANCEL,
        CONTINUED_AFTER_END,
        OPENING_MISSING,
        STRANGE_VISIT,
        WORKED_ON_CANCELLED,
        TRAVELLED_ON_CANCELLED,
    }
)

UNKNOWN_TYPE: Final = "unknown_type"
UNREADABLE_BODY: Final = "unreadable_body"
NOT_THIS_AUTHOR: Final = "not_this_author"
"""The type may not be written by an author of this kind."""
NOT_THIS_STREAM: Final = "not_this_stream"
NO_VISIT: Final = "no_visit"
"""A visit fact that names no visit."""
NAMES_NOTHING: Final = "names_nothing_here"
"""A void, answer or abandonment of something that is not in this stream."""
ANSWERED_BY_ASKER: Final = "answered_by_the_asker"

VISITS_COMPARED_MAX: Final = 200
"""Visits of one intervention that are compared in pairs; more are a conflict of their own."""
