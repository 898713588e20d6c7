//! Typed keys and actions of the fabric pipeline, one file a P4 table.
