//! Values refuse what is out of range, and their outside forms come back the same.
#![allow(clippy::unwrap_used)]

use pergola_model::*;
use proptest::prelude::*;

fn refused<T: std::str::FromStr<Err = ValueError> + std::fmt::Debug>(text: &str) -> ValueError {
    text.parse::<T>().expect_err(text)
}

#[test]
fn ranges_hold_in_every_form() {
    assert_eq!(VlanId::new(0).unwrap_err().to_string(), "VLAN id: found `0`, allowed: 1 to 4094");
    assert_eq!(VlanId::try_from(70_000).unwrap_err().found, "70000");
    assert!(VlanId::new(4094).is_ok() && VlanId::new(4095).is_err());
    assert!(NodeLabel::new(15).is_err() && NodeLabel::new(16).is_ok());
    assert!(NodeLabel::new(1_048_575).is_ok() && NodeLabel::new(1_048_576).is_err());
    assert!(PortNo::new(0).is_err());
    refused::<VlanId>("+5");
    refused::<VlanId>("");
    for json in ["0", "4095", "-1", "70000", "1.5", "\"10\""] {
        assert!(serde_json::from_str::<VlanId>(json).is_err(), "{json}");
    }
    assert_eq!(serde_json::from_str::<VlanId>("10").unwrap().get(), 10);
}

#[test]
fn names_are_labels() {
    for good in ["a", "leaf1", "a-b", "1", &"x".repeat(63)] {
        assert_eq!(good.parse::<SwitchName>().unwrap(), good);
    }
    for bad in ["", "-a", "a-", "A", "a_b", "a.b", "a/b", "ä", &"x".repeat(64)] {
        assert_eq!(refused::<SwitchName>(bad).found, bad);
    }
}

#[test]
fn links_have_one_name_whichever_end_comes_first() {
    let (a, b): (PortId, PortId) = ("leaf1/3".parse().unwrap(), "spine1/1".parse().unwrap());
    let link = LinkId::new(b.clone(), a.clone()).unwrap();
    assert_eq!(link, LinkId::new(a.clone(), b.clone()).unwrap());
    assert_eq!(link.to_string(), "leaf1/3~spine1/1");
    assert_eq!(link.seen_from(&b.switch), Some((&b, &a)));
    assert_eq!(link.other_end(&a), Some(&b));
    assert!(LinkId::new(a.clone(), a).is_err());
    // Numbers order as numbers.
    let parallel: LinkId = "leaf1/10~leaf2/1".parse().unwrap();
    assert_eq!(parallel.a().to_string(), "leaf1/10");
    refused::<PortId>("leaf1");
    refused::<PortId>("leaf1/0");
}

#[test]
fn addresses_and_endpoints() {
    assert_eq!(refused::<Prefix>("10.0.1.5/24").allowed, "zero host bits, 10.0.1.0/24");
    for bad in ["10.0.1.0/24", "10.0.1.255/24", "224.0.0.1/24", "0.0.0.0/0", "::/64", "10.0.1.1", "10.0.1.1/33"] {
        refused::<IfAddr>(bad);
    }
    for good in ["10.0.1.1/24", "10.0.1.0/31", "10.0.1.255/32", "2001:db8::/64", "2001:db8::1/64"] {
        assert_eq!(good.parse::<IfAddr>().unwrap().to_string(), good);
    }
    for good in ["127.0.0.1:50001", "[::1]:9559", "leaf1.example.net:1"] {
        assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
    }
    for bad in ["127.0.0.1", "::1:80", "[::1]", "[zz]:80", "a:0", "a:65536", ":80", "a b:80"] {
        refused::<Endpoint>(bad);
    }
    refused::<MacAddr>("02:00:00:00:00");
    refused::<MacAddr>("02:00:00:00:00:0g");
    refused::<MacMatch>("02:00:00:00:00:00/00:00:00:00:00:00");
    // A secret written by mistake is not repeated.
    assert!(!refused::<SecretRef>("hunter2").to_string().contains("hunter2"));
}

