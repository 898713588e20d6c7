//! Values of translated types (P4Runtime 8.4.6 and 18.1): what the controller writes against what the program computes with.
//!
//! - `bit<W>`: the same number, but for the reserved CPU port of port types.
//! - `string`: a known port name stands for its port, a decimal number for itself, and any other string gets a value of its own
//!   at first use, from the top of the range down.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use p4runtime_proto::{
    bytestring,
    p4::config::v1::{self as info, P4Info, p4_new_type_spec, p4_new_type_translation},
};
use parking_lot::{Mutex, RwLock};

use super::failure::{Failure, Outcome};

/// The CPU port in the controller's 32-bit numbering (P4Runtime 18.1.1).
const SDN_PORT_CPU: u64 = 0xffff_fffd;

/// How one field's values are exchanged.
#[derive(Clone, Debug, Default)]
pub enum Translation {
    /// As they are.
    #[default]
    None,
    /// As a number of another width.
    Bits {
        /// Bits on the controller's side.
        width: usize,
        /// The program's CPU port, for port types.
        cpu_port: Option<u64>,
    },
    /// As a string.
    String { names: Arc<Names> },
}

/// Strings of one type and their values.
#[derive(Debug, Default)]
pub struct Names(RwLock<Maps>);

#[derive(Debug, Default)]
struct Maps {
    values: HashMap<String, u128>,
    names: HashMap<u128, String>,
}

impl Names {
    fn value(&self, name: &str, width: usize) -> Outcome<u128> {
        if let Some(value) = self.0.read().values.get(name) {
            return Ok(*value);
        }
        let max = if width >= 128 { u128::MAX } else { (1 << width) - 1 };
        let mut maps = self.0.write();
        if let Some(value) = maps.values.get(name) {
            return Ok(*value);
        }
        let number = name.parse::<u128>().ok().filter(|value| *value <= max);
        let value = number
            .into_iter()
            .chain((1..max).rev())
            .find(|value| !maps.names.contains_key(value))
            .ok_or_else(|| Failure::exhausted(format!("no value of {width} bits is free for \"{name}\"")))?;
        maps.bind(name, value);
        Ok(value)
    }

    fn name(&self, value: u128) -> String {
        self.0.read().names.get(&value).cloned().unwrap_or_else(|| value.to_string())
    }
}

impl Maps {
    fn bind(&mut self, name: &str, value: u128) {
        self.values.insert(name.to_owned(), value);
        self.names.insert(value, name.to_owned());
    }
}

/// The string types of a device. They outlive a change of the pipeline, so that kept entries keep their meaning.
#[derive(Debug, Default)]
pub struct Registry {
    /// By URI.
    types: Mutex<HashMap<String, Arc<Names>>>,
    ports: Mutex<HashMap<String, u64>>,
    cpu_port: Mutex<Option<u64>>,
}

fn is_port(uri: &str) -> bool {
    uri.to_ascii_lowercase().contains("port")
}

impl Registry {
    /// Names a port; string types with "port" in their URI know it from then on.
    pub fn name_port(&self, name: &str, number: u64) {
        self.ports.lock().insert(name.to_owned(), number);
        for (uri, names) in self.types.lock().iter() {
            if is_port(uri) {
                names.0.write().bind(name, number.into());
            }
        }
    }

    /// Sets the port that packet-ins leave by.
    pub fn set_cpu_port(&self, port: Option<u64>) {
        *self.cpu_port.lock() = port;
    }

    /// The device's number of the port a controller names in bytes without a type of their own (watch ports, replicas).
    pub fn port(&self, bytes: &[u8], typed: &Translation) -> Outcome<u32> {
        let number = match typed {
            Translation::String { names } => {
                let name = std::str::from_utf8(bytes).unwrap_or_default();
                names.value(name, 32)? as u64
            }
            _ => {
                bytestring::check(bytes, 32).map_err(|e| Failure::out_of_range(format!("port {e}")))?;
                bytestring::decode_u64(bytes).unwrap_or_default()
            }
        };
        match *self.cpu_port.lock() {
            Some(cpu) if number == SDN_PORT_CPU => Ok(cpu as u32),
            _ => u32::try_from(number)
                .map_err(|_| Failure::out_of_range(format!("port {number} needs more than 32 bits"))),
        }
    }

