//! View to apps to plan to reconciled devices.
