//! Headers, metadata, stacks and unions: the layout of the frame. Also calculations, which read it by bytes.

use super::super::code::*;
use super::{Lower, Result};
use crate::json::Node;

/// Longest frame of header and metadata bytes a program may need.
const MAX_FRAME: u32 = 1 << 20;
/// Bytes for a variable-length field whose type states no maximum.
const DEFAULT_VAR: u32 = 256;

struct FieldType {
    name: String,
    /// None: variable length.
    width: Option<u32>,
    signed: bool,
}

struct HeaderType<'a> {
    name: String,
    fields: Vec<FieldType>,
    max_length: Option<u32>,
    length_exp: Option<Node<'a>>,
}

fn header_type<'a>(node: &Node<'a>) -> Result<HeaderType<'a>> {
    let mut fields = Vec::new();
    for field in node.get("fields")?.items()? {
        let parts = field.items()?;
        let [name, width, rest @ ..] = &parts[..] else {
            return Err(field.err("expected [name, width] or [name, width, signed]"));
        };
        let width = if width.is_string() {
            if width.str()? != "*" {
                return Err(width.err(format!("found \"{}\", expected a width or \"*\"", width.str()?)));
            }
            None
        } else {
            Some(width.uint(4_096)? as u32)
        };
        // p4c writes the sign of boolean fields as the number 0.
        let signed = rest.first().map_or(Ok(false), |n| n.bool().or_else(|_| Ok(n.uint(1)? == 1)))?;
        let signed = signed && width != Some(0);
        fields.push(FieldType { name: name.str()?.to_owned(), width, signed });
    }
    if fields.iter().filter(|f| f.width.is_none()).count() > 1 {
        return Err(node.err("a header may have one variable-length field"));
    }
    let max_length = node.opt("max_length")?.map(|n| n.uint(65_535)).transpose()?;
    Ok(HeaderType {
        name: node.get("name")?.str()?.to_owned(),
        fields,
        max_length: max_length.map(|n| n as u32),
        length_exp: node.opt("length_exp")?,
    })
}

/// The low `width` (1 to 64) bits.
fn ones(width: u32) -> u64 {
    u64::MAX >> (64 - width)
}

/// A field of at most 64 bits as a window, when its bits allow it.
fn window(bit: u32, width: u32) -> FieldRef {
    let (off, skip) = (bit / 8, bit % 8);
    if skip + width <= 64 {
        let shift = (64 - skip - width) as u8;
        FieldRef::Narrow(Fld { off, shift, width: width as u8, own: 0, mask: ones(width) })
    } else {
        FieldRef::Wide(Bits { bit, width })
    }
}

impl Lower {
    pub(super) fn headers(&mut self, root: &Node<'_>) -> Result<()> {
        let mut types = Vec::new();
        for node in root.get("header_types")?.items()? {
            types.push(header_type(&node)?);
        }
        let instances = root.get("headers")?.items()?;
        if instances.len() > 20_000 {
            return Err(root.get("headers")?.err("more than 20000 header instances"));
        }
        let mut layout = Vec::new();
        for (index, node) in instances.iter().enumerate() {
            let ty = node.get("header_type")?;
            let ty_name = ty.str()?;
            let ty = types
                .iter()
                .position(|t| t.name == ty_name)
                .ok_or_else(|| ty.err(format!("no header type is called \"{ty_name}\"")))?;
            let name = node.get("name")?.str()?.to_owned();
            if self.header_ids.insert(name.clone(), index as u16).is_some() {
                return Err(node.err(format!("a second header is called \"{name}\"")));
            }
            self.header_by_json_id.insert(node.get("id")?.int()?, index as u16);
            let metadata = node.opt("metadata")?.map_or(Ok(false), |n| n.bool())?;
            layout.push((name, ty, metadata));
        }
        // Metadata first, so that one range is cleared for each packet.
        let mut end = 0u32;
        let mut built: Vec<Option<Header>> = vec![None; layout.len()];
        for pass in [true, false] {
            for (index, (name, ty, metadata)) in layout.iter().enumerate() {
                if *metadata == pass {
                    let header = self.place(name, *ty, &types[*ty], *metadata, &mut end, &instances[index])?;
                    built[index] = Some(header);
                }
            }
            if pass {
                self.code.metadata_len = end as usize;
            }
        }
        self.code.headers = built.into_iter().flatten().collect();
        self.code.frame_len = end as usize + FRAME_PAD;
        self.code.valid0 = vec![0; self.code.headers.len().div_ceil(8)];
        for (index, header) in self.code.headers.iter().enumerate() {
            if header.metadata {
                self.code.valid0[index / 8] |= 1 << (index % 8);
            }
        }
        self.stacks(root)?;
        for index in 0..self.code.headers.len() {
            if let Some(exp) = &types[self.code.headers[index].ty].length_exp {
                let expr = self.expr_in_header(exp, index as u16)?;
                let len = self.low(&expr, 32, exp)?;
                self.code.headers[index].var_len = Some(len);
            }
        }
        Ok(())
    }