    fn names(&self, uri: &str) -> Arc<Names> {
        let mut types = self.types.lock();
        let names = types.entry(uri.to_owned()).or_insert_with(|| {
            let names = Names::default();
            if is_port(uri) {
                let mut maps = names.0.write();
                for (name, port) in self.ports.lock().iter() {
                    maps.bind(name, (*port).into());
                }
                drop(maps);
            }
            Arc::new(names)
        });
        names.clone()
    }
}

/// The translated types of one P4Info.
#[derive(Default)]
pub struct Translations {
    registry: Arc<Registry>,
    /// Fields of the program's header types, in order: for controller headers, whose widths P4Info hides.
    headers: Vec<Vec<(String, usize)>>,
}

impl Translations {
    /// With the device's string types and the header types of the program (names and widths of fields).
    pub fn new(registry: Arc<Registry>, headers: Vec<Vec<(String, usize)>>) -> Self {
        Translations { registry, headers }
    }

    /// The device's string types.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    fn spec<'a>(
        info: &'a P4Info,
        type_name: Option<&info::P4NamedType>,
    ) -> Outcome<Option<&'a info::P4NewTypeTranslation>> {
        let Some(name) = type_name else { return Ok(None) };
        let spec = info.type_info.as_ref().and_then(|types| types.new_types.get(&name.name));
        let Some(spec) = spec else {
            // Serializable enums may be named here as well: they travel as their numbers.
            let types = info.type_info.as_ref();
            let known = types.is_some_and(|types| {
                types.serializable_enums.contains_key(&name.name) || types.enums.contains_key(&name.name)
            });
            if known {
                return Ok(None);
            }
            return Err(Failure::invalid(format!("P4Info has no type \"{}\"", name.name)));
        };
        match &spec.representation {
            Some(p4_new_type_spec::Representation::TranslatedType(translated)) => Ok(Some(translated)),
            _ => Ok(None),
        }
    }

    /// The translation of a field of `width` bits in the program.
    pub fn of(&self, info: &P4Info, type_name: Option<&info::P4NamedType>, width: usize) -> Outcome<Translation> {
        let Some(spec) = Self::spec(info, type_name)? else { return Ok(Translation::None) };
        match &spec.sdn_type {
            Some(p4_new_type_translation::SdnType::SdnBitwidth(bits)) => {
                let cpu_port = (is_port(&spec.uri) && width < 32).then(|| *self.registry.cpu_port.lock()).flatten();
                Ok(Translation::Bits { width: usize::try_from(*bits).unwrap_or(0), cpu_port })
            }
            Some(p4_new_type_translation::SdnType::SdnString(_)) => {
                if width > 128 {
                    return Err(Failure::invalid(format!(
                        "type \"{}\": strings stand for at most 128 bits, not {width}",
                        spec.uri
                    )));
                }
                Ok(Translation::String { names: self.registry.names(&spec.uri) })
            }
            None => Ok(Translation::None),
        }
    }

    /// The type of ports in bytes without a type of their own: strings when P4Info has a string type for ports.
    pub fn ports(&self, info: &P4Info) -> Translation {
        let types = info.type_info.as_ref();
        let specs = types.into_iter().flat_map(|types| types.new_types.values());
        let mut uris = specs.filter_map(|spec| match &spec.representation {
            Some(p4_new_type_spec::Representation::TranslatedType(t))
                if is_port(&t.uri) && matches!(t.sdn_type, Some(p4_new_type_translation::SdnType::SdnString(_))) =>
            {
                Some(&t.uri)
            }
            _ => None,
        });
        match uris.next() {
            Some(uri) => Translation::String { names: self.registry.names(uri) },
            None => Translation::None,
        }
    }

    /// Bits of each field of a controller header in the program; none when the program lacks the header and P4Info does not
    /// say them.
    pub fn header_widths(&self, header: &info::ControllerPacketMetadata) -> Option<Vec<usize>> {
        let same = |fields: &&Vec<(String, usize)>| {
            fields.len() == header.metadata.len()
                && fields.iter().zip(&header.metadata).all(|((name, _), field)| *name == field.name)
        };
        if let Some(fields) = self.headers.iter().find(same) {
            return Some(fields.iter().map(|(_, width)| *width).collect());
        }
        let stated = |field: &info::controller_packet_metadata::Metadata| {
            usize::try_from(field.bitwidth).ok().filter(|width| *width > 0)
        };
        header.metadata.iter().map(stated).collect()
    }
}

