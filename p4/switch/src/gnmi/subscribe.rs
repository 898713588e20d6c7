//! One Subscribe stream as a machine without sockets and clocks (gNMI 0.8 §3.5): requests, port events and the passing of
//! time go in, responses come out.

use super::tree::{self, Leaf, LeafValue, Pattern};
use super::value::{Form, leaf_value};
use crate::ports::{PortInfo, PortNo};
use p4runtime_proto::gnmi::{
    Notification, Path, Poll, SubscribeRequest, SubscribeResponse, Subscription, SubscriptionList, SubscriptionMode,
    Update, subscribe_request::Request, subscribe_response::Response, subscription_list::Mode,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// Shortest sampling interval; 0 in a request asks for it.
pub const SAMPLE_MIN: Duration = Duration::from_millis(10);
/// How often counters are looked at that are subscribed to on change, or as the target likes.
const COUNTER_INTERVAL: Duration = Duration::from_secs(1);
const TARGET_DEFINED_INTERVAL: Duration = Duration::from_secs(10);

/// A client that closes its side this soon sent all it had in one go, and listens.
const IN_ONE_GO: Duration = Duration::from_secs(1);

/// Time since the stream began.
pub type Now = Duration;

type Key = (Arc<str>, &'static [&'static str]);

/// A stream. Before the first request it is empty.
#[derive(Default)]
pub struct Session {
    list: Option<List>,
}

struct List {
    mode: Mode,
    began: Now,
    /// Whether anything was sent after the first state.
    told: bool,
    form: Form,
    target: String,
    updates_only: bool,
    subscriptions: Vec<One>,
}

/// One subscription of the list.
struct One {
    pattern: Pattern,
    /// Sends what changed at once.
    on_change: bool,
    /// Looks again in this interval: at everything, or with `on_change` at counters.
    every: Option<Duration>,
    /// When looking again, leaves out what did not change.
    changed_only: bool,
    heartbeat: Option<Duration>,
    next_look: Now,
    next_heartbeat: Now,
    sent: BTreeMap<Key, LeafValue>,
}

/// What one step gives: responses in order, and whether the stream is over.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    pub responses: Vec<SubscribeResponse>,
    pub end: bool,
}

impl Session {
    /// Handles a request of the client.
    ///
    /// # Errors
    /// The status that ends the stream.
    pub fn request(
        &mut self,
        request: SubscribeRequest,
        now: Now,
        time_ns: u64,
        ports: &[PortInfo],
    ) -> Result<Step, Status> {
        match (request.request, &mut self.list) {
            (Some(Request::Subscribe(list)), None) => {
                let mut list = List::new(list, now)?;
                let step = list.first(time_ns, ports);
                self.list = Some(list);
                Ok(step)
            }
            (Some(Request::Subscribe(_)), Some(_)) => Err(Status::invalid_argument(
                "subscribe: the stream has its subscriptions already; allowed is one list a stream",
            )),
            (Some(Request::Poll(Poll {})), Some(list)) if list.mode == Mode::Poll => {
                Ok(list.everything(time_ns, ports))
            }
            (Some(Request::Poll(_)), _) => {
                Err(Status::invalid_argument("poll: allowed only on a stream whose subscription list has mode POLL"))
            }
            (Some(Request::Aliases(_)), _) => Err(Status::unimplemented("aliases: not supported")),
            (None, _) => Err(Status::invalid_argument("request: missing; allowed are subscribe and poll")),
        }
    }

    /// Whether the stream goes on when the client closes its side.
    ///
    /// Some clients have one request, send it, close and listen (a finite iterator, in Python); others keep their side open and
    /// close it to end the subscription, waiting for the server to do so too.
    pub fn outlives_requests(&self, now: Now) -> bool {
        let list = self.list.as_ref().filter(|list| list.mode == Mode::Stream);
        list.is_some_and(|list| !list.told && now < list.began + IN_ONE_GO)
    }

    /// Ports changed: `changed`, or any of them when none is named.
    pub fn changed(&mut self, changed: Option<PortNo>, time_ns: u64, ports: &[PortInfo]) -> Vec<SubscribeResponse> {
        let Some(list) = self.list.as_mut().filter(|list| list.mode == Mode::Stream) else { return Vec::new() };
        let mut out = Vec::new();
        for number in 0..list.subscriptions.len() {
            if list.subscriptions[number].on_change {
                let picked = ports.iter().filter(|port| changed.is_none_or(|no| port.no == no));
                let leaves: Vec<Leaf> = picked.flat_map(tree::leaves).filter(|leaf| !leaf.is_counter()).collect();
                list.send(number, leaves, true, time_ns, &mut out);
            }
            list.gone(number, ports, time_ns, &mut out);
        }
        list.told |= !out.is_empty();
        out
    }

