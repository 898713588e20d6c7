use super::super::tree::testing::{path, port};
use super::*;
use p4runtime_proto::gnmi::{Encoding, typed_value::Value};
use tonic::Code;

const OPER: &str = "/interfaces/interface[name=*]/state/oper-status";
const OCTETS: &str = "/interfaces/interface[name=e1]/state/counters/in-octets";

fn request(mode: Mode, subscription: Vec<Subscription>) -> SubscribeRequest {
    let list = SubscriptionList {
        mode: mode as i32,
        encoding: Encoding::Proto as i32,
        subscription,
        prefix: Some(Path { target: "leaf1".into(), ..Path::default() }),
        ..SubscriptionList::default()
    };
    SubscribeRequest { request: Some(Request::Subscribe(list)), ..SubscribeRequest::default() }
}

fn on(text: &str, mode: SubscriptionMode) -> Subscription {
    Subscription { path: Some(path(text)), mode: mode as i32, ..Subscription::default() }
}

/// Updates as `interface/leaf=value`, deletes with a minus, the end mark as `sync`.
fn words(responses: &[SubscribeResponse]) -> Vec<String> {
    let mut words = Vec::new();
    let name = |path: &Path| format!("{}/{}", path.elem[1].key["name"], path.elem.last().unwrap().name);
    for response in responses {
        match response.response.as_ref().unwrap() {
            Response::Update(notification) => {
                assert_eq!(notification.prefix.as_ref().unwrap().target, "leaf1");
                for update in &notification.update {
                    let value = match update.val.as_ref().unwrap().value.as_ref().unwrap() {
                        Value::StringVal(text) => text.clone(),
                        Value::UintVal(number) => number.to_string(),
                        other => format!("{other:?}"),
                    };
                    words.push(format!("{}={value}", name(update.path.as_ref().unwrap())));
                }
                words.extend(notification.delete.iter().map(|path| format!("-{}", name(path))));
            }
            _ => words.push("sync".into()),
        }
    }
    words
}

