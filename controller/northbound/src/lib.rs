//! REST, OpenAPI, server-sent events and metrics.