    /// Time passed.
    pub fn tick(&mut self, now: Now, time_ns: u64, ports: &[PortInfo]) -> Vec<SubscribeResponse> {
        let Some(list) = self.list.as_mut().filter(|list| list.mode == Mode::Stream) else { return Vec::new() };
        let mut out = Vec::new();
        for number in 0..list.subscriptions.len() {
            let one = &mut list.subscriptions[number];
            let mut beat = false;
            if let Some(heartbeat) = one.heartbeat
                && one.next_heartbeat <= now
            {
                beat = true;
                one.next_heartbeat = next(one.next_heartbeat, heartbeat, now);
            }
            let mut look = false;
            if let Some(every) = one.every
                && one.next_look <= now
            {
                look = true;
                one.next_look = next(one.next_look, every, now);
            }
            let counters_only = one.on_change && !beat;
            let changed_only = one.changed_only && !beat;
            if look || beat {
                let leaves =
                    ports.iter().flat_map(tree::leaves).filter(|leaf| !counters_only || leaf.is_counter()).collect();
                list.send(number, leaves, changed_only, time_ns, &mut out);
            }
        }
        list.told |= !out.is_empty();
        out
    }

    /// When `tick` has something to do next.
    pub fn deadline(&self) -> Option<Now> {
        let list = self.list.as_ref().filter(|list| list.mode == Mode::Stream)?;
        let times = list
            .subscriptions
            .iter()
            .flat_map(|one| [one.every.map(|_| one.next_look), one.heartbeat.map(|_| one.next_heartbeat)]);
        times.flatten().min()
    }
}

/// The next time after `now` on the grid of `every`.
fn next(last: Now, every: Duration, now: Now) -> Now {
    let following = last + every;
    if following > now { following } else { now + every }
}

impl List {
    fn new(list: SubscriptionList, now: Now) -> Result<Self, Status> {
        let mode = Mode::try_from(list.mode)
            .map_err(|_| Status::invalid_argument(format!("mode: {}; allowed are STREAM, ONCE and POLL", list.mode)))?;
        let form = Form::new(list.encoding).map_err(Status::unimplemented)?;
        if list.use_aliases {
            return Err(Status::unimplemented("use_aliases: not supported"));
        }
        if list.subscription.is_empty() {
            return Err(Status::invalid_argument("subscription: none; at least one is needed"));
        }
        let target = list.prefix.as_ref().map(|prefix| prefix.target.clone()).unwrap_or_default();
        let mut subscriptions = Vec::new();
        for (number, subscription) in list.subscription.iter().enumerate() {
            let fail = |what: String| Status::invalid_argument(format!("subscription[{number}].{what}"));
            let pattern = Pattern::new(list.prefix.as_ref(), subscription.path.as_ref()).map_err(fail)?;
            if mode == Mode::Stream {
                One::stream(pattern, subscription, now, &mut subscriptions).map_err(fail)?;
            } else {
                subscriptions.push(One::once(pattern));
            }
        }
        Ok(Self { mode, began: now, told: false, form, target, updates_only: list.updates_only, subscriptions })
    }

    fn first(&mut self, time_ns: u64, ports: &[PortInfo]) -> Step {
        let mut step = self.everything(time_ns, ports);
        if self.updates_only {
            step.responses.retain(|response| matches!(response.response, Some(Response::SyncResponse(_))));
        }
        step.end = self.mode == Mode::Once;
        step
    }

    /// The present state of every path, and the end mark.
    fn everything(&mut self, time_ns: u64, ports: &[PortInfo]) -> Step {
        let mut responses = Vec::new();
        for number in 0..self.subscriptions.len() {
            let leaves = ports.iter().flat_map(tree::leaves).collect();
            self.send(number, leaves, false, time_ns, &mut responses);
        }
        responses
            .push(SubscribeResponse { response: Some(Response::SyncResponse(true)), ..SubscribeResponse::default() });
        Step { responses, end: false }
    }

