//! Every message, field, enum value and method must carry the number and type that the published descriptors give it.

use std::collections::BTreeSet;

use p4runtime_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

const FACTS: &str = include_str!("facts.txt");

fn enums(out: &mut BTreeSet<String>, item: &EnumDescriptorProto, package: &str) {
    for value in &item.value {
        out.insert(format!("{package}.{}.{} = {}", item.name(), value.name(), value.number()));
    }
}

fn messages(out: &mut BTreeSet<String>, message: &DescriptorProto, parent: &str) {
    let full = format!("{parent}.{}", message.name());
    out.insert(format!("message {full}"));
    for field in &message.field {
        let kind = match field.r#type() {
            Type::Message | Type::Enum | Type::Group => field.type_name().trim_start_matches('.').to_owned(),
            other => other.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
        };
        let label = if field.label() == Label::Repeated { "repeated" } else { "single" };
        let one = match field.oneof_index {
            Some(index) => format!(" oneof {}", message.oneof_decl[index as usize].name()),
            None => String::new(),
        };
        out.insert(format!("{full}.{} = {} {kind} {label}{one}", field.name(), field.number()));
    }
    for nested in &message.nested_type {
        messages(out, nested, &full);
    }
    for item in &message.enum_type {
        enums(out, item, &full);
    }
}

fn compiled() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a descriptor set");
    let mut out = BTreeSet::new();
    for file in set.file.iter().filter(|file| !file.package().starts_with("google.protobuf")) {
        for message in &file.message_type {
            messages(&mut out, message, file.package());
        }
        for item in &file.enum_type {
            enums(&mut out, item, file.package());
        }
        for service in &file.service {
            for method in &service.method {
                let stream = |yes| if yes { " stream" } else { "" };
                out.insert(format!(
                    "rpc {}.{}.{} {}{} -> {}{}",
                    file.package(),
                    service.name(),
                    method.name(),
                    method.input_type().trim_start_matches('.'),
                    stream(method.client_streaming()),
                    method.output_type().trim_start_matches('.'),
                    stream(method.server_streaming()),
                ));
            }
        }
    }
    out
}

#[test]
fn names_and_numbers_are_the_published_ones() {
    let published: BTreeSet<String> = FACTS.lines().map(str::to_owned).collect();
    assert!(published.len() > 800, "the facts file is cut short");
    let ours = compiled();
    let missing: Vec<_> = published.difference(&ours).collect();
    let extra: Vec<_> = ours.difference(&published).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:#?}, extra {extra:#?}");
}