impl Translation {
    /// Writes the program's value into `out`, right-aligned; `width` is its size in bits.
    pub fn to_program(&self, value: &[u8], width: usize, out: &mut [u8]) -> Outcome<()> {
        match self {
            Translation::None => fill(value, width, out),
            Translation::Bits { width: sdn, cpu_port } => {
                bytestring::check(value, *sdn).map_err(|e| Failure::out_of_range(e.to_string()))?;
                if let (Some(cpu), Ok(SDN_PORT_CPU)) = (cpu_port, bytestring::decode_u64(value)) {
                    return fill(&cpu.to_be_bytes(), width, out);
                }
                fill(value, width, out)
            }
            Translation::String { names } => {
                let name =
                    std::str::from_utf8(value).map_err(|_| Failure::invalid("a translated string is not UTF-8"))?;
                if name.is_empty() {
                    return Err(Failure::invalid("a translated string is empty"));
                }
                fill(&names.value(name, width)?.to_be_bytes(), width, out)
            }
        }
    }

    /// What the controller reads for the program's value.
    pub fn to_controller(&self, value: &[u8]) -> Bytes {
        match self {
            Translation::None => bytestring::encode_bytes(value),
            Translation::Bits { cpu_port, .. } => match (cpu_port, bytestring::decode_u64(value)) {
                (Some(cpu), Ok(number)) if number == *cpu => bytestring::encode(SDN_PORT_CPU.into()),
                _ => bytestring::encode_bytes(value),
            },
            Translation::String { names } => Bytes::from(names.name(bytestring::decode(value).unwrap_or_default())),
        }
    }

    /// The same without a copy where there is no translation; `own` holds what is translated.
    pub fn shown<'a>(&self, value: &'a [u8], own: &'a mut Bytes) -> &'a [u8] {
        match self {
            Translation::None => match bytestring::canonical(value) {
                [] => &[0],
                short => short,
            },
            _ => {
                *own = self.to_controller(value);
                own
            }
        }
    }

    /// Whether values are numbers the controller and the program both order and mask alike.
    pub fn is_numeric(&self) -> bool {
        !matches!(self, Translation::String { .. })
    }
}

fn fill(value: &[u8], width: usize, out: &mut [u8]) -> Outcome<()> {
    let short = bytestring::check(value, width).map_err(|e| Failure::out_of_range(e.to_string()))?;
    let short = &short[short.len().saturating_sub(out.len())..];
    let at = out.len() - short.len();
    out[..at].fill(0);
    out[at..].copy_from_slice(short);
    Ok(())
}

