//! Actions and their arguments, one-shot groups, meter and counter values, typed data: from messages to what is stored, and back.

use std::sync::Arc;

use bytes::Bytes;
use p4runtime_proto::{
    bytestring,
    p4::{
        config::v1::{self as info, action_ref, meter_spec},
        v1::{
            self,
            action_profile_action_set::{ActionSelectionMode, SizeSemantics},
        },
    },
};
use smallvec::SmallVec;

use super::{
    failure::{Failure, Outcome},
    plane::{CallRef, Count},
    schema::{Table, TableAction},
};
use crate::state::meter::MeterConfig;

/// An action as one table runs it: an index into [`Table::actions`] and packed arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub at: u16,
    pub args: SmallVec<[u8; 16]>,
}

/// Where an action is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Entry,
    Default,
}

impl Call {
    /// Checks and packs an action.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when the table lacks the action or parameters are wrong, `PERMISSION_DENIED` when the action's scope forbids
    /// the use, `OUT_OF_RANGE` for values that do not fit.
    pub fn pack(table: &Table, action: &v1::Action, usage: Use) -> Outcome<Call> {
        let params = action.params.iter().map(|param| (param.param_id, &*param.value));
        Call::pack_params(table, action.action_id, params, usage)
    }

    /// The same for an action given by its id and the ids and values of its parameters.
    ///
    /// # Errors
    /// As [`Call::pack`].
    pub fn pack_params<'m>(
        table: &Table,
        id: u32,
        given: impl ExactSizeIterator<Item = (u32, &'m [u8])>,
        usage: Use,
    ) -> Outcome<Call> {
        let found = table.actions.iter().position(|known| known.action.id == id);
        let Some(at) = found else {
            return Err(Failure::invalid(format!(
                "action: id {id:#010x} is not an action of table \"{}\"",
                table.name
            )));
        };
        let known = &table.actions[at];
        check_scope(known, usage)?;
        let mut args = SmallVec::from_elem(0, known.action.arg_bytes);
        let params = &known.action.params;
        let fail = |what: String| Failure::invalid(format!("action \"{}\": {what}", known.action.name));
        let mut seen: u128 = 0;
        let count = given.len();
        for (id, value) in given {
            let guess = (id as usize).wrapping_sub(1);
            let at = match params.get(guess) {
                Some(param) if param.id == id => Some(guess),
                _ => params.iter().position(|param| param.id == id),
            };
            let at = at.ok_or_else(|| fail(format!("it has no parameter with id {id}")))?;
            let param = &params[at];
            let bit = 1u128 << (at & 127);
            if seen & bit != 0 {
                return Err(fail(format!("parameter \"{}\" is there twice", param.name)));
            }
            seen |= bit;
            let place = &mut args[param.offset..param.offset + param.bytes];
            param.translation.to_program(value, param.width, place).map_err(|failure| {
                failure.within(format_args!("action \"{}\", parameter \"{}\"", known.action.name, param.name))
            })?;
        }
        if count < params.len() {
            let missing = params.iter().enumerate().find(|(at, _)| seen & 1u128 << (at & 127) == 0);
            let name = missing.map_or("", |(_, param)| param.name.as_str());
            return Err(fail(format!("parameter \"{name}\" is missing")));
        }
        Ok(Call { at: at as u16, args })
    }

    /// The message of a stored action.
    pub fn unpack(&self, table: &Table) -> v1::Action {
        let action = &table.actions[usize::from(self.at)].action;
        let params = action
            .params
            .iter()
            .map(|param| {
                let value = &self.args[param.offset..param.offset + param.bytes];
                v1::action::Param { param_id: param.id, value: param.translation.to_controller(value) }
            })
            .collect();
        v1::Action { action_id: action.id, params }
    }

    /// For the data plane.
    pub fn as_ref<'a>(&'a self, table: &Table) -> CallRef<'a> {
        CallRef { action: table.actions[usize::from(self.at)].program, args: &self.args }
    }

    /// The id of the action.
    pub fn action_id(&self, table: &Table) -> u32 {
        table.actions[usize::from(self.at)].action.id
    }
}

