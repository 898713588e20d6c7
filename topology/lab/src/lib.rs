//! A whole office emulated on this machine in network namespaces.
