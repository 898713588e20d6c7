//! Text format of P4Info and pipeline configurations, there and back.
#![allow(clippy::unwrap_used)]

use p4runtime_proto::{
    p4::{config::v1 as config, v1},
    text,
};

const INFO: &str = r#"
pkg_info { arch: "v1model" }
tables {
  preamble { id: 33572104 name: "ingress.ipv4" alias: "ipv4" annotations: "@brief(\"routes\")" }
  match_fields { id: 1 name: "dst" bitwidth: 32 match_type: LPM }
  match_fields { id: 2 name: "in" bitwidth: 9 match_type: OPTIONAL type_name { name: "port_t" } }
  action_refs { id: 16777217 scope: DEFAULT_ONLY }
  size: 1024
}
type_info {
  new_types { key: "port_t" value { translated_type { uri: "p4.org/v1/port" sdn_string {} } } }
}
"#;

#[test]
fn p4info_comes_back_equal() {
    let info = text::parse_p4info(INFO).unwrap();
    assert_eq!(info.tables[0].preamble.as_ref().unwrap().name, "ingress.ipv4");
    assert_eq!(info.tables[0].match_fields[0].r#match, Some(config::match_field::Match::MatchType(3)));
    assert_eq!(info.type_info.as_ref().unwrap().new_types.len(), 1);
    let printed = text::print_p4info(&info).unwrap();
    assert!(printed.contains("name: \"ingress.ipv4\""), "{printed}");
    assert_eq!(text::parse_p4info(&printed).unwrap(), info);
}

#[test]
fn a_pipeline_config_keeps_its_bytes() {
    let config = v1::ForwardingPipelineConfig {
        p4info: Some(text::parse_p4info(INFO).unwrap()),
        p4_device_config: vec![0, 255, b'"', b'\n'].into(),
        cookie: Some(v1::forwarding_pipeline_config::Cookie { cookie: u64::MAX }),
    };
    let printed = text::print_pipeline_config(&config).unwrap();
    assert_eq!(text::parse_pipeline_config(&printed).unwrap(), config);
}

#[test]
fn an_error_names_its_place() {
    let error = text::parse_p4info("pkg_info {\n  arch: \"v1model\"\n  colour: 3\n}").unwrap_err().to_string();
    assert!(error.contains("p4.config.v1.P4Info, line 3, column 3"), "{error}");
    assert!(error.contains("colour"), "{error}");
    assert!(text::parse_p4info("tables {").is_err());
}
