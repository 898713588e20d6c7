//! The fabric as a graph: links, paths, uplinks.
