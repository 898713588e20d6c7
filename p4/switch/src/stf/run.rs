//! Running a test: a switch with virtual ports, packets through one worker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::parse::{self, Call, Entry, Line, Op, Statement, StfError, Unit};
use super::value;
use crate::control::{ActionCall, EntryAction, EntrySpec};
use crate::instance::Instance;
use crate::lane::Worker;
use crate::program::{Kind, Program, TableId};
use crate::state::meter::MeterConfig;
use crate::state::pre::{CloneSession, Replica};
use crate::switch::{Engine, PacketMeta, Switch, SwitchOptions};
use crate::tables::key::KeyField;

struct Expected {
    line: usize,
    port: u32,
    digits: Option<String>,
    exact: bool,
}

struct Node {
    rid: u16,
    ports: BTreeSet<u32>,
    group: Option<u16>,
}

type Handle = (TableId, Vec<KeyField>, i32);

struct Test<'a> {
    instance: Arc<Instance>,
    switch: Arc<Switch>,
    worker: Worker,
    print: &'a mut dyn FnMut(&str),
    sent: BTreeMap<u32, Vec<Vec<u8>>>,
    expected: Vec<Expected>,
    ports: BTreeSet<u32>,
    nodes: BTreeMap<u32, Node>,
    groups: BTreeMap<u16, Vec<u32>>,
    next_node: u32,
    labels: BTreeMap<String, Handle>,
    /// Entries in the order they were added, for direct counters by number.
    added: Vec<Handle>,
}

type Outcome<T = ()> = Result<T, String>;

fn holds(op: Op, found: u128, wanted: u128) -> bool {
    match op {
        Op::Eq => found == wanted,
        Op::Ne => found != wanted,
        Op::Lt => found < wanted,
        Op::Le => found <= wanted,
        Op::Gt => found > wanted,
        Op::Ge => found >= wanted,
    }
}

fn symbol(op: Op) -> &'static str {
    match op {
        Op::Eq => "==",
        Op::Ne => "!=",
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Gt => ">",
        Op::Ge => ">=",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The object a test means: its full name, the only one of that name in some control, or the only one that ends with it.
fn by_name<'a>(names: impl Iterator<Item = (usize, &'a str)>, wanted: &str, what: &str) -> Outcome<usize> {
    let mut candidates: Vec<(usize, &str)> = names.filter(|(_, name)| name.ends_with(wanted)).collect();
    let dotted = |name: &str| name.len() == wanted.len() || name[..name.len() - wanted.len()].ends_with('.');
    for narrower in [&|name: &str| name == wanted, &dotted as &dyn Fn(&str) -> bool] {
        if candidates.iter().any(|(_, name)| narrower(name)) {
            candidates.retain(|(_, name)| narrower(name));
        }
    }
    match candidates[..] {
        [(id, _)] => Ok(id),
        [] => Err(format!("the program has no {what} \"{wanted}\"")),
        [(_, a), (_, b), ..] => Err(format!("\"{wanted}\" may mean the {what} \"{a}\" or \"{b}\"")),
    }
}

/// Runs a parsed test on a program; `print` gets the output of reading commands.
///
/// # Errors
/// The first command that failed or packet that differed.
pub fn run(program: Arc<Program>, lines: &[Line], print: &mut dyn FnMut(&str)) -> Result<(), StfError> {
    let start = |problem: String| StfError { line: 0, problem };
    // The test's first packet already takes the way that most packets of a switch take.
    let engine = match Engine::default() {
        Engine::Native => Engine::NativeAtOnce,
        engine => engine,
    };
    let options = SwitchOptions { engine, ..SwitchOptions::default() };
    let switch = Switch::new(Some(program), options).map_err(|e| start(e.to_string()))?;
    let instance = switch.instance().ok_or_else(|| start("the switch has no program".into()))?;
    let worker = switch.worker();
    let mut test = Test {
        instance,
        switch,
        worker,
        print,
        sent: BTreeMap::new(),
        expected: Vec::new(),
        ports: BTreeSet::new(),
        nodes: BTreeMap::new(),
        groups: BTreeMap::new(),
        next_node: 0,
        labels: BTreeMap::new(),
        added: Vec::new(),
    };
    for line in lines {
        if let Statement::Packet { port, .. } | Statement::Expect { port, .. } = line.statement {
            test.ports.insert(port);
        }
    }
    for line in lines {
        test.statement(line).map_err(|problem| StfError { line: line.number, problem })?;
    }
    test.compare()
}