    /// Adds one notification for each interface with leaves of subscription `number`.
    fn send(
        &mut self,
        number: usize,
        leaves: Vec<Leaf>,
        changed_only: bool,
        time_ns: u64,
        out: &mut Vec<SubscribeResponse>,
    ) {
        let one = &mut self.subscriptions[number];
        let mut open: Option<(Arc<str>, Vec<Update>)> = None;
        for leaf in leaves {
            if one.pattern.select(&leaf).is_none() {
                continue;
            }
            let leaf = one.pattern.called(&leaf);
            let key = (Arc::clone(&leaf.interface), leaf.below);
            let changed = one.sent.get(&key) != Some(&leaf.value);
            if changed_only && !changed {
                continue;
            }
            let update =
                Update { path: Some(leaf.path()), val: Some(leaf_value(&leaf.value, self.form)), ..Update::default() };
            if changed {
                one.sent.insert(key, leaf.value);
            }
            match &mut open {
                Some((interface, updates)) if *interface == leaf.interface => updates.push(update),
                _ => {
                    let full = open.replace((leaf.interface, vec![update]));
                    out.extend(full.map(|(_, updates)| notification(&self.target, time_ns, updates, Vec::new())));
                }
            }
        }
        out.extend(open.map(|(_, updates)| notification(&self.target, time_ns, updates, Vec::new())));
    }

    /// Tells of leaves whose interface is there no more.
    fn gone(&mut self, number: usize, ports: &[PortInfo], time_ns: u64, out: &mut Vec<SubscribeResponse>) {
        let one = &mut self.subscriptions[number];
        let mut deletes = Vec::new();
        one.sent.retain(|(interface, below), value| {
            let is = |name: &String| *name.as_str() == **interface;
            let there = ports.iter().any(|port| is(&port.name) || port.alias.as_ref().is_some_and(is));
            if !there {
                let (interface, value) = (Arc::clone(interface), value.clone());
                deletes.push(Leaf { interface, alias: None, below, value, class: tree::Class::Operational }.path());
            }
            there
        });
        if !deletes.is_empty() {
            out.push(notification(&self.target, time_ns, Vec::new(), deletes));
        }
    }
}

fn notification(target: &str, time_ns: u64, update: Vec<Update>, delete: Vec<Path>) -> SubscribeResponse {
    let prefix = (!target.is_empty()).then(|| Path { target: target.to_owned(), ..Path::default() });
    let notification = Notification { timestamp: time_ns as i64, prefix, update, delete, ..Notification::default() };
    SubscribeResponse { response: Some(Response::Update(notification)), ..SubscribeResponse::default() }
}

impl One {
    fn once(pattern: Pattern) -> Self {
        Self {
            pattern,
            on_change: false,
            every: None,
            changed_only: false,
            heartbeat: None,
            next_look: Now::ZERO,
            next_heartbeat: Now::ZERO,
            sent: BTreeMap::new(),
        }
    }

    fn stream(pattern: Pattern, subscription: &Subscription, now: Now, into: &mut Vec<Self>) -> Result<(), String> {
        let mode = SubscriptionMode::try_from(subscription.mode)
            .map_err(|_| format!("mode: {}; allowed are TARGET_DEFINED, ON_CHANGE and SAMPLE", subscription.mode))?;
        let interval = |name: &str, nanoseconds: u64| match Duration::from_nanos(nanoseconds) {
            Duration::ZERO => Ok(None),
            short if short < SAMPLE_MIN => {
                Err(format!("{name}: {nanoseconds} ns; allowed are 0 and at least {}", SAMPLE_MIN.as_nanos()))
            }
            interval => Ok(Some(interval)),
        };
        let heartbeat = interval("heartbeat_interval", subscription.heartbeat_interval)?;
        let mut one = Self { heartbeat, ..Self::once(pattern) };
        match mode {
            SubscriptionMode::Sample => {
                one.every = Some(interval("sample_interval", subscription.sample_interval)?.unwrap_or(SAMPLE_MIN));
                one.changed_only = subscription.suppress_redundant;
                if !one.changed_only {
                    // Everything comes with every sample: a heartbeat adds nothing.
                    one.heartbeat = None;
                }
            }
            SubscriptionMode::OnChange | SubscriptionMode::TargetDefined => {
                one.on_change = true;
                one.changed_only = true;
                let counters =
                    if mode == SubscriptionMode::OnChange { COUNTER_INTERVAL } else { TARGET_DEFINED_INTERVAL };
                one.every = one.pattern.any_counter().then_some(counters);
            }
        }
        one.next_look = now + one.every.unwrap_or_default();
        one.next_heartbeat = now + one.heartbeat.unwrap_or_default();
        into.push(one);
        Ok(())
    }
}

#[cfg(test)]
#[path = "subscribe_tests.rs"]
mod tests;
