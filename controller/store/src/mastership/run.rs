//! Runs the mastership machine on a store and tokio's clock.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::machine::{Input, Mastership, Output, Role, Timing};
use super::{CLUSTER, Device, Node};
use crate::{Store, follow};

/// Takes part in mastership until `stop` is sent or dropped, and tells every change of role.
///
/// On `stop` everything is given up at once, so that others need not wait for the lease to end. If
/// the task is dropped instead, the lease ends by itself.
pub async fn run(
    store: Arc<dyn Store>,
    node: impl Into<Node>,
    timing: Timing,
    mut devices: watch::Receiver<BTreeSet<Device>>,
    roles: mpsc::UnboundedSender<(Device, Option<Role>)>,
    mut stop: oneshot::Receiver<()>,
) {
    let began = Instant::now();
    let mut machine = Mastership::new(node, timing, began.elapsed());
    let mut followed = follow(store.clone(), CLUSTER);
    let mut calls: FuturesUnordered<BoxFuture<'static, Option<Input>>> = FuturesUnordered::new();
    let mut wake = Box::pin(tokio::time::sleep_until(began));
    let mut stopping = false;
    let mut input = Input::Devices(devices.borrow_and_update().clone());
    loop {
        for output in machine.handle(input, began.elapsed()) {
            let store = store.clone();
            let sent = began.elapsed();
            match output {
                Output::Grant(ttl) => {
                    calls.push(async move { Some(Input::Granted { sent, result: store.grant(ttl).await }) }.boxed())
                }
                Output::KeepAlive(lease) => calls.push(
                    async move {
                        let result = store.keep_alive(lease).await;
                        Some(Input::Kept { sent, lease, result })
                    }
                    .boxed(),
                ),
                Output::Revoke(lease) => calls.push(
                    async move {
                        if let Err(error) = store.revoke(lease).await {
                            tracing::warn!(%error, "mastership ends with its lease only");
                        }
                        None
                    }
                    .boxed(),
                ),
                Output::Txn { key, txn } => {
                    calls.push(async move { Some(Input::Answered { key, result: store.txn(txn).await }) }.boxed())
                }
                // Whoever no longer listens no longer acts.
                Output::Role { device, role } => _ = roles.send((device, role)),
                Output::WakeAt(at) => wake.as_mut().reset(began + at),
            }
        }
        input = loop {
            if stopping && calls.is_empty() {
                return;
            }
            tokio::select! {
                // What came first goes first, so that nothing starves.
                Some(answer) = calls.next() => if let Some(answer) = answer { break answer },
                _ = &mut stop, if !stopping => {
                    stopping = true;
                    break Input::Resign;
                }
                Some(news) = followed.next(), if !stopping => break Input::Followed(news),
                Ok(()) = devices.changed(), if !stopping => {
                    break Input::Devices(devices.borrow_and_update().clone());
                }
                () = &mut wake, if !stopping => break Input::Wake,
            }
        };
    }
}