fn ports(up: bool) -> Vec<PortInfo> {
    vec![port(1, "e1", true), port(2, "e2", up)]
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn once_ends_after_the_mark() {
    let mut session = Session::default();
    let step =
        session.request(request(Mode::Once, vec![on(OPER, SubscriptionMode::TargetDefined)]), ms(0), 7, &ports(false));
    let step = step.unwrap();
    assert!(step.end);
    assert_eq!(words(&step.responses), ["e1/oper-status=UP", "e2/oper-status=DOWN", "sync"]);
}

#[test]
fn poll_answers_each_time() {
    let mut session = Session::default();
    let first = request(Mode::Poll, vec![on(OPER, SubscriptionMode::TargetDefined)]);
    session.request(first, ms(0), 7, &ports(true)).unwrap();
    let poll = SubscribeRequest { request: Some(Request::Poll(Poll {})), ..SubscribeRequest::default() };
    let step = session.request(poll, ms(1), 8, &ports(false)).unwrap();
    assert_eq!(words(&step.responses), ["e1/oper-status=UP", "e2/oper-status=DOWN", "sync"]);
    assert!(session.changed(None, 9, &ports(true)).is_empty());
    assert_eq!(session.deadline(), None);
}

#[test]
fn on_change_sends_changes_and_removals() {
    let mut session = Session::default();
    session.request(request(Mode::Stream, vec![on(OPER, SubscriptionMode::OnChange)]), ms(0), 7, &ports(true)).unwrap();
    assert!(session.changed(Some(2), 8, &ports(true)).is_empty());
    assert_eq!(words(&session.changed(Some(2), 9, &ports(false))), ["e2/oper-status=DOWN"]);
    assert!(session.changed(Some(2), 10, &ports(false)).is_empty());
    assert_eq!(words(&session.changed(None, 11, &ports(true))), ["e2/oper-status=UP"]);
    assert_eq!(words(&session.changed(Some(2), 12, &ports(true)[..1])), ["-e2/oper-status"]);
    let more = [ports(true), vec![port(3, "e3", false)]].concat();
    assert_eq!(words(&session.changed(Some(3), 13, &more)), ["e3/oper-status=DOWN"]);
    assert_eq!(session.deadline(), None);
}

#[test]
fn samples_come_in_their_interval() {
    let mut session = Session::default();
    let sample = Subscription { sample_interval: 100_000_000, ..on(OCTETS, SubscriptionMode::Sample) };
    session.request(request(Mode::Stream, vec![sample]), ms(1000), 7, &ports(true)).unwrap();
    assert_eq!(session.deadline(), Some(ms(1100)));
    assert!(session.tick(ms(1099), 8, &ports(true)).is_empty());
    assert_eq!(words(&session.tick(ms(1100), 9, &ports(true))), ["e1/in-octets=123"]);
    assert_eq!(session.deadline(), Some(ms(1200)));
    // Late by several intervals: one sample, not many.
    assert_eq!(session.tick(ms(1950), 10, &ports(true)).len(), 1);
    assert_eq!(session.deadline(), Some(ms(2050)));
}

#[test]
fn redundant_samples_wait_for_the_heartbeat() {
    let mut session = Session::default();
    let sample = Subscription {
        sample_interval: 100_000_000,
        heartbeat_interval: 250_000_000,
        suppress_redundant: true,
        ..on(OCTETS, SubscriptionMode::Sample)
    };
    session.request(request(Mode::Stream, vec![sample]), ms(0), 7, &ports(true)).unwrap();
    assert!(session.tick(ms(100), 8, &ports(true)).is_empty());
    let mut more = ports(true);
    more[0].counters.in_octets = 124;
    assert_eq!(words(&session.tick(ms(200), 9, &more)), ["e1/in-octets=124"]);
    assert_eq!(words(&session.tick(ms(250), 10, &more)), ["e1/in-octets=124"]);
    assert!(session.tick(ms(300), 11, &more).is_empty());
}

#[test]
fn heartbeat_repeats_unchanged_state() {
    let mut session = Session::default();
    let one = Subscription { heartbeat_interval: 500_000_000, ..on(OPER, SubscriptionMode::OnChange) };
    session.request(request(Mode::Stream, vec![one]), ms(0), 7, &ports(true)).unwrap();
    assert_eq!(session.deadline(), Some(ms(500)));
    assert_eq!(words(&session.tick(ms(500), 8, &ports(true))), ["e1/oper-status=UP", "e2/oper-status=UP"]);
}

#[test]
fn counters_on_change_are_looked_at_every_second() {
    let mut session = Session::default();
    session
        .request(request(Mode::Stream, vec![on(OCTETS, SubscriptionMode::OnChange)]), ms(0), 7, &ports(true))
        .unwrap();
    assert_eq!(session.deadline(), Some(ms(1000)));
    assert!(session.tick(ms(1000), 8, &ports(true)).is_empty());
    let mut more = ports(true);
    more[0].counters.in_octets = 500;
    assert_eq!(words(&session.tick(ms(2000), 9, &more)), ["e1/in-octets=500"]);
}

#[test]
fn updates_only_leaves_the_first_state_out() {
    let mut session = Session::default();
    let mut first = request(Mode::Stream, vec![on(OPER, SubscriptionMode::OnChange)]);
    if let Some(Request::Subscribe(list)) = &mut first.request {
        list.updates_only = true;
    }
    assert_eq!(words(&session.request(first, ms(0), 7, &ports(true)).unwrap().responses), ["sync"]);
    assert_eq!(words(&session.changed(Some(2), 8, &ports(false))), ["e2/oper-status=DOWN"]);
}

#[test]
fn closing_ends_what_was_not_just_asked() {
    let stream = |mode| {
        let mut session = Session::default();
        let request = request(mode, vec![on(OPER, SubscriptionMode::OnChange)]);
        session.request(request, ms(100), 7, &ports(true)).unwrap();
        session
    };
    let mut session = stream(Mode::Stream);
    assert!(session.outlives_requests(ms(101)));
    assert!(!session.outlives_requests(ms(1100)));
    session.changed(Some(2), 8, &ports(true));
    assert!(session.outlives_requests(ms(102)));
    session.changed(Some(2), 9, &ports(false));
    assert!(!session.outlives_requests(ms(102)));
    assert!(!stream(Mode::Poll).outlives_requests(ms(101)));
    assert!(!Session::default().outlives_requests(ms(0)));
}

#[test]
fn wrong_requests_end_the_stream() {
    let poll = || SubscribeRequest { request: Some(Request::Poll(Poll {})), ..SubscribeRequest::default() };
    let stream = || request(Mode::Stream, vec![on(OPER, SubscriptionMode::OnChange)]);
    let code = |session: &mut Session, request| session.request(request, ms(0), 7, &ports(true)).unwrap_err();
    assert_eq!(code(&mut Session::default(), poll()).code(), Code::InvalidArgument);
    assert_eq!(code(&mut Session::default(), SubscribeRequest::default()).code(), Code::InvalidArgument);
    assert_eq!(code(&mut Session::default(), request(Mode::Once, vec![])).code(), Code::InvalidArgument);
    let mut running = Session::default();
    running.request(stream(), ms(0), 7, &ports(true)).unwrap();
    assert_eq!(code(&mut running, stream()).code(), Code::InvalidArgument);
    assert_eq!(code(&mut running, poll()).code(), Code::InvalidArgument);
    let fast = Subscription { sample_interval: 1000, ..on(OPER, SubscriptionMode::Sample) };
    let error = code(&mut Session::default(), request(Mode::Stream, vec![fast]));
    assert!(error.message().contains("subscription[0].sample_interval: 1000 ns"), "{error}");
    let mut ascii = stream();
    if let Some(Request::Subscribe(list)) = &mut ascii.request {
        list.encoding = Encoding::Ascii as i32;
    }
    assert_eq!(code(&mut Session::default(), ascii).code(), Code::Unimplemented);
}