fn check_scope(known: &TableAction, usage: Use) -> Outcome<()> {
    use action_ref::Scope;
    let denied = match (known.scope, usage) {
        (Scope::TableOnly, Use::Default) => "is for entries only, not for the default one",
        (Scope::DefaultOnly, Use::Entry) => "is for the default entry only",
        (Scope::GroupAction, _) => "is for groups only",
        _ => return Ok(()),
    };
    Err(Failure::denied(format!("action \"{}\" {denied}", known.action.name)))
}

/// Liveness that a member depends on, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    /// The deprecated number.
    Number(i32),
    Port(Bytes),
}

/// One action of a one-shot group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneShotAction {
    pub call: Call,
    pub weight: i32,
    pub watch: Option<Watch>,
    /// The watched port in the device's numbering.
    pub port: Option<u32>,
}

/// A one-shot group, kept as it was written (P4Runtime 9.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneShot {
    pub actions: Vec<OneShotAction>,
    pub mode: ActionSelectionMode,
    pub semantics: SizeSemantics,
    /// Runs before the chosen action.
    pub first: Option<Call>,
}

impl OneShot {
    /// The message that was written, canonical.
    pub fn unpack(&self, table: &Table) -> v1::ActionProfileActionSet {
        use v1::action_profile_action::WatchKind;
        let actions = self.actions.iter().map(|one| v1::ActionProfileAction {
            action: Some(one.call.unpack(table)),
            weight: one.weight,
            watch_kind: one.watch.as_ref().map(|watch| match watch {
                #[allow(deprecated)]
                Watch::Number(port) => WatchKind::Watch(*port),
                Watch::Port(port) => WatchKind::WatchPort(port.clone()),
            }),
        });
        v1::ActionProfileActionSet {
            action_profile_actions: actions.collect(),
            action_selection_mode: self.mode.into(),
            size_semantics: self.semantics.into(),
            group_action: self.first.as_ref().map(|call| call.unpack(table)),
        }
    }
}

/// What an entry does, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Call(Call),
    Member(u32),
    Group(u32),
    OneShot(Arc<OneShot>),
}

impl Value {
    /// The message of a stored action.
    pub fn unpack(&self, table: &Table) -> v1::TableAction {
        use v1::table_action::Type;
        let kind = match self {
            Value::Call(call) => Type::Action(call.unpack(table)),
            Value::Member(id) => Type::ActionProfileMemberId(*id),
            Value::Group(id) => Type::ActionProfileGroupId(*id),
            Value::OneShot(set) => Type::ActionProfileActionSet(set.unpack(table)),
        };
        v1::TableAction { r#type: Some(kind) }
    }
}

fn unsigned(name: &str, value: i64) -> Outcome<u64> {
    u64::try_from(value).map_err(|_| Failure::invalid(format!("{name} {value} is negative")))
}

/// Checks a counter's value.
pub fn count(data: &v1::CounterData) -> Outcome<Count> {
    Ok(Count { packets: unsigned("packet_count", data.packet_count)?, bytes: unsigned("byte_count", data.byte_count)? })
}

/// The message of a counter's value.
pub fn counter_data(count: Count) -> v1::CounterData {
    v1::CounterData {
        packet_count: i64::try_from(count.packets).unwrap_or(i64::MAX),
        byte_count: i64::try_from(count.bytes).unwrap_or(i64::MAX),
    }
}

/// Checks a meter's configuration against the kind of the meter (P4Runtime 9.4); an empty message is the default one.
pub fn rates(config: &v1::MeterConfig, kind: meter_spec::Type) -> Outcome<Option<MeterConfig>> {
    struct Rates {
        cir: u64,
        cburst: u64,
        pir: u64,
        pburst: u64,
    }
    let rates = Rates {
        cir: unsigned("cir", config.cir)?,
        cburst: unsigned("cburst", config.cburst)?,
        pir: unsigned("pir", config.pir)?,
        pburst: unsigned("pburst", config.pburst)?,
    };
    let eburst = unsigned("eburst", config.eburst)?;
    let single = kind != meter_spec::Type::TwoRateThreeColor;
    if single && (rates.pir != rates.cir || rates.pburst != rates.cburst) {
        return Err(Failure::invalid(format!("a {} meter needs pir = cir and pburst = cburst", kind.as_str_name())));
    }
    if kind != meter_spec::Type::SingleRateThreeColor && eburst != 0 {
        return Err(Failure::invalid(format!("a {} meter takes no eburst", kind.as_str_name())));
    }
    if *config == v1::MeterConfig::default() {
        return Ok(None);
    }
    let Rates { cir, cburst, pir, pburst } = rates;
    Ok(Some(if single {
        MeterConfig::SingleRate { cir, cburst, eburst }
    } else {
        MeterConfig::TwoRate { cir, cburst, pir, pburst }
    }))
}

/// Whether a write clears a meter's colour counters, which is all that it may do to them (P4Runtime 9.4).
pub fn clears_colors(data: Option<&v1::MeterCounterData>) -> Outcome<bool> {
    let Some(data) = data else { return Ok(false) };
    let zero = v1::CounterData::default();
    match [data.green, data.yellow, data.red].iter().flatten().all(|count| *count == zero) {
        true => Ok(true),
        false => Err(Failure::invalid("counters by meter colour can be set to 0 only")),
    }
}

/// The message of a meter's colour counters.
pub fn colors(counts: [Count; 3]) -> v1::MeterCounterData {
    let [green, yellow, red] = counts.map(|count| Some(counter_data(count)));
    v1::MeterCounterData { green, yellow, red }
}

/// Resolves types and (un)packs values of registers and digests (P4Runtime 8.4).
pub struct Data<'a> {
    pub types: Option<&'a info::P4TypeInfo>,
}

