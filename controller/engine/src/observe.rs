//! Writing observations to the store: folded into few commits, those that move traffic at once.

use std::sync::Arc;

use pergola_discovery::view::Write;
use pergola_model::{AnyResource, Kind};
use pergola_store::{BatchOptions, BatchWriter, Store};
use tokio::runtime::Handle;

/// Takes observations from any thread.
#[derive(Clone)]
pub struct Observer {
    writer: Arc<BatchWriter>,
    runtime: Handle,
}

impl Observer {
    /// Must be called within a runtime.
    pub fn new(store: Arc<dyn Store>) -> Observer {
        let writer = Arc::new(BatchWriter::spawn(store, BatchOptions::default()));
        Observer { writer, runtime: Handle::current() }
    }

    /// Writes an observation soon; at once when packets may be going nowhere because of what it says.
    pub fn write(&self, write: Write) {
        let (key, result) = match &write {
            Write::Put(resource) => {
                let key = resource.key();
                let result = self.writer.put(key.to_string(), resource.encode());
                (key, result)
            }
            Write::Delete(key) => (key.clone(), self.writer.delete(key.to_string())),
        };
        if let Err(error) = result {
            tracing::error!(%key, %error, "an observation was dropped");
            return;
        }
        if matches!(key.kind, Kind::LinkState | Kind::PortState) {
            let writer = self.writer.clone();
            self.runtime.spawn(async move {
                if let Err(error) = writer.flush().await {
                    tracing::warn!(%error, "observations wait");
                }
            });
        }
    }

    pub fn put(&self, resource: impl Into<AnyResource>) {
        self.write(Write::Put(resource.into()));
    }
}