/// Names and widths of the header types in a BMv2 JSON.
pub fn header_types(json: &[u8]) -> Vec<Vec<(String, usize)>> {
    #[derive(serde::Deserialize)]
    struct Root {
        #[serde(default)]
        header_types: Vec<HeaderType>,
    }
    #[derive(serde::Deserialize)]
    struct HeaderType {
        #[serde(default)]
        fields: Vec<serde_json::Value>,
    }
    let Ok(root) = serde_json::from_slice::<Root>(json) else { return Vec::new() };
    let field = |value: &serde_json::Value| {
        Some((value.get(0)?.as_str()?.to_owned(), usize::try_from(value.get(1)?.as_u64()?).ok()?))
    };
    let types = root.header_types.iter();
    types.map(|header| header.fields.iter().filter_map(field).collect()).collect()
}

/// Values that entries of a pipeline may still name: kept for the tests of this file.
#[cfg(test)]
fn values(names: &Names) -> std::collections::HashSet<u128> {
    names.0.read().names.keys().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_get_stable_values() {
        let registry = Registry::default();
        registry.name_port("eth3", 3);
        let names = registry.names("sai_port");
        let t = Translation::String { names: names.clone() };
        let mut out = [0; 2];
        t.to_program(b"eth3", 9, &mut out).unwrap();
        assert_eq!(out, [0, 3]);
        t.to_program(b"17", 9, &mut out).unwrap();
        assert_eq!(out, [0, 17]);
        t.to_program(b"vrf-a", 9, &mut out).unwrap();
        let first = out;
        t.to_program(b"vrf-b", 9, &mut out).unwrap();
        assert_ne!(first, out);
        t.to_program(b"vrf-a", 9, &mut out).unwrap();
        assert_eq!(first, out);
        assert_eq!(t.to_controller(&first), "vrf-a");
        assert_eq!(t.to_controller(&[0, 3]), "eth3");
        // A value nobody named reads as its number.
        assert_eq!(t.to_controller(&[0, 99]), "99");
        assert_eq!(values(&names).len(), 4);
        assert_eq!(t.to_program(b"", 9, &mut out).unwrap_err().code, tonic::Code::InvalidArgument);
    }

    #[test]
    fn strings_may_stand_for_an_address() {
        let t = Translation::String { names: Arc::default() };
        let (mut a, mut b) = ([0; 16], [0; 16]);
        t.to_program(b"2001:db8::1", 128, &mut a).unwrap();
        t.to_program(b"2001:db8::2", 128, &mut b).unwrap();
        assert_ne!(a, b);
        assert_eq!([t.to_controller(&a), t.to_controller(&b)], ["2001:db8::1", "2001:db8::2"]);
        assert_eq!(t.to_controller(&[0xff; 16]), u128::MAX.to_string());
    }

    #[test]
    fn a_range_runs_out() {
        let names = Names::default();
        assert!(names.value("a", 2).is_ok() && names.value("b", 2).is_ok());
        assert_eq!(names.value("c", 2).unwrap_err().code, tonic::Code::ResourceExhausted);
    }

    #[test]
    fn numbers_pass_when_they_fit() {
        let t = Translation::Bits { width: 32, cpu_port: Some(510) };
        let mut out = [9; 2];
        t.to_program(&[0, 0, 1, 1], 9, &mut out).unwrap();
        assert_eq!(out, [1, 1]);
        assert_eq!(t.to_program(&[2, 0], 9, &mut out).unwrap_err().code, tonic::Code::OutOfRange);
        t.to_program(&[0xff, 0xff, 0xff, 0xfd], 9, &mut out).unwrap();
        assert_eq!(out, [1, 254]);
        assert_eq!(t.to_controller(&[1, 254]).as_ref(), [0xff, 0xff, 0xff, 0xfd]);
        assert_eq!(t.to_controller(&[0, 4]).as_ref(), [4]);
    }

    #[test]
    fn header_types_are_found() {
        let json = br#"{"header_types":[{"name":"h","id":0,"fields":[["a",9,false],["b",7,false]]}]}"#;
        assert_eq!(header_types(json), [vec![("a".to_owned(), 9), ("b".to_owned(), 7)]]);
    }
}