/// How a bit string of a type is written.
enum Leaf {
    Unsigned,
    Signed,
}

impl Data<'_> {
    /// Reads a register's value into `width` bits.
    pub fn to_bits(&self, spec: &info::P4DataTypeSpec, data: &v1::P4Data, width: usize) -> Outcome<Vec<u8>> {
        use info::p4_data_type_spec::TypeSpec;
        use v1::p4_data::Data as Kind;
        let mut out = vec![0; width.div_ceil(8)];
        let wrong = || Failure::invalid("data is not of the register's type");
        match (&spec.type_spec, &data.data) {
            (_, None) => return Err(Failure::invalid("data is empty")),
            (Some(TypeSpec::Bool(_)), Some(Kind::Bool(value))) => {
                if let Some(last) = out.last_mut() {
                    *last = u8::from(*value);
                }
            }
            (Some(TypeSpec::SerializableEnum(_)), Some(Kind::EnumValue(value))) => {
                place(value, width, &mut out)?;
            }
            (Some(TypeSpec::Bitstring(bits)), Some(Kind::Bitstring(value))) => match leaf(bits) {
                Leaf::Unsigned => place(value, width, &mut out)?,
                Leaf::Signed => place_signed(value, width, &mut out)?,
            },
            (Some(TypeSpec::NewType(_)) | None, Some(Kind::Bitstring(value))) => {
                place(value, width, &mut out)?;
            }
            _ => return Err(wrong()),
        }
        Ok(out)
    }

    /// The message of a register's value.
    pub fn cell(&self, spec: &info::P4DataTypeSpec, width: usize, value: &[u8]) -> v1::P4Data {
        let mut parts = std::iter::once((width, value));
        self.message(Some(spec), &mut parts)
    }

    /// The message of a digest sample: each member in whole bytes.
    pub fn sample(&self, spec: &info::P4DataTypeSpec, widths: &[u32], sample: &[u8]) -> v1::P4Data {
        let mut at = 0;
        let mut parts = widths.iter().map(|width| {
            let bytes = (*width as usize).div_ceil(8);
            let end = (at + bytes).min(sample.len());
            let value = &sample[at.min(end)..end];
            at = end;
            (*width as usize, value)
        });
        self.message(Some(spec), &mut parts)
    }

    fn message(
        &self,
        spec: Option<&info::P4DataTypeSpec>,
        parts: &mut dyn Iterator<Item = (usize, &[u8])>,
    ) -> v1::P4Data {
        use info::p4_data_type_spec::TypeSpec;
        use v1::p4_data::Data as Kind;
        let types = self.types;
        let data = match spec.and_then(|spec| spec.type_spec.as_ref()) {
            Some(TypeSpec::Struct(name)) => {
                let members = types.and_then(|types| types.structs.get(&name.name));
                let members = members.map_or(&[][..], |spec| &spec.members);
                let members = members.iter().map(|member| self.message(member.type_spec.as_ref(), parts));
                Kind::Struct(v1::P4StructLike { members: members.collect() })
            }
            Some(TypeSpec::Tuple(tuple)) => {
                let members = tuple.members.iter().map(|member| self.message(Some(member), parts));
                Kind::Tuple(v1::P4StructLike { members: members.collect() })
            }
            Some(TypeSpec::Header(name)) => {
                let members = types.and_then(|types| types.headers.get(&name.name));
                let count = members.map_or(0, |spec| spec.members.len());
                let bitstrings = parts.take(count).map(|(_, value)| bytestring::encode_bytes(value)).collect();
                Kind::Header(v1::P4Header { is_valid: true, bitstrings })
            }
            Some(TypeSpec::Bool(_)) => {
                let (_, value) = parts.next().unwrap_or_default();
                Kind::Bool(value.iter().any(|b| *b != 0))
            }
            Some(TypeSpec::SerializableEnum(_)) => {
                let (_, value) = parts.next().unwrap_or_default();
                Kind::EnumValue(bytestring::encode_bytes(value))
            }
            Some(TypeSpec::Bitstring(bits)) if matches!(leaf(bits), Leaf::Signed) => {
                let (width, value) = parts.next().unwrap_or_default();
                Kind::Bitstring(signed_canonical(value, width))
            }
            _ => {
                let (_, value) = parts.next().unwrap_or_default();
                Kind::Bitstring(bytestring::encode_bytes(value))
            }
        };
        v1::P4Data { data: Some(data) }
    }
}

