//! Writes of intents, in groups: what waits together is checked one after the other against the newest view, and what
//! stands the check becomes one transaction.
//!
//! Every transaction rewrites the key [`GUARD`] under a compare of its last revision. So no intent changed between the
//! check and the commit, whichever controller it was asked of; a group that lost a race is checked again. A request is
//! refused only on a view that has everything committed before it was asked.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use pergola_blueprint::IntentChange;
use pergola_engine::Engine;
use pergola_model::{AnyResource, ChangeKind, ChangedKey, Key, View};
use pergola_store::{Compare, Error, Op, OpResult, Store, Txn};
use tokio::sync::{mpsc, oneshot};

use crate::problem::Problem;

/// Rewritten by every change of intents.
pub const GUARD: &str = "~intents";
/// Requests in one transaction, at most.
const GROUP: usize = 256;
/// How long the view may take to show what is committed.
const VIEW_LIMIT: Duration = Duration::from_secs(10);

/// What a write demands of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    Nothing,
    Missing,
    There,
    /// The revision of the last change.
    At(u64),
}

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Ask {
    Put(AnyResource, Demand),
    Delete(Key, Demand),
    /// The intents shall be these and no others.
    Site(Vec<AnyResource>),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was so already, since this revision.
    Unchanged {
        revision: u64,
    },
    Written {
        revision: u64,
        created: bool,
    },
    Site {
        revision: u64,
        intents: Vec<String>,
    },
}

struct Waiting {
    ask: Ask,
    answer: oneshot::Sender<Result<Done, Problem>>,
}

/// The way to the task that commits.
#[derive(Clone)]
pub struct Commits(mpsc::UnboundedSender<Waiting>);

impl Commits {
    /// Starts the task; must be called within a runtime. It ends when the last of these is dropped.
    pub fn spawn(engine: Arc<Engine>, store: Arc<dyn Store>) -> Commits {
        let (to, from) = mpsc::unbounded_channel();
        tokio::spawn(Committer { engine, store, guard: None }.run(from));
        Commits(to)
    }

