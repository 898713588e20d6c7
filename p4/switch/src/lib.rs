//! A software switch that runs BMv2 JSON and serves P4Runtime and gNMI.