fn leaf(bits: &info::P4BitstringLikeTypeSpec) -> Leaf {
    match &bits.type_spec {
        Some(info::p4_bitstring_like_type_spec::TypeSpec::Int(_)) => Leaf::Signed,
        _ => Leaf::Unsigned,
    }
}

fn place(value: &[u8], width: usize, out: &mut [u8]) -> Outcome<()> {
    let short = bytestring::check(value, width).map_err(|e| Failure::out_of_range(e.to_string()))?;
    let short = &short[short.len().saturating_sub(out.len())..];
    let at = out.len() - short.len();
    out[at..].copy_from_slice(short);
    Ok(())
}

/// Two's complement: the value must survive the cut to `width` bits.
fn place_signed(value: &[u8], width: usize, out: &mut [u8]) -> Outcome<()> {
    let Some(first) = value.first() else { return Err(Failure::out_of_range("is empty")) };
    let fill = if first & 0x80 != 0 { 0xff } else { 0 };
    let bit = |at: usize| match value.len().checked_sub(at / 8 + 1) {
        Some(byte) => value[byte] >> (at % 8) & 1 != 0,
        None => fill != 0,
    };
    let sign = bit(width.saturating_sub(1));
    if (width.saturating_sub(1)..value.len() * 8).any(|at| bit(at) != sign) || sign != (fill != 0) {
        return Err(Failure::out_of_range(format!("does not fit into int<{width}>")));
    }
    let len = out.len();
    for (at, byte) in out.iter_mut().enumerate() {
        let from_end = len - at;
        *byte = if from_end <= value.len() { value[value.len() - from_end] } else { fill };
    }
    if !width.is_multiple_of(8)
        && let Some(first) = out.first_mut()
    {
        *first &= 0xff >> (8 - width % 8);
    }
    Ok(())
}