    /// Returns when it is committed.
    pub async fn ask(&self, ask: Ask) -> Result<Done, Problem> {
        let ended = || Problem::new(503, "the controller is ending");
        let (answer, answered) = oneshot::channel();
        self.0.send(Waiting { ask, answer }).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

struct Committer {
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    /// The guard's last revision as far as we know.
    guard: Option<u64>,
}

/// What one request comes to.
enum Verdict {
    Write {
        ops: Vec<Op>,
        done: Made,
    },
    Done(Done),
    Refused(Problem),
    /// Writes what another of the group writes too.
    Later,
}

/// An answer without the revision of the commit.
enum Made {
    One { created: bool },
    Site { intents: Vec<String> },
}

impl Committer {
    async fn run(mut self, mut from: mpsc::UnboundedReceiver<Waiting>) {
        let mut waiting: Vec<Waiting> = Vec::new();
        loop {
            if waiting.is_empty() {
                match from.recv().await {
                    Some(first) => waiting.push(first),
                    None => return,
                }
            }
            while waiting.len() < GROUP
                && let Ok(next) = from.try_recv()
            {
                waiting.push(next);
            }
            waiting = self.group(waiting).await;
        }
    }

    /// Commits as much of a group as goes together; the rest is given back.
    async fn group(&mut self, mut waiting: Vec<Waiting>) -> Vec<Waiting> {
        loop {
            let asked = self.guard.is_none();
            let (guard, mut view) = match self.current().await {
                Ok(current) => current,
                Err(problem) => return refuse(waiting, &problem),
            };
            let limits = self.store.limits();
            let mut txn =
                Txn::new().when(Compare::at(GUARD, guard)).then(Op::put(GUARD, self.engine.node().to_string()));
            let mut bytes = txn.size_bytes();
            let mut touched: HashSet<Key> = HashSet::new();
            let mut verdicts = Vec::with_capacity(waiting.len());
            for one in &waiting {
                let mut verdict = match self.judge(&one.ask, &mut view, &mut touched).await {
                    Ok(verdict) => verdict,
                    Err(error) => Verdict::Refused(error.into()),
                };
                if let Verdict::Write { ops, .. } = &verdict {
                    let size: usize = ops.iter().map(Op::size_bytes).sum();
                    let alone = txn.ops.len() == 1;
                    if !alone && (txn.ops.len() + ops.len() > limits.max_ops || bytes + size > limits.max_request_bytes)
                    {
                        verdict = Verdict::Later;
                    } else {
                        bytes += size;
                        txn.ops.extend(ops.iter().cloned());
                    }
                }
                let full = matches!(verdict, Verdict::Later);
                verdicts.push(verdict);
                if full {
                    break;
                }
            }
            if !asked && verdicts.iter().any(|v| matches!(v, Verdict::Refused(_))) {
                // Perhaps another controller has written what would make it right.
                self.guard = None;
                continue;
            }
            let writes = txn.ops.len() > 1;
            let mut outcome = Ok(0);
            if writes {
                outcome = match self.store.txn(txn.or_else(Op::get(GUARD))).await {
                    Ok(outcome) if outcome.succeeded => {
                        self.guard = Some(outcome.revision);
                        Ok(outcome.revision)
                    }
                    Ok(outcome) => {
                        self.guard = match outcome.results.first() {
                            Some(OpResult::Got(Some(entry))) => Some(entry.mod_revision),
                            _ => None,
                        };
                        continue;
                    }
                    Err(error) => {
                        self.guard = None;
                        Err(error)
                    }
                };
            }
            let rest = waiting.split_off(verdicts.len());
            let mut later = Vec::new();
            for (one, verdict) in waiting.into_iter().zip(verdicts) {
                let answer = match (verdict, &outcome) {
                    (Verdict::Later, _) => {
                        later.push(one);
                        continue;
                    }
                    (Verdict::Refused(problem), _) => Err(problem),
                    (Verdict::Done(done), _) => Ok(done),
                    (Verdict::Write { .. }, Err(error)) => Err(error.clone().into()),
                    (Verdict::Write { done: Made::One { created }, .. }, Ok(revision)) => {
                        Ok(Done::Written { revision: *revision, created })
                    }
                    (Verdict::Write { done: Made::Site { intents }, .. }, Ok(revision)) => {
                        Ok(Done::Site { revision: *revision, intents })
                    }
                };
                // Whoever has gone needs no answer.
                let _ = one.answer.send(answer);
            }
            later.extend(rest);
            return later;
        }
    }

    /// The guard's revision, and a view that has everything up to it.
    async fn current(&mut self) -> Result<(u64, View), Problem> {
        let guard = match self.guard {
            Some(guard) => guard,
            None => self.store.get(GUARD).await?.map_or(0, |entry| entry.mod_revision),
        };
        self.guard = Some(guard);
        let seen = tokio::time::timeout(VIEW_LIMIT, self.engine.wait_planned(guard)).await;
        if seen.is_err() {
            let text = format!("the store is at revision {guard}, this controller at {}", self.engine.revision());
            return Err(Problem::new(503, "the controller has not caught up with the store").detail(text));
        }
        Ok((guard, self.engine.view()))
    }

    /// Checks one request on the view, which is then as if it was done.
    async fn judge(&self, ask: &Ask, view: &mut View, touched: &mut HashSet<Key>) -> Result<Verdict, Error> {
        match ask {
            Ask::Put(resource, demand) => {
                let key = resource.key();
                if touched.contains(&key) {
                    return Ok(Verdict::Later);
                }
                let there = view.get(&key);
                let unchanged = there.as_ref() == Some(resource);
                let revision = match unchanged || *demand != Demand::Nothing {
                    true => self.store.get(&key.to_string()).await?.map_or(0, |e| e.mod_revision),
                    false => 0,
                };
                match demand {
                    Demand::There if revision == 0 => return Ok(Verdict::Refused(stale(&key, revision))),
                    Demand::Missing if revision > 0 => return Ok(Verdict::Refused(stale(&key, revision))),
                    Demand::At(wanted) if *wanted != revision => return Ok(Verdict::Refused(stale(&key, revision))),
                    _ => {}
                }
                if unchanged && revision > 0 {
                    return Ok(Verdict::Done(Done::Unchanged { revision }));
                }
                if let Err(problem) = check(view, &key, Some(resource)) {
                    return Ok(Verdict::Refused(problem));
                }
                touched.insert(key.clone());
                let ops = vec![Op::put(key.to_string(), resource.encode())];
                Ok(Verdict::Write { ops, done: Made::One { created: there.is_none() } })
            }
            Ask::Delete(key, demand) => {
                if touched.contains(key) {
                    return Ok(Verdict::Later);
                }
                if view.get(key).is_none() {
                    return Ok(Verdict::Refused(missing(key)));
                }
                if let Demand::At(wanted) = demand {
                    let revision = self.store.get(&key.to_string()).await?.map_or(0, |e| e.mod_revision);
                    if *wanted != revision {
                        return Ok(Verdict::Refused(stale(key, revision)));
                    }
                }
                if let Err(problem) = check(view, key, None) {
                    return Ok(Verdict::Refused(problem));
                }
                touched.insert(key.clone());
                Ok(Verdict::Write { ops: vec![Op::delete(key.to_string())], done: Made::One { created: false } })
            }
            Ask::Site(wanted) => {
                let changes = pergola_blueprint::diff(view.intents(), wanted.clone());
                if changes.iter().any(|c| touched.contains(&c.key())) {
                    return Ok(Verdict::Later);
                }
                let mut ops = Vec::with_capacity(changes.len());
                for change in &changes {
                    let key = change.key();
                    ops.push(match change.wanted() {
                        Some(resource) => {
                            view.put(resource.clone());
                            Op::put(key.to_string(), resource.encode())
                        }
                        None => {
                            view.remove(&key);
                            Op::delete(key.to_string())
                        }
                    });
                    touched.insert(key);
                }
                let intents: Vec<String> = changes.iter().map(IntentChange::to_string).collect();
                if ops.is_empty() {
                    let revision = self.guard.unwrap_or(0);
                    return Ok(Verdict::Done(Done::Site { revision, intents }));
                }
                Ok(Verdict::Write { ops, done: Made::Site { intents } })
            }
        }
    }
}

/// Checks what a change touches: the resource itself and those that refer to it. The view takes it only when it is right.
fn check(view: &mut View, key: &Key, resource: Option<&AnyResource>) -> Result<(), Problem> {
    let mut next = view.clone();
    let change: Option<ChangeKind> = match resource {
        Some(resource) => next.put(resource.clone()),
        None => next.remove(key),
    };
    let Some(change) = change else { return Ok(()) };
    let violations = next.check_changed(&[ChangedKey { key: key.clone(), change }]);
    if violations.is_empty() {
        *view = next;
        return Ok(());
    }
    Err(Problem::of_violations(&violations))
}

fn refuse(waiting: Vec<Waiting>, problem: &Problem) -> Vec<Waiting> {
    for one in waiting {
        let _ = one.answer.send(Err(problem.clone()));
    }
    Vec::new()
}

pub(crate) fn missing(key: &Key) -> Problem {
    Problem::new(404, "no such resource").detail(format!("{key} does not exist"))
}

fn stale(key: &Key, revision: u64) -> Problem {
    Problem::new(412, "it has changed meanwhile").detail(match revision {
        0 => format!("{key} does not exist"),
        revision => format!("{key} is at revision {revision}"),
    })
}