    fn place(
        &mut self,
        name: &str,
        ty: usize,
        def: &HeaderType<'_>,
        metadata: bool,
        end: &mut u32,
        node: &Node<'_>,
    ) -> Result<Header> {
        let base = *end;
        let mut fields = Vec::new();
        let (mut bit, mut var) = (base * 8, None);
        for field in &def.fields {
            let at = match field.width {
                None => {
                    let at = bit - base * 8;
                    var = Some(Var { at, area: 0, max_bytes: 0, slot: self.code.var_slots });
                    self.code.var_slots += 1;
                    let id = self.header_ids[name];
                    FieldRef::Var(id)
                }
                // Read as zero, and nothing is written.
                Some(0) => FieldRef::Narrow(Fld { off: bit / 8, shift: 0, width: 0, own: 0, mask: 0 }),
                // Metadata has no wire format: each field ends at a byte, small ones have one, two, four or eight to themselves.
                Some(width) if metadata => {
                    let room = if width <= 64 { width.next_power_of_two().max(8) } else { width.div_ceil(8) * 8 };
                    let at = if width > 64 {
                        FieldRef::Wide(Bits { bit: bit + room - width, width })
                    } else {
                        bit = bit.next_multiple_of(room);
                        let shift = (64 - room) as u8;
                        let (width, mask) = (width as u8, ones(width));
                        FieldRef::Narrow(Fld { off: bit / 8, shift, width, own: (room / 8) as u8, mask })
                    };
                    bit += room;
                    at
                }
                Some(width) => {
                    let at = window_or_bits(bit, width);
                    bit += width;
                    at
                }
            };
            let width = field.width.unwrap_or(0);
            fields.push(Field { name: field.name.clone(), width, signed: field.signed, at, surplus: None });
        }
        if bit % 8 != 0 {
            return Err(node.err(format!("the header \"{name}\" has {} bits, expected whole bytes", bit - base * 8)));
        }
        let fixed = bit / 8 - base;
        *end = base + fixed;
        for field in fields.iter_mut().filter(|field| self.with_surplus && field.signed) {
            field.surplus = Some(Fld { off: *end, shift: 56, width: 1, own: 1, mask: 1 });
            *end += 1;
        }
        let tail = *end - base - fixed;
        if let Some(var) = &mut var {
            let max = def.max_length.unwrap_or(fixed + DEFAULT_VAR);
            (var.area, var.max_bytes) = (*end, max.saturating_sub(fixed));
            *end += var.max_bytes;
        }
        if *end > MAX_FRAME {
            return Err(node.err(format!("headers and metadata need more than {MAX_FRAME} bytes")));
        }
        let name = name.to_owned();
        Ok(Header { name, ty, metadata, base, fixed, tail, fields, var, var_len: None, rivals: Vec::new() })
    }