fn signed_canonical(value: &[u8], width: usize) -> Bytes {
    let mut bytes = value.to_vec();
    let negative =
        width > 0 && bytes.len() * 8 >= width && bytes[bytes.len() - 1 - (width - 1) / 8] >> ((width - 1) % 8) & 1 != 0;
    if negative && !width.is_multiple_of(8) {
        let first = bytes.len() - 1 - (width - 1) / 8;
        bytes[first] |= 0xff << (width % 8);
    }
    let fill = if negative { 0xff } else { 0 };
    let mut start = 0;
    while start + 1 < bytes.len() && bytes[start] == fill && (bytes[start + 1] & 0x80 != 0) == negative {
        start += 1;
    }
    if bytes.is_empty() { Bytes::from_static(&[0]) } else { Bytes::from(bytes.split_off(start)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn signed_values_follow_the_table_of_the_specification() {
        let mut out = [0; 2];
        place_signed(&[0xfd, 0x1d], 12, &mut out).unwrap();
        assert_eq!(out, [0x0d, 0x1d]);
        assert_eq!(signed_canonical(&out, 12).as_ref(), [0xfd, 0x1d]);
        let mut one = [0];
        place_signed(&[0xff, 0x9d], 8, &mut one).unwrap();
        assert_eq!(signed_canonical(&one, 8).as_ref(), [0x9d]);
        assert_eq!(place_signed(&[0, 0x9d], 8, &mut one).unwrap_err().code, Code::OutOfRange);
        assert_eq!(place_signed(&[0x8d, 0x1d], 12, &mut out).unwrap_err().code, Code::OutOfRange);
        assert_eq!(place_signed(&[], 16, &mut out).unwrap_err().code, Code::OutOfRange);
        place_signed(&[0x63], 12, &mut out).unwrap();
        assert_eq!(signed_canonical(&out, 12).as_ref(), [0x63]);
        assert_eq!(signed_canonical(&[0, 0], 16).as_ref(), [0]);
    }

    #[test]
    fn meters_are_checked_by_kind() {
        use meter_spec::Type::{SingleRateThreeColor, SingleRateTwoColor, TwoRateThreeColor};
        let two = v1::MeterConfig { cir: 1, cburst: 2, pir: 3, pburst: 4, eburst: 0 };
        assert_eq!(
            rates(&two, TwoRateThreeColor),
            Ok(Some(MeterConfig::TwoRate { cir: 1, cburst: 2, pir: 3, pburst: 4 }))
        );
        let code = |config: &v1::MeterConfig, kind| rates(config, kind).unwrap_err().code;
        assert_eq!(code(&two, SingleRateThreeColor), Code::InvalidArgument);
        assert_eq!(code(&v1::MeterConfig { eburst: 1, ..two }, TwoRateThreeColor), Code::InvalidArgument);
        assert_eq!(code(&v1::MeterConfig { cir: -1, ..two }, TwoRateThreeColor), Code::InvalidArgument);
        let one = v1::MeterConfig { cir: 1, cburst: 2, pir: 1, pburst: 2, eburst: 0 };
        for kind in [SingleRateTwoColor, SingleRateThreeColor, TwoRateThreeColor] {
            assert!(rates(&one, kind).is_ok());
        }
        assert_eq!(code(&v1::MeterConfig { eburst: 1, ..one }, SingleRateTwoColor), Code::InvalidArgument);
        assert_eq!(rates(&v1::MeterConfig::default(), TwoRateThreeColor), Ok(None));
    }

    #[test]
    fn samples_take_the_shape_of_their_type() {
        use info::{p4_data_type_spec::TypeSpec, *};
        let bits = |bitwidth| P4DataTypeSpec {
            type_spec: Some(TypeSpec::Bitstring(P4BitstringLikeTypeSpec {
                type_spec: Some(p4_bitstring_like_type_spec::TypeSpec::Bit(P4BitTypeSpec { bitwidth })),
                ..Default::default()
            })),
        };
        let member = |name: &str, spec| p4_struct_type_spec::Member { name: name.into(), type_spec: Some(spec) };
        let members = vec![member("mac", bits(48)), member("port", bits(9))];
        let mut types = P4TypeInfo::default();
        types.structs.insert("d".into(), P4StructTypeSpec { members, ..Default::default() });
        let spec = P4DataTypeSpec { type_spec: Some(TypeSpec::Struct(P4NamedType { name: "d".into() })) };
        let data = Data { types: Some(&types) };
        let message = data.sample(&spec, &[48, 9], &[0, 0, 0, 0, 1, 2, 0, 5]);
        let Some(v1::p4_data::Data::Struct(s)) = message.data else { panic!("{message:?}") };
        let bitstrings: Vec<_> = s.members.iter().map(|m| m.data.clone().unwrap()).collect();
        assert_eq!(bitstrings[0], v1::p4_data::Data::Bitstring(Bytes::from_static(&[1, 2])));
        assert_eq!(bitstrings[1], v1::p4_data::Data::Bitstring(Bytes::from_static(&[5])));
    }
}
