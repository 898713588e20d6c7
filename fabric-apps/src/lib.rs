//! Fabric capabilities, one module each, as pure functions of the View.