    fn stacks(&mut self, root: &Node<'_>) -> Result<()> {
        for node in root.list("header_unions")? {
            let mut members = Vec::new();
            for id in node.get("header_ids")?.items()? {
                let header = self.header_by_json_id.get(&id.int()?).copied();
                members.push(header.ok_or_else(|| id.err("no header has this id"))?);
            }
            for &member in &members {
                let rivals = members.iter().copied().filter(|&m| m != member).collect();
                self.code.headers[usize::from(member)].rivals = rivals;
            }
            let index = self.code.unions.len() as u16;
            self.union_by_json_id.insert(node.get("id")?.int()?, index);
            self.union_ids.insert(node.get("name")?.str()?.to_owned(), index);
            self.code.unions.push(members);
        }
        for node in root.list("header_stacks")? {
            let mut items = Vec::new();
            for id in node.get("header_ids")?.items()? {
                let header = self.header_by_json_id.get(&id.int()?).copied();
                items.push(header.ok_or_else(|| id.err("no header has this id"))?);
            }
            let ty = items.first().map(|&h| self.code.headers[usize::from(h)].ty);
            if items.is_empty() || items.iter().any(|&h| Some(self.code.headers[usize::from(h)].ty) != ty) {
                return Err(node.get("header_ids")?.err("expected headers of one type, at least one"));
            }
            self.stack_ids.insert(node.get("name")?.str()?.to_owned(), self.code.stacks.len() as u16);
            self.code.stacks.push(Stack { items });
        }
        for node in root.list("header_union_stacks")? {
            let mut items = Vec::new();
            for id in node.get("header_union_ids")?.items()? {
                let union = self.union_by_json_id.get(&id.int()?).copied();
                items.push(union.ok_or_else(|| id.err("no header union has this id"))?);
            }
            let shape = |u: u16| -> Vec<usize> {
                self.code.unions[usize::from(u)].iter().map(|&h| self.code.headers[usize::from(h)].ty).collect()
            };
            if items.is_empty() || items.iter().any(|&u| shape(u) != shape(items[0])) {
                return Err(node.get("header_union_ids")?.err("expected unions of one type, at least one"));
            }
            let index = self.code.union_stacks.len() as u16;
            self.union_stack_ids.insert(node.get("name")?.str()?.to_owned(), index);
            self.code.union_stacks.push(Stack { items });
        }
        Ok(())
    }

    pub(super) fn aliases(&mut self, root: &Node<'_>) -> Result<()> {
        for node in root.list("field_aliases")? {
            let [name, target] = node.tuple::<2>()?;
            let [header, field] = target.tuple::<2>()?;
            let id = self.named(&self.header_ids, &header, "header")?;
            let fields = &self.code.headers[usize::from(id)].fields;
            let field_name = field.str()?;
            let index = fields.iter().position(|f| f.name == field_name);
            let index = index.ok_or_else(|| field.err(format!("no field is called \"{field_name}\"")))?;
            self.aliases.insert(name.str()?.to_owned(), (id, index));
        }
        Ok(())
    }

    /// Index of the validity pseudo-field in what [`Lower::field`] returns.
    pub(super) const VALID: usize = usize::MAX;

    /// A `["header", "field"]` pair.
    pub(super) fn field(&mut self, node: &Node<'_>) -> Result<(u16, usize)> {
        let [header, field] = node.tuple::<2>()?;
        let (header_name, field_name) = (header.str()?, field.str()?);
        let Some(&id) = self.header_ids.get(header_name) else {
            let alias = self.aliases.get(&format!("{header_name}.{field_name}")).copied();
            let found = alias.ok_or_else(|| header.err(format!("no header is called \"{header_name}\"")))?;
            self.used.insert(found);
            return Ok(found);
        };
        if field_name == "$valid$" {
            return Ok((id, Self::VALID));
        }
        let fields = &self.code.headers[usize::from(id)].fields;
        let index = fields.iter().position(|f| f.name == field_name);
        let index = index.ok_or_else(|| field.err(format!("\"{header_name}\" has no field \"{field_name}\"")))?;
        self.used.insert((id, index));
        Ok((id, index))
    }

    /// Where a field is, and its width.
    pub(super) fn field_at(&self, header: u16, index: usize) -> (FieldRef, u32) {
        if index == Self::VALID {
            return (FieldRef::Valid(header), 1);
        }
        let field = &self.code.headers[usize::from(header)].fields[index];
        (field.at, field.width)
    }

    pub(super) fn field_dst(&mut self, node: &Node<'_>) -> Result<Dst> {
        let (header, index) = self.field(node)?;
        Ok(match self.field_at(header, index).0 {
            FieldRef::Narrow(fld) => Dst::Fld(fld),
            FieldRef::Wide(bits) => Dst::Bits(bits),
            FieldRef::Valid(_) => Dst::Nowhere,
            FieldRef::Var(_) => return Err(node.err("a variable-length field cannot be the target here")),
        })
    }