impl Test<'_> {
    fn statement(&mut self, line: &Line) -> Outcome {
        match &line.statement {
            Statement::Packet { port, data } => {
                let sent = &mut self.sent;
                let mut sink = |port: u32, head: &[u8], payload: &[u8], _: PacketMeta| {
                    sent.entry(port).or_default().push([head, payload].concat());
                };
                self.worker.process(*port, data, PacketMeta::default(), &mut sink);
                Ok(())
            }
            Statement::Expect { port, digits, exact } => {
                let (digits, exact) = (digits.clone(), *exact);
                self.expected.push(Expected { line: line.number, port: *port, digits, exact });
                Ok(())
            }
            Statement::NoPacket | Statement::Wait => Ok(()),
            Statement::Add { entry, call, label } => self.add(entry, call, label.as_deref()),
            Statement::SetDefault { table, call } => {
                let table = self.table(table)?;
                let action = EntryAction::Call(self.call(table, call)?);
                self.instance.set_default(table, Some(&action)).map_err(|e| e.to_string())
            }
            Statement::RemoveAll => self.remove_all(),
            Statement::RemoveLabel(label) => {
                let label = label.trim_start_matches('$');
                let (table, key, priority) =
                    self.labels.remove(label).ok_or_else(|| format!("no entry is labelled \"{label}\""))?;
                self.instance.delete(table, &key, priority).map(drop).map_err(|e| e.to_string())
            }
            Statement::Remove(entry) => {
                let (table, key, priority) = self.entry(entry)?;
                self.instance.delete(table, &key, priority).map(drop).map_err(|e| e.to_string())
            }
            Statement::CheckCounter { name, index, check } => {
                let (packets, bytes) = self.read_counter(name, index)?;
                Self::check_counter(name, (packets, bytes), check)
            }
            Statement::Command(name, args) => self.command(name, args),
        }
    }

    fn table(&self, name: &str) -> Outcome<TableId> {
        let tables = self.instance.program.tables.iter().enumerate().map(|(i, t)| (i, t.name.as_str()));
        by_name(tables, name, "table")
    }

    fn call(&self, table: TableId, call: &Call) -> Outcome<ActionCall> {
        let program = &self.instance.program;
        let actions = program.tables[table].actions.iter().map(|&a| (a, program.actions[a].name.as_str()));
        let action = by_name(actions, &call.action, "action")?;
        let params = &program.actions[action].params;
        if let Some((name, _)) = call.args.iter().find(|(name, _)| params.iter().all(|p| p.name != *name)) {
            return Err(format!("the action \"{}\" has no parameter \"{name}\"", call.action));
        }
        let values = params.iter().map(|param| {
            let found = call.args.iter().find(|(name, _)| *name == param.name);
            let (_, text) = found.ok_or_else(|| format!("the parameter \"{}\" is missing", param.name))?;
            value::plain(text)
        });
        Ok(ActionCall { action, params: values.collect::<Outcome<_>>()? })
    }

    /// The key field a test means, by p4c's rules for short names.
    fn key_index(&self, table: TableId, name: &str) -> Outcome<usize> {
        let fields = &self.instance.program.tables[table].fields;
        // extra$0.h is extra[0].h
        let mut wanted = name.to_owned();
        if let Some(at) = name.find('$') {
            let digits: String = name[at + 1..].chars().take_while(char::is_ascii_digit).collect();
            if !digits.is_empty() {
                wanted = format!("{}[{digits}]{}", &name[..at], &name[at + 1 + digits.len()..]);
            }
        }
        let find = |text: &str| fields.iter().position(|f| f.name == text);
        let valid = wanted.strip_suffix(".valid").map(|base| format!("{base}.$valid$"));
        let exact = find(&wanted)
            .or_else(|| find(&format!("{wanted}$")))
            .or_else(|| find(&format!("{wanted}.$valid$")))
            .or_else(|| valid.and_then(|valid| find(&valid)));
        let suffix = |text: String| fields.iter().position(|f| f.name.ends_with(&text));
        exact
            .or_else(|| suffix(format!(".{wanted}")))
            .or_else(|| suffix(format!(".{wanted}$")))
            .or_else(|| if wanted == "valid" { suffix("$valid$".into()) } else { None })
            .ok_or_else(|| format!("the table's key has no field \"{name}\""))
    }

    fn entry(&self, entry: &Entry) -> Outcome<Handle> {
        let table = self.table(&entry.table)?;
        let info = &self.instance.program.tables[table];
        let mut key: Vec<KeyField> = info.fields.iter().map(value::anything).collect();
        for (name, text) in &entry.key {
            let index = self.key_index(table, name)?;
            key[index] = value::field(&info.fields[index], text).map_err(|e| format!("field \"{name}\": {e}"))?;
        }
        let priority = if info.has_priority() { entry.priority.unwrap_or(0) } else { 0 };
        Ok((table, key, priority))
    }

    fn add(&mut self, entry: &Entry, call: &Call, label: Option<&str>) -> Outcome {
        let handle = self.entry(entry)?;
        let action = EntryAction::Call(self.call(handle.0, call)?);
        let spec = EntrySpec::new(handle.1.clone(), handle.2, action);
        self.instance.insert(handle.0, &spec, self.switch.now_ms()).map_err(|e| e.to_string())?;
        self.added.push(handle.clone());
        if let Some(label) = label {
            self.labels.insert(label.trim_start_matches('$').to_owned(), handle);
        }
        Ok(())
    }

    fn remove_all(&mut self) -> Outcome {
        for (id, info) in self.instance.program.tables.iter().enumerate() {
            if info.const_entries {
                continue;
            }
            let table = self.instance.table(id).map_err(|e| e.to_string())?;
            for entry in table.entries() {
                let key = table.key_of(&entry);
                self.instance.delete(id, &key, entry.priority).map_err(|e| e.to_string())?;
            }
        }
        self.labels.clear();
        Ok(())
    }

    fn object(&self, kind: Kind, name: &str) -> Outcome<usize> {
        let program = &self.instance.program;
        let all: Vec<&str> = match kind {
            Kind::Counter => program.counters.iter().map(|c| c.name.as_str()).collect(),
            Kind::Meter => program.meters.iter().map(|m| m.name.as_str()).collect(),
            _ => program.registers.iter().map(|r| r.name.as_str()).collect(),
        };
        let what = match kind {
            Kind::Counter => "counter",
            Kind::Meter => "meter",
            _ => "register",
        };
        by_name(all.into_iter().enumerate(), name, what)
    }

    /// The entry of a direct counter or meter: a label, or the number of the `add` among those of the table.
    fn direct_entry(&self, table: TableId, index: &str) -> Outcome<Arc<crate::tables::Entry>> {
        let label = index.trim_start_matches('$');
        let handle = self.labels.get(label).filter(|h| h.0 == table).or_else(|| {
            let nth = parse::value(index).ok()? as usize;
            self.added.iter().filter(|h| h.0 == table).nth(nth)
        });
        let (table, key, priority) = handle.ok_or_else(|| format!("the table has no entry \"{index}\""))?;
        let found = self.instance.table(*table).and_then(|t| t.get(key, *priority));
        found.map_err(|e| e.to_string())?.ok_or_else(|| format!("the entry \"{index}\" is gone"))
    }

    fn counter_cell<R>(
        &self,
        name: &str,
        index: &str,
        f: impl Fn(&crate::state::counter::CounterCell) -> R,
    ) -> Outcome<R> {
        let id = self.object(Kind::Counter, name)?;
        if let Some(table) = self.instance.program.counters[id].table {
            let entry = self.direct_entry(table, index)?;
            return entry.counter.as_ref().map(f).ok_or_else(|| "the table has no direct counter".into());
        }
        let at = parse::value(index)?;
        let array = &self.instance.counters[id];
        let cell = u64::try_from(at).ok().and_then(|at| array.get(at));
        cell.map(f).ok_or_else(|| format!("the index {index} is beyond the counter's {} cells", array.len()))
    }

    /// (packets, bytes)
    fn read_counter(&self, name: &str, index: &str) -> Outcome<(u64, u64)> {
        self.counter_cell(name, index, crate::state::counter::CounterCell::read)
    }

    fn check_counter(name: &str, found: (u64, u64), checks: &[(Unit, Op, u128)]) -> Outcome {
        for &(unit, op, wanted) in checks {
            let (what, value) = match unit {
                Unit::Packets => ("packets", found.0),
                Unit::Bytes => ("bytes", found.1),
            };
            if !holds(op, u128::from(value), wanted) {
                return Err(format!("the counter \"{name}\" has {value} {what}, expected {} {wanted}", symbol(op)));
            }
        }
        Ok(())
    }

    fn command(&mut self, name: &str, args: &[String]) -> Outcome {
        let text: Vec<&str> = args.iter().map(String::as_str).collect();
        let small = |text: &str, max: u128| -> Outcome<u32> {
            let value = parse::value(text)?;
            if value > max { Err(format!("found {value}, allowed is 0 to {max}")) } else { Ok(value as u32) }
        };
        let group = |text: &str| small(text, 0xffff).map(|g| g as u16);
        match (name, &text[..]) {
            ("mc_mgrp_create", [id]) => {
                let id = group(id)?;
                if self.groups.insert(id, Vec::new()).is_some() {
                    return Err(format!("the multicast group {id} exists already"));
                }
                self.publish(id);
            }
            ("mc_mgrp_destroy", [id]) => {
                let id = group(id)?;
                let nodes = self.groups.remove(&id).ok_or_else(|| format!("there is no multicast group {id}"))?;
                for node in nodes {
                    if let Some(node) = self.nodes.get_mut(&node) {
                        node.group = None;
                    }
                }
                self.instance.pre.set_group(id, None);
            }
            ("mc_node_create", [rid, ports @ ..]) => {
                let ports = ports.iter().map(|p| small(p, 0xffff)).collect::<Outcome<_>>()?;
                let handle = self.next_node;
                self.nodes.insert(handle, Node { rid: group(rid)?, ports, group: None });
                self.next_node += 1;
                (self.print)(&format!("node was created with handle {handle}"));
            }
            ("mc_node_update", [node, ports @ ..]) => {
                let ports = ports.iter().map(|p| small(p, 0xffff)).collect::<Outcome<_>>()?;
                let id = self.node(node)?;
                let group = self.nodes.get_mut(&id).and_then(|node| {
                    node.ports = ports;
                    node.group
                });
                group.into_iter().for_each(|group| self.publish(group));
            }
            ("mc_node_associate", [id, node]) => {
                let (id, handle) = (group(id)?, self.node(node)?);
                let members = self.groups.get_mut(&id).ok_or_else(|| format!("there is no multicast group {id}"))?;
                if let Some(node) = self.nodes.get_mut(&handle) {
                    if let Some(group) = node.group {
                        return Err(format!("the node {handle} is already in the group {group}"));
                    }
                    node.group = Some(id);
                }
                members.push(handle);
                self.publish(id);
            }
            ("mc_node_dissociate", [id, node]) => {
                let (id, handle) = (group(id)?, self.node(node)?);
                self.leave_group(handle, Some(id))?;
            }
            ("mc_node_destroy", [node]) => {
                let handle = self.node(node)?;
                self.leave_group(handle, None)?;
                self.nodes.remove(&handle);
            }
            ("mirroring_add", [session, port]) => {
                let replicas = vec![Replica { port: small(port, 0xffff)?, rid: 0 }];
                self.session(small(session, 0x7fff)?, CloneSession { replicas, group: None, truncate: 0 });
            }
            ("mirroring_add_mc", [session, id]) => {
                let group = Some(group(id)?);
                self.session(small(session, 0x7fff)?, CloneSession { replicas: Vec::new(), group, truncate: 0 });
            }
            ("mirroring_delete", [session]) => {
                let id = small(session, 0x7fff)? as u16;
                let gone = self.instance.pre.set_session(id, None);
                gone.ok_or_else(|| format!("there is no mirroring session {id}"))?;
            }
            ("mirroring_get", [session]) => {
                let id = small(session, 0x7fff)? as u16;
                let found = self.instance.pre.sessions().get(&id).cloned();
                let session = found.ok_or_else(|| format!("there is no mirroring session {id}"))?;
                let port = session.replicas.first().map(|r| r.port);
                let show = |v: Option<u32>| v.map_or_else(|| "None".to_owned(), |v| v.to_string());
                let group = session.group.map(u32::from);
                (self.print)(&format!("MirroringSessionConfig(port={}, mgid={})", show(port), show(group)));
            }
            ("register_read", [name, index, check @ ..]) => self.register_read(name, index, &check.join(" "))?,
            ("register_write", [name, index, value]) => {
                let id = self.object(Kind::Register, name)?;
                let at = parse::value(index)?;
                let array = &self.instance.registers[id];
                if !u64::try_from(at).is_ok_and(|at| value::plain(value).is_ok_and(|v| array.write(at, &v))) {
                    return Err(format!("cannot write {value} to \"{name}\"[{index}] of {} cells", array.len()));
                }
            }
            ("register_reset", [name]) => {
                let id = self.object(Kind::Register, name)?;
                self.instance.registers[id].reset();
            }
            ("counter_read", [name, index, check @ ..]) => {
                let (packets, bytes) = self.read_counter(name, index)?;
                (self.print)(&format!("{name}[{index}]= ({bytes} bytes, {packets} packets)"));
                Self::check_counter(name, (packets, bytes), &parse::checks(&check.join(" "))?)?;
            }
            ("counter_write", [name, index, bytes, packets]) => {
                let (bytes, packets) = (parse::value(bytes)? as u64, parse::value(packets)? as u64);
                self.counter_cell(name, index, |cell| cell.write(packets, bytes))?;
            }
            ("counter_reset", [name]) => {
                let id = self.object(Kind::Counter, name)?;
                let array = &self.instance.counters[id];
                (0..array.len() as u64).filter_map(|i| array.get(i)).for_each(|cell| cell.write(0, 0));
                if let Some(table) = self.instance.program.counters[id].table {
                    let table = self.instance.table(table).map_err(|e| e.to_string())?;
                    table.entries().iter().filter_map(|e| e.counter.as_ref()).for_each(|c| c.write(0, 0));
                }
            }
            ("meter_set_rates", [name, index, rates @ ..]) => {
                let config = meter_config(rates)?;
                self.meter(name, index, |cell| cell.configure(Some(config)))?;
            }
            ("meter_array_set_rates", [name, rates @ ..]) => {
                let config = meter_config(rates)?;
                let id = self.object(Kind::Meter, name)?;
                let array = &self.instance.meters[id];
                (0..array.len() as u64).filter_map(|i| array.get(i)).for_each(|m| m.configure(Some(config)));
            }
            ("meter_get_rates", [name, index, expected @ ..]) => {
                let found = self.meter(name, index, crate::state::meter::MeterCell::config)?;
                (self.print)(&format!("{name}[{index}]: {}", show_meter(found)));
                if !expected.is_empty() {
                    let wanted = meter_config(expected)?;
                    if found != Some(wanted) {
                        let (found, wanted) = (show_meter(found), show_meter(Some(wanted)));
                        return Err(format!("the meter \"{name}\"[{index}] has {found}, expected {wanted}"));
                    }
                }
            }
            _ => return Err(format!("\"{name}\" does not take {} words", args.len())),
        }
        Ok(())
    }

    fn register_read(&mut self, name: &str, index: &str, check: &str) -> Outcome {
        let id = self.object(Kind::Register, name)?;
        let array = &self.instance.registers[id];
        let at = u64::try_from(parse::value(index)?).ok();
        let bytes = at.and_then(|at| array.read(at));
        let bytes = bytes.ok_or_else(|| format!("the index {index} is beyond the register's {} cells", array.len()))?;
        let low = &bytes[bytes.len().saturating_sub(16)..];
        let value = low.iter().fold(0u128, |v, &b| v << 8 | u128::from(b));
        let wide = bytes.len() > 16 && bytes[..bytes.len() - 16].iter().any(|&b| b != 0);
        let shown = if wide { format!("0x{}", hex(&bytes)) } else { value.to_string() };
        (self.print)(&format!("{name}[{index}]= {shown}"));
        if let Some((op, wanted)) = parse::check(check)? {
            let value = if wide { u128::MAX } else { value };
            if !holds(op, value, wanted) {
                return Err(format!("the register \"{name}\"[{index}] is {shown}, expected {} {wanted}", symbol(op)));
            }
        }
        Ok(())
    }

    fn meter<R>(&self, name: &str, index: &str, f: impl Fn(&crate::state::meter::MeterCell) -> R) -> Outcome<R> {
        let id = self.object(Kind::Meter, name)?;
        if let Some(table) = self.instance.program.meters[id].table {
            let entry = self.direct_entry(table, index)?;
            return entry.meter.as_ref().map(f).ok_or_else(|| "the table has no direct meter".into());
        }
        let array = &self.instance.meters[id];
        let cell = u64::try_from(parse::value(index)?).ok().and_then(|at| array.get(at));
        cell.map(f).ok_or_else(|| format!("the index {index} is beyond the meter's {} cells", array.len()))
    }

    fn node(&self, text: &str) -> Outcome<u32> {
        let id = parse::value(text)? as u32;
        if self.nodes.contains_key(&id) { Ok(id) } else { Err(format!("there is no multicast node {id}")) }
    }

    fn leave_group(&mut self, handle: u32, only: Option<u16>) -> Outcome {
        let group = self.nodes.get(&handle).and_then(|node| node.group);
        if let Some(only) = only
            && group != Some(only)
        {
            return Err(format!("the node {handle} is not in the group {only}"));
        }
        if let Some(node) = self.nodes.get_mut(&handle) {
            node.group = None;
        }
        if let Some(group) = group {
            if let Some(members) = self.groups.get_mut(&group) {
                members.retain(|&m| m != handle);
            }
            self.publish(group);
        }
        Ok(())
    }

    fn publish(&mut self, group: u16) {
        let nodes = self.groups.get(&group).into_iter().flatten().filter_map(|n| self.nodes.get(n));
        let replicas = nodes.flat_map(|n| n.ports.iter().map(|&port| Replica { port, rid: n.rid }));
        self.instance.pre.set_group(group, Some(replicas.collect()));
    }

    fn session(&self, id: u32, session: CloneSession) {
        self.instance.pre.set_session(id as u16, Some(session));
    }

    /// Expected packets against those that left, port by port.
    fn compare(self) -> Result<(), StfError> {
        let mut next: BTreeMap<u32, usize> = BTreeMap::new();
        for expected in &self.expected {
            let problem = |problem: String| StfError { line: expected.line, problem };
            let nth = next.entry(expected.port).or_default();
            let sent = self.sent.get(&expected.port).map_or(&[][..], |s| &s[..]);
            *nth += 1;
            let Some(packet) = sent.get(*nth - 1) else {
                let count = sent.len();
                return Err(problem(format!(
                    "expected a packet number {nth} on port {}, but {count} left it",
                    expected.port
                )));
            };
            let Some(digits) = &expected.digits else { continue };
            let at = format!("packet {nth} on port {}", expected.port);
            differ(digits, expected.exact, packet).map_err(|what| problem(format!("{at}: {what}")))?;
        }
        for port in &self.ports {
            let (found, expected) = (self.sent.get(port).map_or(0, Vec::len), next.get(port).copied().unwrap_or(0));
            if found > expected {
                let packet = &self.sent[port][expected];
                let line = self.expected.iter().rev().find(|e| e.port == *port).map_or(0, |e| e.line);
                let problem =
                    format!("port {port}: {found} packets left, {expected} were expected; the next is {}", hex(packet));
                return Err(StfError { line, problem });
            }
        }
        Ok(())
    }
}

