//! From BMv2 JSON to [`Program`]: names become indices, fields become offsets, expressions become typed trees.

mod action;
mod control;
mod expr;
mod layout;
mod narrow;
mod parser;
mod stale;
mod surplus;

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

pub use control::InitialEntry;

use super::code::{Bool, Checksum, Code, Dst, FieldRef, Fld};
use super::info::*;
use super::{Kind, Program};
use crate::json::{LoadError, Node, parse};

type Result<T> = std::result::Result<T, LoadError>;

/// Programs may nest expressions this deep; evaluation recurses.
const MAX_EXPR_DEPTH: usize = 400;
/// Stack for the recursive part of loading: enough for the deepest document that is accepted.
const LOAD_STACK: usize = 64 << 20;

/// Everything known so far while a program is lowered.
#[derive(Default)]
pub(super) struct Lower {
    code: Code,
    header_ids: HashMap<String, u16>,
    header_by_json_id: HashMap<i64, u16>,
    stack_ids: HashMap<String, u16>,
    union_ids: HashMap<String, u16>,
    union_by_json_id: HashMap<i64, u16>,
    union_stack_ids: HashMap<String, u16>,
    aliases: HashMap<String, (u16, usize)>,
    /// Fields that the program itself reads or writes somewhere.
    used: HashSet<(u16, usize)>,
    calc_ids: HashMap<String, u16>,
    register_ids: HashMap<String, u16>,
    counter_ids: HashMap<String, u16>,
    meter_ids: HashMap<String, u16>,
    set_ids: HashMap<String, u16>,
    action_ids: HashMap<i64, usize>,
    tables: Vec<TableInfo>,
    actions: Vec<ActionInfo>,
    profiles: Vec<ProfileInfo>,
    counters: Vec<CounterInfo>,
    meters: Vec<MeterInfo>,
    meter_targets: Vec<Option<Dst>>,
    registers: Vec<RegisterInfo>,
    digests: Vec<DigestInfo>,
    value_sets: Vec<ValueSetInfo>,
    errors: Vec<(String, u32)>,
    /// Parameters of the action being lowered.
    params: Vec<Param>,
    /// Parameters, by their action's id in the JSON, that the program gives numbers below zero.
    below_zero: HashSet<(i64, usize)>,
    depth: usize,
    /// Signed fields have a surplus.
    with_surplus: bool,
    /// What tables read as zeros while its header is not valid.
    stale: stale::Stale,
}

/// A parameter of the action being lowered: its first word, its width, and whether it is read as a signed number.
#[derive(Clone, Copy)]
struct Param {
    word: u16,
    width: u32,
    signed: bool,
}

pub(super) fn load(json: &[u8]) -> Result<Program> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(LOAD_STACK);
        let run = move || {
            let value = parse(json)?;
            Lower::default().program(&Node::root(&value))
        };
        let failed = |problem: String| LoadError { path: "$".into(), problem };
        match thread.spawn_scoped(scope, run) {
            Ok(handle) => handle.join().unwrap_or_else(|_| Err(failed("the loader failed on this document".into()))),
            Err(error) => Err(failed(format!("no thread for loading: {error}"))),
        }
    })
}

impl Lower {
    fn program(mut self, root: &Node<'_>) -> Result<Program> {
        if let Some(meta) = root.opt("__meta__")? {
            let version = meta.get("version")?;
            let [major, _] = version.tuple::<2>()?;
            if major.int()? != 2 {
                return Err(major.err(format!("found version {}, expected 2", major.int()?)));
            }
        }
        for key in ["header_types", "headers", "parsers", "deparsers", "actions", "pipelines"] {
            root.get(key)?;
        }
        if let Some(node) = root.list("extern_instances")?.first() {
            return Err(node.err("extern instances are not part of v1model"));
        }
        self.with_surplus = surplus::possible(root)?;
        self.below_zero = surplus::below_zero(root)?;
        self.headers(root)?;
        self.aliases(root)?;
        self.errors(root)?;
        self.arrays(root)?;
        self.value_sets(root)?;
        self.calculations(root)?;
        self.lists(root)?;
        self.actions(root)?;
        self.parsers(root)?;
        self.stale = stale::Stale::of(&self.code);
        self.pipelines(root)?;
        self.deparser(root)?;
        self.checksums(root)?;
        self.standard(root)?;
        self.bind_direct(root)?;
        Ok(self.finish())
    }