    /// An algorithm and its input.
    pub(super) fn calculation(&mut self, algo: &Node<'_>, input: &Node<'_>) -> Result<Calc> {
        let algo = match algo.str()? {
            "crc16" => Algo::Crc16,
            "crc32" => Algo::Crc32,
            "crcCCITT" => Algo::CrcCcitt,
            "crc8_custom" => Algo::Crc8Custom,
            "crc16_custom" => Algo::Crc16Custom,
            "crc32_custom" => Algo::Crc32Custom,
            "crc64_custom" => Algo::Crc64Custom,
            "csum16" | "cksum16" => Algo::Csum16,
            "xor16" => Algo::Xor16,
            "xor32" => Algo::Xor32,
            "identity" => Algo::Identity,
            "random" => Algo::Random,
            "round_robin" | "round_robin_consistent" => Algo::RoundRobin,
            "toeplitz" => Algo::Toeplitz,
            "xxh64" | "bmv2_hash" => Algo::Xxh64,
            "hash_ex" => Algo::HashEx,
            other => return Err(algo.err(format!("the hash algorithm \"{other}\" is not known"))),
        };
        let (mut parts, mut payload) = (Vec::new(), false);
        for item in input.items()? {
            let ty = item.get("type")?;
            match ty.str()? {
                "field" => {
                    let (header, index) = self.field(&item.get("value")?)?;
                    let (at, width) = self.field_at(header, index);
                    parts.push(CalcPart::Field(header, at, width));
                }
                "hexstr" => {
                    let width = item.get("bitwidth")?.uint(4_096)? as u32;
                    let (_, bytes) = item.get("value")?.hex()?;
                    let wide = crate::exec::wide::Wide::from_bytes(&bytes);
                    let mut limbs = vec![0; width.div_ceil(64) as usize];
                    wide.mask(width).to_limbs(&mut limbs);
                    parts.push(CalcPart::Const(limbs, width));
                }
                "header" => {
                    let header = self.named(&self.header_ids, &item.get("value")?, "header")?;
                    parts.push(CalcPart::Header(header));
                }
                "payload" => payload = true,
                other => {
                    let allowed = "expected field, hexstr, header or payload";
                    return Err(ty.err(format!("found \"{other}\", {allowed}")));
                }
            }
        }
        Ok(Calc { algo, parts: self.merge(parts), payload })
    }

    /// Neighbouring fields of one header that start and end at bytes become one run of bytes.
    fn merge(&self, parts: Vec<CalcPart>) -> Vec<CalcPart> {
        let place = |part: &CalcPart| match part {
            &CalcPart::Field(header, at, width) => {
                let h = &self.code.headers[usize::from(header)];
                let bit = match at {
                    FieldRef::Narrow(f) => f.off * 8 + 64 - u32::from(f.shift) - u32::from(f.width),
                    FieldRef::Wide(bits) => bits.bit,
                    _ => return None,
                };
                h.var.is_none().then_some((header, bit, width))
            }
            _ => None,
        };
        let (mut out, mut i, mut aligned) = (Vec::new(), 0, true);
        while i < parts.len() {
            let Some((header, start, mut width)) = place(&parts[i]) else {
                aligned &= match &parts[i] {
                    CalcPart::Field(_, FieldRef::Valid(_), _) => false,
                    CalcPart::Field(_, _, width) | CalcPart::Const(_, width) => width % 8 == 0,
                    CalcPart::Bytes { .. } | CalcPart::Header(_) => true,
                };
                out.push(parts[i].clone());
                i += 1;
                continue;
            };
            let mut next = i + 1;
            while let Some((h, bit, w)) = parts.get(next).and_then(place) {
                if h != header || bit != start + width {
                    break;
                }
                width += w;
                next += 1;
            }
            if aligned && start % 8 == 0 && width % 8 == 0 {
                out.push(CalcPart::Bytes { header, off: start / 8, len: width / 8 });
            } else {
                aligned &= width % 8 == 0;
                out.extend_from_slice(&parts[i..next]);
            }
            i = next;
        }
        out
    }
}

/// A window where the field fits in one, else plain bits.
fn window_or_bits(bit: u32, width: u32) -> FieldRef {
    if width > 64 {
        return FieldRef::Wide(Bits { bit, width });
    }
    window(bit, width)
}
