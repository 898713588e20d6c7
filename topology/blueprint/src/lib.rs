//! The site file: parse, check, plan, export.