    fn finish(mut self) -> Program {
        let mut names = HashMap::new();
        let mut add = |kind, list: Vec<&String>| {
            for (id, name) in list.into_iter().enumerate() {
                names.entry((kind, name.clone())).or_insert(id);
            }
        };
        add(Kind::Table, self.tables.iter().map(|x| &x.name).collect());
        add(Kind::Action, self.actions.iter().map(|x| &x.name).collect());
        add(Kind::Profile, self.profiles.iter().map(|x| &x.name).collect());
        add(Kind::Counter, self.counters.iter().map(|x| &x.name).collect());
        add(Kind::Meter, self.meters.iter().map(|x| &x.name).collect());
        add(Kind::Register, self.registers.iter().map(|x| &x.name).collect());
        add(Kind::Digest, self.digests.iter().map(|x| &x.name).collect());
        add(Kind::ValueSet, self.value_sets.iter().map(|x| &x.name).collect());
        self.code.max_key = self.code.tables.iter().map(|t| t.words).max().unwrap_or(0);
        Program {
            tables: self.tables,
            actions: self.actions,
            profiles: self.profiles,
            counters: self.counters,
            meters: self.meters,
            registers: self.registers,
            digests: self.digests,
            value_sets: self.value_sets,
            errors: self.errors,
            code: self.code,
            names,
            native: OnceLock::new(),
            compiling: AtomicBool::new(false),
        }
    }

    fn errors(&mut self, root: &Node<'_>) -> Result<()> {
        for node in root.list("errors")? {
            let [name, value] = node.tuple::<2>()?;
            self.errors.push((name.str()?.to_owned(), value.uint(u64::from(u32::MAX))? as u32));
        }
        // An error the program does not declare gets a value that no declared one has, as on BMv2.
        let mut spare = self.errors.iter().map(|e| e.1).max().unwrap_or(0);
        let mut of = |name: &str, known: Option<u32>| {
            let declared = self.errors.iter().find(|e| e.0 == name).map(|e| e.1);
            declared.or(known).unwrap_or_else(|| {
                spare = spare.wrapping_add(1);
                spare
            })
        };
        let nothing = self.errors.is_empty().then_some(0);
        self.code.err.none = of("NoError", nothing);
        self.code.err.packet_too_short = of("PacketTooShort", None);
        self.code.err.stack_out_of_bounds = of("StackOutOfBounds", None);
        self.code.err.header_too_short = of("HeaderTooShort", None);
        self.code.err.invalid_argument = of("ParserInvalidArgument", None);
        Ok(())
    }

    fn arrays(&mut self, root: &Node<'_>) -> Result<()> {
        for node in root.list("counter_arrays")? {
            let direct = node.opt("is_direct")?.map_or(Ok(false), |n| n.bool())?;
            let name = node.get("name")?.str()?.to_owned();
            let size = if direct { 0 } else { node.get("size")?.uint(1 << 26)? as usize };
            self.counter_ids.insert(name.clone(), self.counters.len() as u16);
            self.counters.push(CounterInfo { name, size, table: None });
        }
        for node in root.list("meter_arrays")? {
            let direct = node.opt("is_direct")?.map_or(Ok(false), |n| n.bool())?;
            let name = node.get("name")?.str()?.to_owned();
            let unit = node.get("type")?;
            let unit = match unit.str()? {
                "packets" => MeterUnit::Packets,
                "bytes" => MeterUnit::Bytes,
                other => return Err(unit.err(format!("found \"{other}\", expected \"packets\" or \"bytes\""))),
            };
            let size = if direct { 0 } else { node.get("size")?.uint(1 << 24)? as usize };
            let target = match node.opt("result_target")? {
                Some(target) if direct => Some(self.field_dst(&target)?),
                _ => None,
            };
            self.meter_ids.insert(name.clone(), self.meters.len() as u16);
            self.meters.push(MeterInfo { name, size, unit, table: None });
            self.meter_targets.push(target);
        }
        for node in root.list("register_arrays")? {
            let name = node.get("name")?.str()?.to_owned();
            let bitwidth = node.get("bitwidth")?.uint(4_096)? as u32;
            let size = node.get("size")?.uint(1 << 26)? as usize;
            self.register_ids.insert(name.clone(), self.registers.len() as u16);
            self.registers.push(RegisterInfo { name, size, bitwidth });
        }
        Ok(())
    }

