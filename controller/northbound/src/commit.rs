//! Writes of intents, in groups: what waits together is checked one after the other against the newest view, and what
//! stands the check becomes one transaction.
//!
//! No intent that a check looked at changes between the check and the commit, whichever controller it was asked of: every
//! transaction rewrites [`GUARD`], and one that changes what checks of other intents look at rewrites [`BASE`] too.
//!
//! | a group that changes | commits if unchanged |
//! |---|---|
//! | only kinds that stand apart ([`Kind::stands_apart`]) | `BASE`, and whether its own keys are there |
//! | anything else | `GUARD`, so every intent |
//!
//! So controllers that are given routes do not stand in one another's way. A group that lost a race is checked again. A
//! request is refused only on a view that has everything committed before it was asked.
//!
//! [`Kind::stands_apart`]: pergola_model::Kind::stands_apart

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use pergola_blueprint::IntentChange;
use pergola_engine::Engine;
use pergola_model::{AnyResource, ChangeKind, ChangedKey, Key, View};
use pergola_store::{Compare, Entry, Error, Limits, Op, OpResult, Store, Txn, TxnOutcome};
use tokio::sync::{mpsc, oneshot};

use crate::problem::Problem;

/// Rewritten by every change of intents.
pub const GUARD: &str = "~intents";
/// Rewritten by every change of intents that checks of other intents look at.
pub const BASE: &str = "~intents/base";
/// Requests in one transaction, at most.
const GROUP: usize = 256;
/// Races that a group of kinds that stand apart may lose before it is guarded against every change.
const PATIENCE: usize = 8;
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
        tokio::spawn(Committer { engine, store, guards: None }.run(from));
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
    /// The guards' last revisions as far as we know.
    guards: Option<Guards>,
}

/// Revisions of the last change of [`GUARD`] and [`BASE`].
#[derive(Clone, Copy, PartialEq, Eq)]
struct Guards {
    all: u64,
    base: u64,
}

impl Guards {
    /// From the answers to [`Guards::gets`].
    fn found(outcome: &TxnOutcome) -> Guards {
        let at = |i: usize| match outcome.results.get(i) {
            Some(OpResult::Got(Some(entry))) => entry.mod_revision,
            _ => 0,
        };
        Guards { all: at(0), base: at(1) }
    }

    fn newest(self) -> u64 {
        self.all.max(self.base)
    }

    fn gets() -> Vec<Op> {
        vec![Op::get(GUARD), Op::get(BASE)]
    }
}

/// What becomes one transaction.
struct Group {
    limits: Limits,
    /// Every change so far is of a kind that stands apart.
    apart: bool,
    ops: Vec<Op>,
    /// What the view says of the keys that stand apart.
    there: Vec<Compare>,
    bytes: usize,
}

impl Group {
    /// Guards and their compares.
    const OWN_OPS: usize = 2;
    const OWN_BYTES: usize = 512;

    fn new(limits: Limits) -> Group {
        Group { limits, apart: true, ops: Vec::new(), there: Vec::new(), bytes: Self::OWN_BYTES }
    }

    /// Takes the changes of a request, unless there are too many with it; of one alone the store says.
    fn take(&mut self, ops: &[Op], there: Option<&Compare>) -> bool {
        let bytes: usize = ops.iter().chain(there.map(|_| &ops[0])).map(Op::size_bytes).sum();
        let fits = Self::OWN_OPS + self.ops.len() + ops.len() <= self.limits.max_ops
            && self.there.len() + 2 <= self.limits.max_compares
            && self.bytes + bytes <= self.limits.max_request_bytes;
        if !fits && !self.ops.is_empty() {
            return false;
        }
        self.bytes += bytes;
        self.ops.extend_from_slice(ops);
        self.apart &= there.is_some();
        self.there.extend(there.cloned());
        true
    }

    fn txn(self, guards: Guards, node: &str) -> Txn {
        let mut txn = Txn { ops: vec![Op::put(GUARD, node.to_owned())], ..Txn::default() };
        if self.apart {
            txn.compares.push(Compare::at(BASE, guards.base));
            txn.compares.extend(self.there);
        } else {
            txn.compares.push(Compare::at(GUARD, guards.all));
            txn.ops.push(Op::put(BASE, node.to_owned()));
        }
        txn.ops.extend(self.ops);
        txn.otherwise = Guards::gets();
        txn
    }
}

