//! The STF syntax.

use super::parse::{Op, Statement, Unit, parse};
use super::value::field;
use crate::program::{MatchField, MatchKind};
use crate::tables::key::{KeyField, Value};

fn one(text: &str) -> Statement {
    let lines = parse(text).unwrap();
    assert_eq!(lines.len(), 1);
    lines.into_iter().next().unwrap().statement
}

#[test]
fn packets_and_expectations() {
    assert_eq!(one("packet 3 00ff 10 # x"), Statement::Packet { port: 3, data: vec![0, 0xff, 0x10] });
    let expect = |digits: Option<&str>, exact| Statement::Expect { port: 1, digits: digits.map(str::to_owned), exact };
    assert_eq!(one("EXPECT 1 0* 1f $"), expect(Some("0*1f"), true));
    assert_eq!(one("expect 1 01$"), expect(Some("01"), true));
    assert_eq!(one("expect 1"), expect(None, false));
    assert_eq!(parse("\n\nexpect 1 zz").unwrap_err().line, 3);
    assert!(parse("frobnicate 1").is_err() && parse("packet 3 00f").is_err());
}

#[test]
fn entries() {
    let Statement::Add { entry, call, label } =
        one(r#"add "c.t" 10 hdr.a$0.x:0x25** "y.z":0x1/4 act(p:0x7f, "q" : 2) = $A"#)
    else {
        panic!("not an add")
    };
    assert_eq!((entry.table.as_str(), entry.priority), ("c.t", Some(10)));
    assert_eq!(entry.key, [("hdr.a$0.x".into(), "0x25**".into()), ("y.z".into(), "0x1/4".into())]);
    assert_eq!(call.args, [("p".into(), "0x7f".into()), ("q".into(), "2".into())]);
    assert_eq!(label.as_deref(), Some("$A"));
    assert!(matches!(one("setdefault t drop()"), Statement::SetDefault { .. }));
    assert!(matches!(one("remove all"), Statement::RemoveAll));
    assert!(matches!(one("remove t f:1"), Statement::Remove(_)));
    let Statement::CheckCounter { check, .. } = one("check_counter c($A) packets >= 3") else { panic!() };
    assert_eq!(check, [(Unit::Packets, Op::Ge, 3)]);
}

#[test]
fn values_by_match_kind() {
    let of = |kind, text| field(&MatchField { name: "f".into(), kind, bitwidth: 12 }, text);
    let v = |bytes: &[u8]| Value::from_slice(bytes);
    assert_eq!(of(MatchKind::Exact, "300"), Ok(KeyField::Exact(v(&[1, 44]))));
    assert_eq!(of(MatchKind::Ternary, "0x25*"), Ok(KeyField::Ternary { value: v(&[2, 0x50]), mask: v(&[0xf, 0xf0]) }));
    assert_eq!(of(MatchKind::Ternary, "0x1&&&0x3"), Ok(KeyField::Ternary { value: v(&[1]), mask: v(&[3]) }));
    assert_eq!(of(MatchKind::Ternary, "7"), Ok(KeyField::Ternary { value: v(&[7]), mask: v(&[0xf, 0xff]) }));
    assert_eq!(of(MatchKind::Lpm, "0xab*"), Ok(KeyField::Lpm { value: v(&[0xa, 0xb0]), prefix_len: 8 }));
    assert_eq!(of(MatchKind::Lpm, "0xa00/4"), Ok(KeyField::Lpm { value: v(&[0xa, 0]), prefix_len: 4 }));
    assert_eq!(of(MatchKind::Range, "1..0xf"), Ok(KeyField::Range { low: v(&[1]), high: v(&[15]) }));
    assert_eq!(of(MatchKind::Optional, "*"), Ok(KeyField::Optional(None)));
    assert_eq!(of(MatchKind::Optional, "0x**"), Ok(KeyField::Optional(None)));
    assert!(of(MatchKind::Exact, "0x1*").is_err());
}