    fn value_sets(&mut self, root: &Node<'_>) -> Result<()> {
        for node in root.list("parse_vsets")? {
            let name = node.get("name")?.str()?.to_owned();
            let bitwidth = node.get("compressed_bitwidth")?.uint(4_096)? as u32;
            let size = node.opt("max_size")?.map_or(Ok(1 << 20), |n| n.uint(1 << 30))? as usize;
            self.set_ids.insert(name.clone(), self.value_sets.len() as u16);
            self.value_sets.push(ValueSetInfo { name, bitwidth, widths: Vec::new(), size });
        }
        Ok(())
    }

    fn lists(&mut self, root: &Node<'_>) -> Result<()> {
        for node in root.list("field_lists")? {
            let id = node.get("id")?.uint(u64::from(u16::MAX))? as usize;
            let mut fields: Vec<FieldRef> = self.list_fields(&node)?.into_iter().map(|(field, _)| field).collect();
            let all = self.code.headers.iter().flat_map(|header| &header.fields);
            let listed = all.filter(|field| fields.contains(&field.at)).filter_map(|field| field.surplus);
            fields.extend(listed.map(FieldRef::Narrow).collect::<Vec<_>>());
            if self.code.lists.len() <= id {
                self.code.lists.resize(id + 1, Vec::new());
            }
            self.code.lists[id] = fields;
        }
        for node in root.list("learn_lists")? {
            let id = node.get("id")?.uint(u64::from(u16::MAX))? as usize;
            let (fields, widths) = self.list_fields(&node)?.into_iter().unzip();
            if self.code.digest_by_id.len() <= id {
                self.code.digest_by_id.resize(id + 1, None);
            }
            self.code.digest_by_id[id] = Some(self.digests.len() as u16);
            self.code.digests.push(fields);
            let name = node.get("name")?.str()?.to_owned();
            self.digests.push(DigestInfo { name, json_id: id as u32, widths });
        }
        Ok(())
    }

    fn list_fields(&mut self, node: &Node<'_>) -> Result<Vec<(FieldRef, u32)>> {
        let mut fields = Vec::new();
        for element in node.list("elements")? {
            let ty = element.get("type")?;
            if ty.str()? != "field" {
                return Err(ty.err(format!("found \"{}\", expected \"field\"", ty.str()?)));
            }
            let (header, index) = self.field(&element.get("value")?)?;
            fields.push(self.field_at(header, index));
        }
        Ok(fields)
    }

    /// Direct counters and meters learn their tables.
    fn bind_direct(&mut self, root: &Node<'_>) -> Result<()> {
        for (key, is_meter) in [("counter_arrays", false), ("meter_arrays", true)] {
            for (index, node) in root.list(key)?.into_iter().enumerate() {
                if !node.opt("is_direct")?.map_or(Ok(false), |n| n.bool())? {
                    continue;
                }
                let Some(binding) = node.opt("binding")? else { continue };
                let table = self.tables.iter().position(|t| Ok(t.name.as_str()) == binding.str());
                let table = table.ok_or_else(|| binding.err("no table has this name"))?;
                let size = self.tables[table].size;
                if is_meter {
                    (self.meters[index].table, self.meters[index].size) = (Some(table), size);
                } else {
                    (self.counters[index].table, self.counters[index].size) = (Some(table), size);
                    self.tables[table].has_counters = true;
                }
            }
        }
        Ok(())
    }