/// What one request comes to.
enum Verdict {
    Write {
        ops: Vec<Op>,
        /// Of a kind that stands apart: what has to be so of its key.
        there: Option<Compare>,
        done: Made,
    },
    Done(Done),
    Refused(Problem),
    /// Writes what another of the group writes too.
    Later,
    /// The view is behind the store.
    Behind,
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
            // What comes while the last commit is planned goes into this one, which needs that plan anyway.
            if let Some(guards) = self.guards {
                let _ = tokio::time::timeout(VIEW_LIMIT, self.engine.wait_planned(guards.newest())).await;
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
        // Set when keys are not as the view says although no intent has changed, or again and again: the store holds what is
        // no resource.
        let (mut whole, mut lost_races) = (false, 0);
        loop {
            let asked = self.guards.is_none();
            let (guards, mut view) = match self.current().await {
                Ok(current) => current,
                Err(problem) => return refuse(waiting, &problem),
            };
            let mut group = Group::new(self.store.limits());
            group.apart = !whole;
            let mut touched: HashSet<Key> = HashSet::new();
            let mut verdicts = Vec::with_capacity(waiting.len());
            for one in &waiting {
                let mut verdict = match self.judge(&one.ask, asked, &mut view, &mut touched).await {
                    Ok(verdict) => verdict,
                    Err(error) => Verdict::Refused(error.into()),
                };
                if let Verdict::Write { ops, there, .. } = &verdict
                    && !group.take(ops, there.as_ref())
                {
                    verdict = Verdict::Later;
                }
                let last = matches!(verdict, Verdict::Later | Verdict::Behind);
                verdicts.push(verdict);
                if last {
                    break;
                }
            }
            if !asked && verdicts.iter().any(|v| matches!(v, Verdict::Refused(_) | Verdict::Behind)) {
                // Perhaps another controller has written what would make it right.
                self.guards = None;
                continue;
            }
            let mut outcome = Ok(0);
            if !group.ops.is_empty() {
                let apart = group.apart;
                outcome = match self.store.txn(group.txn(guards, self.engine.node())).await {
                    Ok(TxnOutcome { succeeded: true, revision, .. }) => {
                        self.guards = Some(Guards { all: revision, base: if apart { guards.base } else { revision } });
                        Ok(revision)
                    }
                    Ok(lost) => {
                        let found = Guards::found(&lost);
                        lost_races += 1;
                        whole |= found == guards || lost_races == PATIENCE;
                        self.guards = Some(found);
                        continue;
                    }
                    Err(error) => {
                        self.guards = None;
                        Err(error)
                    }
                };
            }
            let rest = waiting.split_off(verdicts.len());
            let mut later = Vec::new();
            for (one, verdict) in waiting.into_iter().zip(verdicts) {
                let answer = match (verdict, &outcome) {
                    (Verdict::Later | Verdict::Behind, _) => {
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

    /// The guards' revisions, and a view that has everything up to them.
    async fn current(&mut self) -> Result<(Guards, View), Problem> {
        let guards = match self.guards {
            Some(guards) => guards,
            None => Guards::found(&self.store.txn(Txn { ops: Guards::gets(), ..Txn::default() }).await?),
        };
        self.guards = Some(guards);
        let newest = guards.newest();
        let seen = tokio::time::timeout(VIEW_LIMIT, self.engine.wait_planned(newest)).await;
        if seen.is_err() {
            let text = format!("the store is at revision {newest}, this controller at {}", self.engine.revision());
            return Err(Problem::new(503, "the controller has not caught up with the store").detail(text));
        }
        Ok((guards, self.engine.view()))
    }

    /// Checks one request on the view, which is then as if it was done. `asked`: the view is as new as the request.
    async fn judge(
        &self,
        ask: &Ask,
        asked: bool,
        view: &mut View,
        touched: &mut HashSet<Key>,
    ) -> Result<Verdict, Error> {
        match ask {
            Ask::Put(resource, demand) => {
                let key = resource.key();
                if touched.contains(&key) {
                    return Ok(Verdict::Later);
                }
                let there = view.get(&key);
                let unchanged = there.as_ref() == Some(resource);
                let stored = match unchanged || *demand != Demand::Nothing {
                    true => self.store.get(&key.to_string()).await?,
                    false => None,
                };
                let revision = stored.as_ref().map_or(0, |e| e.mod_revision);
                match demand {
                    Demand::There if revision == 0 => return Ok(Verdict::Refused(stale(&key, revision))),
                    Demand::Missing if revision > 0 => return Ok(Verdict::Refused(stale(&key, revision))),
                    Demand::At(wanted) if *wanted != revision => return Ok(Verdict::Refused(stale(&key, revision))),
                    _ => {}
                }
                if unchanged {
                    let is = |e: &Entry| AnyResource::from_stored(&e.key, &e.value).is_ok_and(|r| r == *resource);
                    match stored.is_some_and(|e| is(&e)) {
                        true => return Ok(Verdict::Done(Done::Unchanged { revision })),
                        false if !asked => return Ok(Verdict::Behind),
                        false => {}
                    }
                }
                if let Err(problem) = check(view, &key, Some(resource)) {
                    return Ok(Verdict::Refused(problem));
                }
                touched.insert(key.clone());
                let created = there.is_none();
                let there = match demand {
                    Demand::Nothing => unchanged_since(&key, created),
                    _ => Compare::at(key.to_string(), revision),
                };
                let there = key.kind.stands_apart().then_some(there);
                let ops = vec![Op::put(key.to_string(), resource.encode())];
                Ok(Verdict::Write { ops, there, done: Made::One { created } })
            }
            Ask::Delete(key, demand) => {
                if touched.contains(key) {
                    return Ok(Verdict::Later);
                }
                if view.get(key).is_none() {
                    return Ok(Verdict::Refused(missing(key)));
                }
                let mut there = unchanged_since(key, false);
                if let Demand::At(wanted) = demand {
                    let revision = self.store.get(&key.to_string()).await?.map_or(0, |e| e.mod_revision);
                    if *wanted != revision {
                        return Ok(Verdict::Refused(stale(key, revision)));
                    }
                    there = Compare::at(key.to_string(), revision);
                }
                if let Err(problem) = check(view, key, None) {
                    return Ok(Verdict::Refused(problem));
                }
                touched.insert(key.clone());
                let there = key.kind.stands_apart().then_some(there);
                let ops = vec![Op::delete(key.to_string())];
                Ok(Verdict::Write { ops, there, done: Made::One { created: false } })
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
                    let revision = self.guards.map_or(0, |guards| guards.all);
                    return Ok(Verdict::Done(Done::Site { revision, intents }));
                }
                Ok(Verdict::Write { ops, there: None, done: Made::Site { intents } })
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

/// A key is there or not, as it was when it was looked at.
fn unchanged_since(key: &Key, missing: bool) -> Compare {
    let key = key.to_string();
    if missing { Compare::missing(key) } else { Compare::exists(key) }
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