fn differ(digits: &str, exact: bool, packet: &[u8]) -> Outcome {
    let found = hex(packet);
    let wanted = digits.to_ascii_lowercase();
    for (index, (w, f)) in wanted.chars().zip(found.chars()).enumerate() {
        if w != '*' && w != f {
            let byte = index / 2;
            let part = |text: &str| text.chars().skip(byte * 2).take(2).collect::<String>();
            let (w, f) = (part(&wanted), part(&found));
            return Err(format!(
                "byte {byte} differs: expected {w}, found {f}\n  expected {wanted}\n  found    {found}"
            ));
        }
    }
    if found.len() < wanted.len() {
        return Err(format!(
            "{} bytes are too few, expected {}\n  expected {wanted}\n  found    {found}",
            packet.len(),
            wanted.len().div_ceil(2)
        ));
    }
    if exact && found.len() > wanted.len() {
        return Err(format!(
            "{} bytes are too many, expected {}\n  expected {wanted}\n  found    {found}",
            packet.len(),
            wanted.len().div_ceil(2)
        ));
    }
    Ok(())
}

/// `rate:burst rate:burst`, rates in units a microsecond as BMv2's CLI takes them.
fn meter_config(rates: &[&str]) -> Outcome<MeterConfig> {
    let rate = |text: &str| -> Outcome<(u64, u64)> {
        let bad = || format!("found \"{text}\", expected RATE:BURST");
        let (rate, burst) = text.split_once(':').ok_or_else(bad)?;
        let rate: f64 = rate.parse().map_err(|_| bad())?;
        Ok(((rate * 1e6).round() as u64, burst.parse().map_err(|_| bad())?))
    };
    let [committed, peak] = rates else {
        return Err(format!("found {} rates, expected 2", rates.len()));
    };
    let ((cir, cburst), (pir, pburst)) = (rate(committed)?, rate(peak)?);
    if cir > pir {
        return Err(format!("the committed rate {committed} is above the peak rate {peak}"));
    }
    Ok(MeterConfig::TwoRate { cir, cburst, pir, pburst })
}

fn show_meter(config: Option<MeterConfig>) -> String {
    match config {
        None => "no rates".into(),
        Some(MeterConfig::TwoRate { cir, cburst, pir, pburst }) => {
            format!("{}:{cburst} {}:{pburst}", cir as f64 / 1e6, pir as f64 / 1e6)
        }
        Some(MeterConfig::SingleRate { cir, cburst, eburst }) => {
            format!("{}:{cburst}, excess {eburst}", cir as f64 / 1e6)
        }
    }
}
