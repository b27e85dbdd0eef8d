"""Who wins: one stream's state from the set of its admitted events, by rule version, whatever their order of arrival.

`state` holds what comes out, `fold` is the way in, `why` puts the decisions into words. Nothing here reads a clock, a
database, a receipt or a sealed value.
"""
