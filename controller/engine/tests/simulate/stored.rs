//! Between controllers and the store: mastership, what is followed, and intents of clients.

use super::*;

impl World {
    pub(super) fn way_to_store(&mut self) -> Nanos {
        let late = if !self.calm && self.random.chance(5) { 300 * MS } else { 3 * MS };
        self.slow_store + 200_000 + self.random.below(late)
    }

    pub(super) fn ask(&mut self, node: usize, life: u64, sent: Nanos, request: mastership::Output) {
        let reached = self.majority && self.nodes[node].reaches_store;
        let lost = !self.calm && self.random.chance(2);
        let now = std::time::Duration::from_nanos(self.now);
        let away = || Error::Unavailable { reason: "simulated".into() };
        let sent = self.nodes[node].clock(sent);
        let input = match request {
            mastership::Output::Grant(_) => {
                let result = if reached { Ok(self.store.grant(now)) } else { Err(away()) };
                mastership::Input::Granted { sent, result: if lost { Err(away()) } else { result } }
            }
            mastership::Output::KeepAlive(lease) => {
                let result = if reached { self.store.keep_alive(lease, now) } else { Err(away()) };
                mastership::Input::Kept { sent, lease, result: if lost { Err(away()) } else { result } }
            }
            mastership::Output::Revoke(lease) => {
                if reached {
                    self.store.revoke(lease);
                    self.news();
                }
                return;
            }
            mastership::Output::Txn { key, txn } => {
                let mut result = Err(away());
                if reached {
                    result = self.store.txn(&txn);
                    self.news();
                }
                if lost && reached {
                    result = Err(Error::Indeterminate { reason: "simulated".into() });
                }
                mastership::Input::Answered { key, result }
            }
            mastership::Output::Role { .. } | mastership::Output::WakeAt(_) => return,
        };
        let delay = if reached && !lost { self.way_to_store() } else { 300 * MS };
        self.at(delay, Event::Answer { node, life, input: Box::new(input) });
    }

    /// Something is new in the store: watchers hear of it.
    pub(super) fn news(&mut self) {
        for node in 0..self.nodes.len() {
            let life = self.nodes[node].life;
            for cluster in [true, false] {
                let delay = self.way_to_store();
                self.at(delay, Event::Watch { node, life, cluster });
            }
        }
    }

    pub(super) fn watch(&mut self, node: usize, life: u64, cluster: bool) {
        if self.nodes[node].alive && self.nodes[node].life == life && self.nodes[node].paused_until > self.now {
            return self.later(node, Event::Watch { node, life, cluster });
        }
        // Whoever cannot reach the store asks again when it can.
        if !self.hears(node, life) || !self.majority || !self.nodes[node].reaches_store {
            return;
        }
        let wanted = |key: &str| key.starts_with(CLUSTER) == cluster;
        let (now, revision) = (self.now, self.store.revision);
        let stream = usize::from(!cluster);
        let seen = self.nodes[node].seen[stream];
        // Now and then history is gone.
        let compacted = !self.calm && self.random.chance(1);
        let list = seen.is_none() || compacted;
        if list {
            let listing = self.store.listing(wanted);
            if cluster {
                self.nodes[node].followed(Followed::Snapshot(listing), now);
            } else {
                let pipeline = self.pipeline.clone();
                self.nodes[node].site_snapshot(&listing, &pipeline, now);
            }
        } else {
            let batches = self.store.since(seen.unwrap_or(0), wanted);
            if cluster {
                for batch in batches {
                    self.nodes[node].followed(Followed::Batch(batch), now);
                }
            } else if !batches.is_empty() {
                self.nodes[node].site_batches(&batches);
            }
        }
        self.nodes[node].seen[stream] = Some(revision);
    }

    pub(super) fn intent(&mut self, node: usize, client: Client) {
        if !self.majority || !self.nodes[node].reaches_store || !self.nodes[node].alive {
            return;
        }
        let op = match client {
            Client::Put(n) => {
                let r = route(n, self.hop);
                Op::put(r.key().to_string(), r.encode())
            }
            Client::Delete(n) => Op::delete(route(n, self.hop).key().to_string()),
        };
        self.store.txn(&Txn::new().then(op)).unwrap();
        let (Client::Put(n) | Client::Delete(n)) = client;
        let revision = self.store.revision;
        self.written.insert(n, revision);
        self.acked.remove(&n);
        self.news();
        if self.calm || !self.random.chance(5) {
            let delay = self.way_to_store();
            self.at(delay, Event::Ack(client, revision));
        }
    }

    /// Answers may come in another order than the writes were done.
    pub(super) fn acknowledged(&mut self, client: &Client, revision: u64) {
        let (Client::Put(n) | Client::Delete(n)) = client;
        if self.written.get(n) == Some(&revision) {
            self.acked.insert(*n, matches!(client, Client::Put(_)));
        }
    }
}
