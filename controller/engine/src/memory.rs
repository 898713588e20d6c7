//! Memory that reading and planning a whole site needed, and running does not: given back to the system.
#![allow(unsafe_code)] // One call of the C library that touches no memory of ours.

/// Gives free pages back. The C library keeps them otherwise: they lie below something that is in use.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) may be called at any time and by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