#[test]
fn rules_whose_fields_contradict_one_another() {
    let check = |json: &str| {
        let errors = serde_json::from_str::<RuleMatch>(json).unwrap().check();
        errors.into_iter().map(|e| e.what).collect::<Vec<_>>()
    };
    assert_eq!(check(r#"{"ip_src": "10.0.0.0/8", "ip_dst": "::/0"}"#), ["ip_dst"]);
    assert_eq!(check(r#"{"eth_type": "ipv6", "ip_src": "10.0.0.0/8"}"#), ["eth_type"]);
    assert_eq!(check(r#"{"eth_type": "arp", "dscp": 4}"#), ["eth_type"]);
    assert_eq!(check(r#"{"l4_dst": "80"}"#), ["ip_proto"]);
    assert_eq!(check(r#"{"icmp_type": 8, "ip_proto": "tcp"}"#), ["ip_proto"]);
    assert_eq!(check(r#"{"tcp_flags": "syn", "ip_proto": "udp"}"#), ["ip_proto"]);
    assert_eq!(check(r#"{"ip_proto": "icmpv6", "icmp_type": 135, "ip_dst": "2001:db8::/32"}"#), [""; 0]);
    assert_eq!("syn,!ack".parse::<TcpFlags>().unwrap().mask(), 0x12);
    assert_eq!("!ack,syn".parse::<TcpFlags>().unwrap().to_string(), "syn,!ack");
    refused::<TcpFlags>("syn,syn");
    refused::<PortRange>("9-1");
    refused::<EthType>("0x05ff");
}

#[test]
fn stored_values_refuse_unknown_fields_versions_and_foreign_keys() {
    let port = Port { id: "leaf1/3".parse().unwrap(), enabled: true, speed_bps: None, mode: PortMode::None };
    assert_eq!(String::from_utf8(port.encode()).unwrap(), r#"{"v":1,"body":{"id":"leaf1/3"}}"#);
    let stored = |key: &str, value: &str| AnyResource::from_stored(key, value.as_bytes());
    assert_eq!(stored("port/leaf1/3", r#"{"v":1,"body":{"id":"leaf1/3"}}"#), Ok(port.into()));
    assert_eq!(stored("port/leaf1/3", r#"{"v":2,"body":{"id":"leaf1/3","colour":1}}"#), Err(DecodeError::Version(2)));
    assert!(matches!(
        stored("port/leaf1/4", r#"{"v":1,"body":{"id":"leaf1/3"}}"#),
        Err(DecodeError::NameDiffers { .. })
    ));
    for bad in [
        r#"{"v":1,"body":{"id":"leaf1/3","colour":1}}"#,
        r#"{"v":1,"body":{"id":"leaf1/3","mode":{"untagged":{"vlan":10,"x":1}}}}"#,
        r#"{"v":1,"body":{"id":"leaf1/3","mode":{"untagged":{"vlan":4095}}}}"#,
        r#"{"v":1,"body":{"id":"leaf1/3"},"x":1}"#,
        "",
    ] {
        assert!(matches!(stored("port/leaf1/3", bad), Err(DecodeError::Json(_))), "{bad}");
    }
    assert!(matches!(stored("lease/1", "{}"), Err(DecodeError::Key(_))));
}

#[test]
fn every_kind_has_a_name_and_a_schema_that_refuses_unknown_fields() {
    for kind in Kind::ALL {
        assert_eq!(kind.as_str().parse::<Kind>().unwrap(), *kind);
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        let schema = kind.schema().to_value();
        assert_eq!(schema["additionalProperties"], false, "{kind}: {schema}");
    }
}

proptest! {
    #[test]
    fn outside_forms_come_back(
        mac in any::<[u8; 6]>(), mask in any::<[u8; 6]>(), v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>(),
        l4 in 0u8..=32, l6 in 0u8..=128, low in any::<u16>(), high in any::<u16>(), value in any::<u8>(), bits in 1u8..,
    ) {
        fn back<T: std::str::FromStr<Err = ValueError> + ToString + PartialEq + std::fmt::Debug>(value: T) {
            assert_eq!(value.to_string().parse::<T>().unwrap(), value);
        }
        back(MacAddr(mac));
        prop_assert_eq!(MacAddr::from_u64(MacAddr(mac).to_u64()), MacAddr(mac));
        if let Ok(matching) = MacMatch::new(MacAddr(mac), MacAddr(mask)) {
            back(matching);
        }
        back(Prefix::containing(v4.into(), l4).unwrap());
        back(Prefix::containing(v6.into(), l6).unwrap());
        back(PortRange::new(low.min(high), low.max(high)).unwrap());
        back(TcpFlags::new(value, bits).unwrap());
        back(IpProto(value));
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,40}") {
        let _ = text.parse::<MacAddr>();
        let _ = text.parse::<PortId>();
        let _ = text.parse::<LinkId>();
        let _ = text.parse::<Endpoint>();
        let _ = text.parse::<RouteId>();
        let _ = text.parse::<TcpFlags>();
        let _ = text.parse::<Key>();
    }
}
