//! The shared suite on the embedded store: in a file, and in memory.
#![allow(clippy::unwrap_used)]

mod suite;

use std::sync::Arc;

use pergola_store::{EmbeddedStore, Store};

struct File {
    store: Arc<dyn Store>,
    _dir: tempfile::TempDir,
}

impl suite::Fixture for File {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/store.redb");
        let store = EmbeddedStore::open(path, Default::default()).unwrap();
        Self { store: Arc::new(store), _dir: dir }
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }
}

struct Memory(Arc<dyn Store>);

impl suite::Fixture for Memory {
    async fn start() -> Self {
        Self(Arc::new(EmbeddedStore::in_memory(Default::default()).unwrap()))
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.clone()
    }
}

mod file {
    use super::{File, suite};
    suite!(File);
}

mod memory {
    use super::{Memory, suite};
    suite!(Memory);
}
