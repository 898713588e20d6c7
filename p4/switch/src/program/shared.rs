//! Programs in use, by what they were loaded from: switches of one process that run the same program share it and its machine code.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;

use super::Program;

/// Two keyed hashes.
type Identity = (u64, u64);

static KEYS: LazyLock<(RandomState, RandomState)> = LazyLock::new(Default::default);
static PROGRAMS: Mutex<Option<HashMap<Identity, Weak<Program>>>> = Mutex::new(None);

/// The program of this origin that is in use already, or what `load` makes of it.
pub(super) fn share<E>(origin: impl Hash, load: impl FnOnce() -> Result<Program, E>) -> Result<Arc<Program>, E> {
    let identity = (KEYS.0.hash_one(&origin), KEYS.1.hash_one(&origin));
    let known = PROGRAMS.lock().as_ref().and_then(|programs| programs.get(&identity)?.upgrade());
    if let Some(program) = known {
        return Ok(program);
    }
    let program = Arc::new(load()?);
    let mut programs = PROGRAMS.lock();
    let programs = programs.get_or_insert_default();
    programs.retain(|_, program| program.strong_count() > 0);
    if let Some(program) = programs.get(&identity).and_then(Weak::upgrade) {
        // Another thread loaded it at the same time.
        return Ok(program);
    }
    programs.insert(identity, Arc::downgrade(&program));
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_json_is_one_program_as_long_as_it_is_used() {
        let json = include_bytes!("../../tests/programs/router.json");
        let (a, b) = (Program::load(json).unwrap(), Program::load(json).unwrap());
        assert!(Arc::ptr_eq(&a, &b));
        let mut other = json.to_vec();
        other.push(b'\n');
        assert!(!Arc::ptr_eq(&a, &Program::load(&other).unwrap()));
        let gone = Arc::downgrade(&a);
        drop((a, b));
        assert!(gone.upgrade().is_none());
    }
}
