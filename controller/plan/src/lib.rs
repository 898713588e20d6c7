//! The contract between apps and engine: units, wanted entities, owners and causes.