    fn named<'a>(&self, map: &HashMap<String, u16>, node: &Node<'a>, what: &str) -> Result<u16> {
        let name = node.str()?;
        map.get(name).copied().ok_or_else(|| node.err(format!("no {what} is called \"{name}\"")))
    }

    /// The condition of a checksum or of a table.
    fn condition(&mut self, node: Option<Node<'_>>) -> Result<Option<Bool>> {
        node.map(|node| {
            let expr = self.expr(&node)?;
            self.bool(&expr, &node)
        })
        .transpose()
    }

    fn checksums(&mut self, root: &Node<'_>) -> Result<()> {
        for node in root.list("checksums")? {
            let (header, index) = self.field(&node.get("target")?)?;
            let (target, _) = self.field_at(header, index);
            let calc = self.named(&self.calc_ids, &node.get("calculation")?, "calculation")?;
            let cond = self.condition(node.opt("if_cond")?)?;
            let checksum = Checksum { header, target, calc, cond };
            let flag = |key| node.opt(key)?.map_or(Ok(true), |n| n.bool());
            let (verify, update): (Result<bool>, Result<bool>) = (flag("verify"), flag("update"));
            if verify? {
                self.code.verify.push(checksum.clone());
            }
            if update? {
                self.code.update.push(checksum);
            }
        }
        Ok(())
    }

    /// The fields the switch itself handles, under the names BMv2 knows them by or their aliases.
    fn standard(&mut self, root: &Node<'_>) -> Result<()> {
        let find = |name: &str, only_used: bool| -> Option<Fld> {
            let (header, field) = match self.aliases.get(name) {
                Some(&found) => found,
                None => {
                    let (header, field) = name.split_once('.')?;
                    let id = *self.header_ids.get(header)?;
                    let fields = &self.code.headers[usize::from(id)].fields;
                    (id, fields.iter().position(|f| f.name == field)?)
                }
            };
            if only_used && !self.used.contains(&(header, field)) {
                return None;
            }
            match self.code.headers[usize::from(header)].fields[field].at {
                FieldRef::Narrow(fld) => Some(fld),
                _ => None,
            }
        };
        let std = super::code::Standard {
            ingress_port: find("standard_metadata.ingress_port", false),
            egress_spec: find("standard_metadata.egress_spec", false),
            egress_port: find("standard_metadata.egress_port", false),
            instance_type: find("standard_metadata.instance_type", false),
            packet_length: find("standard_metadata.packet_length", false),
            parser_error: find("standard_metadata.parser_error", true),
            checksum_error: find("standard_metadata.checksum_error", true),
            mcast_grp: find("intrinsic_metadata.mcast_grp", true),
            egress_rid: find("intrinsic_metadata.egress_rid", false),
            priority: find("intrinsic_metadata.priority", true),
            qid: find("queueing_metadata.qid", true),
            ingress_timestamp: find("intrinsic_metadata.ingress_global_timestamp", true),
            egress_timestamp: find("intrinsic_metadata.egress_global_timestamp", true),
            enq_timestamp: find("queueing_metadata.enq_timestamp", true),
            enq_qdepth: find("queueing_metadata.enq_qdepth", true),
            deq_timedelta: find("queueing_metadata.deq_timedelta", true),
            deq_qdepth: find("queueing_metadata.deq_qdepth", true),
        };
        for (name, field) in [
            ("ingress_port", std.ingress_port),
            ("packet_length", std.packet_length),
            ("instance_type", std.instance_type),
            ("egress_spec", std.egress_spec),
            ("egress_port", std.egress_port),
        ] {
            if field.is_none() {
                let problem = format!("the field standard_metadata.{name} is missing: not a v1model program");
                return Err(root.get("headers")?.err(problem));
            }
        }
        self.code.std = std;
        Ok(())
    }

    fn calculations(&mut self, root: &Node<'_>) -> Result<()> {
        for node in root.list("calculations")? {
            let calc = self.calculation(&node.get("algo")?, &node.get("input")?)?;
            let name = node.get("name")?.str()?.to_owned();
            self.calc_ids.insert(name, self.code.calcs.len() as u16);
            self.code.calcs.push(calc);
        }
        Ok(())
    }
}
