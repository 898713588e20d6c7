//! Sessions to switches over P4Runtime and gNMI.
