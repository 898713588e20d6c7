//! The nouns of the domain: ids, units, resources, validation. No I/O.
