//! Control flow: tables, conditions, and what a table hit runs.

use super::Run;
use super::ctx::{load, load_bits};
use super::trace::{self, trace};
use crate::program::code::*;
use crate::tables::profile::GroupData;
use crate::tables::{ActionData, Bound, Entry, Table};

/// Keys of up to this many words are packed on the stack.
const SMALL_KEY: usize = 8;

impl<'a> Run<'a> {
    pub fn ingress(&mut self) {
        match self.native {
            Some(native) if !self.ctx.exit => native.ingress(self),
            _ => self.pipeline(&self.code.ingress),
        }
    }

    pub fn egress(&mut self) {
        match self.native {
            Some(native) if !self.ctx.exit => native.egress(self),
            _ => self.pipeline(&self.code.egress),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        let mut at = pipeline.start;
        while !self.ctx.exit {
            let Some(node) = pipeline.nodes.get(at as usize) else { return };
            at = match node {
                Node::Table { table, next } => {
                    let (hit, action) = self.table(*table);
                    match next {
                        Next::Same(to) => *to,
                        Next::HitMiss(yes, no) => {
                            if hit {
                                *yes
                            } else {
                                *no
                            }
                        }
                        Next::ByAction(list, default) => {
                            let found = action.and_then(|a| list.iter().find(|l| l.0 == a));
                            found.map_or(*default, |l| l.1)
                        }
                    }
                }
                Node::If { cond, yes, no, text } => {
                    let holds = self.test(cond);
                    trace!("condition {text}: {holds}");
                    if holds { *yes } else { *no }
                }
                Node::Call { action, next } => {
                    trace!("action {}", trace::call(&self.rt.program, *action, &[]));
                    self.action(*action, &[]);
                    *next
                }
            };
        }
    }

    /// A condition; the usual ones without a call.
    #[inline(always)]
    fn test(&self, cond: &Bool) -> bool {
        match cond {
            Bool::FieldIs(fld, value) => load(&self.ctx.frame, *fld) == *value,
            Bool::FieldIsNot(fld, value) => load(&self.ctx.frame, *fld) != *value,
            Bool::Valid(header) => self.ctx.is_valid(*header),
            cond => self.bool(cond, &[]),
        }
    }

    /// Packs the key of a table into `key`, which starts as zeros.
    #[inline(always)]
    fn pack(&self, code: &TableCode, key: &mut [u64]) {
        for part in &code.key {
            let word = usize::from(part.word);
            if part.of.is_some_and(|header| !self.ctx.is_valid(header)) {
                continue;
            }
            if part.more.is_empty() {
                let value = match &part.src {
                    Num::Fld(fld) => load(&self.ctx.frame, *fld),
                    src => self.num(src, &[]),
                };
                key[word] |= value << part.shift;
            } else {
                for (i, &(bits, mask)) in part.more.iter().enumerate() {
                    key[word + i] = load_bits(&self.ctx.frame, bits) & mask;
                }
            }
        }
    }

    fn look_up(&mut self, id: usize, table: &'a Table) -> Option<&'a Entry> {
        let code = &self.code.tables[id];
        if code.words <= SMALL_KEY {
            let mut key = [0; SMALL_KEY];
            let key = &mut key[..code.words];
            self.pack(code, key);
            trace!("{}", trace::look_up(&self.rt.program, id, key));
            return self.scratch.memory.find(id, table, key, self.pin);
        }
        let mut key = std::mem::take(&mut self.scratch.key);
        key.clear();
        key.resize(code.words, 0);
        self.pack(code, &mut key);
        trace!("{}", trace::look_up(&self.rt.program, id, &key));
        let hit = self.scratch.memory.find(id, table, &key, self.pin);
        self.scratch.key = key;
        hit
    }

    /// Applies a table: whether an entry was hit, and the action that ran.
    fn table(&mut self, id: usize) -> (bool, Option<usize>) {
        let rt = self.rt;
        let table: &'a Table = &rt.tables[id];
        if let Some((action, counter)) = table.idle(self.pin) {
            if let Some(counter) = counter {
                counter.add(self.worker, u64::from(self.ctx.ingress_len));
            }
            let program = &rt.program;
            trace!("table {} has no entries: {}", program.tables[id].name, trace::call(program, action, &[]));
            return (false, Some(action));
        }
        let hit = if table.is_empty() { None } else { self.look_up(id, table) };
        let (hit, data) = self.settle(id, table, hit);
        self.tell(id, hit, data);
        if let Some(data) = data {
            self.action(data.action, &data.words);
        }
        (hit, data.map(|data| data.action))
    }

    /// Counts what a lookup found, and says what runs: of the entry, or of the default entry where there is none.
    #[inline(always)]
    pub fn settle(&mut self, id: usize, table: &'a Table, found: Option<&'a Entry>) -> (bool, Option<&'a ActionData>) {
        let hit = found.is_some();
        let Some(entry) = found.or_else(|| table.default.load(self.pin)) else { return (false, None) };
        if let Some(counter) = &entry.counter {
            counter.add(self.worker, u64::from(self.ctx.ingress_len));
        }
        // Most tables have none; that need not be read from every entry.
        if table.has_meter() {
            self.police(id, entry, hit);
        }
        if entry.ttl_ms() != 0 {
            self.touch(entry);
        }
        match entry.bound.load(self.pin) {
            Some(Bound::Action(data)) => (hit, Some(data)),
            Some(bound) => (hit, self.member(id, bound)),
            None => (hit, None),
        }
    }

    /// The direct meter.
    #[inline(never)]
    fn police(&mut self, id: usize, entry: &Entry, hit: bool) {
        if let Some(meter) = &entry.meter
            && (hit || meter.is_configured())
        {
            let now = if meter.is_configured() { self.clock.now_us() } else { 0 };
            let colour = meter.execute(u64::from(self.ctx.ingress_len), now);
            if let Some(target) = &self.code.tables[id].meter_target {
                self.put(target, colour, &[]);
            }
        }
    }

    #[inline(never)]
    fn touch(&self, entry: &Entry) {
        entry.touch(self.clock.now_us() / 1_000);
    }

    /// The action behind members and groups; `None` for an empty group or one whose ports are all down.
    #[inline(never)]
    fn member(&mut self, id: usize, bound: &'a Bound) -> Option<&'a ActionData> {
        let pin = self.pin;
        match bound {
            Bound::Action(data) => Some(data),
            Bound::Member(member) => member.action.load(pin),
            Bound::Group(group) => self.choose(id, group.data.load(pin)?),
            Bound::OneShot(data) => {
                if let Some(first) = &data.first {
                    self.action(first.action, &first.words);
                }
                self.choose(id, data)
            }
        }
    }

    fn choose(&mut self, id: usize, group: &'a GroupData) -> Option<&'a ActionData> {
        let code = &self.code.tables[id];
        let hash = match (code.selector_field, code.selector) {
            _ if group.random => self.scratch.random(),
            (Some(field), _) => load(&self.ctx.frame, field),
            (_, Some(calc)) => self.calculate(calc),
            _ => 0,
        };
        group.choose(hash, self.ports)?.action.load(self.pin)
    }
}
