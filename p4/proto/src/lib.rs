//! P4Runtime, P4Info, google.rpc.Status and gNMI messages and services.
