//! Ports on real interfaces that are made and deleted over gNMI.

use super::{path, site, switch, wait_for};
use crate::Program;
use p4runtime_proto::gnmi::{Path, SetRequest, Update};
use p4switch::gnmi::{GnmiService, set};
use p4switch::ports::{PortManager, netlink, sys};
use serde_json::{Value, json};
use tonic::{Code, Status};

fn interface(name: &str) -> Path {
    let mut path = path(&["interfaces", "interface"]);
    path.elem[1].key.insert("name".into(), name.into());
    path
}

fn config(name: &str, enabled: bool) -> Update {
    let config = json!({"name": name, "type": "iana-if-type:ethernetCsmacd", "enabled": enabled});
    let val = set::json_ietf(&json!({"openconfig-interfaces:config": config}));
    Update { path: Some(interface(name)), val: Some(val), ..Update::default() }
}

fn names(manager: &PortManager) -> Value {
    manager.list().iter().map(|port| json!([port.no, port.name, port.enabled])).collect()
}

pub fn come_and_go(_: &str) {
    let manager = switch(Program::Cable, |_, _| {});
    let gnmi = GnmiService::new(manager.clone(), site());
    let make = |update: Vec<Update>| gnmi.write(&SetRequest { update, ..SetRequest::default() }).map(drop);
    let delete = |names: &[&str], update: Vec<Update>| {
        let delete = names.iter().map(|name| interface(name)).collect();
        gnmi.write(&SetRequest { delete, update, ..SetRequest::default() }).map(drop)
    };
    let near = sys::interface_index("x0").unwrap();
    let far = sys::interface_index("x1").unwrap();
    netlink::set_enabled(far, true).unwrap();
    // Made disabled, the interface is set down, and its other end loses the carrier.
    make(vec![config("1-7@x0", false)]).unwrap();
    assert!(!netlink::link(near).unwrap().enabled && !manager.get(7).unwrap().up);
    make(vec![config("1-7@x0", true)]).unwrap();
    wait_for(&manager, 7, true);
    assert!(netlink::link(far).unwrap().up);
    let before = names(&manager);

    // One wrong interface, and nothing of the request is done: not even the interface of the right one is touched.
    netlink::set_enabled(far, false).unwrap();
    let code = |outcome: Result<(), Status>| outcome.unwrap_err().code();
    let missing = delete(&["1-7@x0"], vec![config("1-8@x1", true), config("1-9@no-such", true)]);
    assert!(missing.as_ref().unwrap_err().message().contains("no interface \"no-such\""), "{missing:?}");
    assert_eq!(code(missing), Code::FailedPrecondition);
    assert_eq!(code(make(vec![config("1-8@x1", true), config("1-9@x0", true)])), Code::AlreadyExists);
    assert_eq!(names(&manager), before);
    assert!(!netlink::link(far).unwrap().enabled);

    // In one request the port moves to the other end, and an interface takes the number of another's port.
    delete(&["1-7@x0", "m0"], vec![config("1-7@x1", true), config("1-6@x0", true)]).unwrap();
    wait_for(&manager, 7, true);
    wait_for(&manager, 6, true);
    assert_eq!(manager.get(7).unwrap().interface, "x1");
    assert!(!manager.list().iter().any(|port| port.name == "m0"));
    // An interface that is no port any more stays as it is.
    delete(&["1-7@x1", "1-6@x0"], Vec::new()).unwrap();
    assert!(netlink::link(near).unwrap().enabled && netlink::link(far).unwrap().enabled);
    assert!(manager.get(6).is_none() && manager.get(7).is_none());
}
