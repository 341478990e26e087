//! DWARF, versions 2 to 5.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use gimli::{
    Abbreviations, Attribute, AttributeValue, DebugAbbrev, DebugAbbrevOffset, DebugInfo,
    DebugInfoOffset, DwTag, EndianSlice, EntriesRaw, Format, LittleEndian, Operation, UnitHeader,
    UnitOffset, UnitType,
};

use super::types::place;
use super::{
    CType, KernelError, MAX_CHAIN, MAX_MEMBERS, Member, Struct, Structs, define, string_at,
};

/// How many attributes an entry may have; a compiler's have some twenty.
const MAX_ATTRIBUTES: usize = 64;
/// How many dimensions an array may have, and how many entries may lie in it.
const MAX_DIMENSIONS: usize = 16;
/// How many entries may lie in a struct at any depth.
const MAX_ENTRIES: usize = 1 << 16;
/// How often the entries may be read again to find the types of members.
const MAX_REREAD: usize = 16;

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Entries<'e, 'a> = EntriesRaw<'e, Slice<'a>>;
type Header<'a> = UnitHeader<Slice<'a>>;

/// The sections that types are read from, decompressed and relocated.
pub(super) struct Sections<'a> {
    pub(super) info: &'a [u8],
    pub(super) abbrev: &'a [u8],
    pub(super) str: &'a [u8],
    pub(super) line_str: &'a [u8],
    pub(super) str_offsets: &'a [u8],
}

/// The structs called `names`.
pub(super) fn structs(
    sections: &Sections<'_>,
    names: &BTreeSet<String>,
) -> Result<Structs, KernelError> {
    let dwarf = Dwarf::new(sections)?;
    let mut out = Structs::new();
    let mut split = false;
    let mut units = dwarf.info.units();
    while let Some(header) = units.next().map_err(bad)? {
        let unit = dwarf.unit(header)?;
        split |= unit.split;
        dwarf.scan(&unit, names, &mut out)?;
    }
    // A compiler may write the types into files of their own.
    if split && names.iter().any(|name| !out.contains_key(name)) {
        return Err(bad("it continues in .dwo files, which are not read"));
    }
    Ok(out)
}

fn bad(error: impl ToString) -> KernelError {
    KernelError::Dwarf(error.to_string())
}

struct Dwarf<'a> {
    sections: &'a Sections<'a>,
    info: DebugInfo<Slice<'a>>,
    /// Where each table of abbreviations ends: at the next at the latest. So that each byte of
    /// them is read once, whatever the units say.
    tables: BTreeMap<usize, usize>,
    parsed: RefCell<BTreeMap<usize, Rc<Abbreviations>>>,
    /// Where each unit starts.
    units: Vec<usize>,
    /// How many bytes of entries may still be read again: many members may refer to a long one.
    left: Cell<usize>,
}

struct Unit<'a> {
    header: Header<'a>,
    abbreviations: Rc<Abbreviations>,
    /// Where its part of the table of strings starts.
    strings: usize,
    /// Whether the rest of it lies in another file.
    split: bool,
}

/// An entry of interest.
struct Entry<'a> {
    tag: DwTag,
    children: bool,
    attributes: Vec<Attribute<Slice<'a>>>,
}

impl<'a> Entry<'a> {
    fn get(&self, name: gimli::DwAt) -> Option<&Attribute<Slice<'a>>> {
        self.attributes.iter().find(|a| a.name() == name)
    }

    fn number(&self, name: gimli::DwAt) -> Option<u64> {
        self.get(name)?.udata_value()
    }

    fn flag(&self, name: gimli::DwAt) -> bool {
        let found = self.get(name).map(Attribute::raw_value);
        found.is_some_and(|value| value != AttributeValue::Flag(false))
    }
}

/// Reads the next entry; `None` where a list of children ends.
fn entry<'a>(entries: &mut Entries<'_, 'a>) -> Result<Option<Entry<'a>>, KernelError> {
    let Some(abbreviation) = entries.read_abbreviation().map_err(bad)? else {
        return Ok(None);
    };
    if abbreviation.attributes().len() > MAX_ATTRIBUTES {
        return Err(bad("an entry of too many attributes"));
    }
    let mut attributes = Vec::new();
    let specs = abbreviation.attributes();
    let read = entries.read_attributes(specs, &mut attributes);
    read.map_err(bad)?;
    Ok(Some(Entry {
        tag: abbreviation.tag(),
        children: abbreviation.has_children(),
        attributes,
    }))
}

impl<'a> Dwarf<'a> {
    fn new(sections: &'a Sections<'a>) -> Result<Self, KernelError> {
        let info = DebugInfo::new(sections.info, LittleEndian);
        let mut units = Vec::new();
        let mut tables = BTreeSet::new();
        let mut headers = info.units();
        while let Some(header) = headers.next().map_err(bad)? {
            units.extend(header.debug_info_offset().map(|offset| offset.0));
            tables.insert(header.debug_abbrev_offset().0);
        }
        let ends = tables.iter().skip(1).copied();
        let ends = ends.chain([sections.abbrev.len()]);
        let tables = tables.iter().copied().zip(ends).collect();
        Ok(Self {
            sections,
            info,
            tables,
            parsed: RefCell::default(),
            units,
            left: Cell::new((sections.info.len().saturating_mul(MAX_REREAD)).max(1 << 20)),
        })
    }

    fn abbreviations(&self, offset: usize) -> Result<Rc<Abbreviations>, KernelError> {
        if let Some(table) = self.parsed.borrow().get(&offset) {
            return Ok(Rc::clone(table));
        }
        let end = self.tables.get(&offset).copied().unwrap_or_default();
        let bytes = self.sections.abbrev.get(offset..end);
        let bytes = bytes.ok_or_else(|| bad("a unit's abbreviations lie beyond the end"))?;
        let table = DebugAbbrev::new(bytes, LittleEndian).abbreviations(DebugAbbrevOffset(0));
        let table = Rc::new(table.map_err(bad)?);
        self.parsed.borrow_mut().insert(offset, Rc::clone(&table));
        Ok(table)
    }

    /// Reads an entry that may have been read before.
    fn again(&self, entries: &mut Entries<'_, 'a>) -> Result<Option<Entry<'a>>, KernelError> {
        let start = entries.next_offset().0;
        let entry = entry(entries)?;
        let len = entries.next_offset().0.saturating_sub(start);
        let left = self.left.get().checked_sub(len);
        let left = left.ok_or_else(|| bad("too many references to the same types"))?;
        self.left.set(left);
        Ok(entry)
    }

    fn unit(&self, header: Header<'a>) -> Result<Unit<'a>, KernelError> {
        let abbreviations = self.abbreviations(header.debug_abbrev_offset().0)?;
        let mut unit = Unit {
            strings: match header.format() {
                Format::Dwarf32 => 8,
                Format::Dwarf64 => 16,
            },
            split: matches!(header.type_(), UnitType::Skeleton(_)),
            header,
            abbreviations,
        };
        let mut entries = unit.entries(None)?;
        if !entries.is_empty()
            && let Some(root) = self.again(&mut entries)?
        {
            let base = root.get(gimli::DW_AT_str_offsets_base);
            if let Some(AttributeValue::DebugStrOffsetsBase(base)) = base.map(Attribute::value) {
                unit.strings = base.0;
            }
            unit.split |= root.get(gimli::DW_AT_GNU_dwo_name).is_some()
                || root.get(gimli::DW_AT_dwo_name).is_some();
        }
        Ok(unit)
    }

    /// Collects the structs that `unit` declares, those inside of functions, too, which BTF does
    /// not tell from the others; but not those of a namespace, which C does not have.
    fn scan(
        &self,
        unit: &Unit<'a>,
        names: &BTreeSet<String>,
        out: &mut Structs,
    ) -> Result<(), KernelError> {
        let mut entries = unit.entries(None)?;
        let mut attributes = Vec::new();
        // How deep the namespace lies that the entries are in.
        let mut namespace = None;
        while !entries.is_empty() {
            let offset = entries.next_offset();
            let depth = entries.next_depth();
            let Some(abbreviation) = entries.read_abbreviation().map_err(bad)? else {
                continue;
            };
            let specs = abbreviation.attributes();
            if specs.len() > MAX_ATTRIBUTES {
                return Err(bad("an entry of too many attributes"));
            }
            if namespace.is_some_and(|outer| depth <= outer) {
                namespace = None;
            }
            if namespace.is_none() && abbreviation.tag() == gimli::DW_TAG_namespace {
                namespace = Some(depth);
            }
            if namespace.is_some() || abbreviation.tag() != gimli::DW_TAG_structure_type {
                entries.skip_attributes(specs).map_err(bad)?;
                continue;
            }
            let read = entries.read_attributes(specs, &mut attributes);
            read.map_err(bad)?;
            let found = Entry {
                tag: abbreviation.tag(),
                children: abbreviation.has_children(),
                attributes: std::mem::take(&mut attributes),
            };
            let name = self.name(unit, &found).ok();
            if let Some(name) = name.and_then(|name| names.get(name))
                && !found.flag(gimli::DW_AT_declaration)
                && let Some(size) = found.number(gimli::DW_AT_byte_size)
            {
                let members = self.members(unit, offset);
                let members = members.map_err(|error| error.within(name))?;
                define(out, name, Struct { size, members });
            }
            attributes = found.attributes;
        }
        Ok(())
    }

    fn members(&self, unit: &Unit<'a>, of: UnitOffset) -> Result<Vec<Member>, KernelError> {
        let mut out = Vec::new();
        for entry in self.children(unit, of, MAX_ENTRIES)? {
            // A static member, which C does not have, has no place in it.
            if entry.tag == gimli::DW_TAG_member && !entry.flag(gimli::DW_AT_external) {
                if out.len() == MAX_MEMBERS {
                    return Err(bad(format!("more than {MAX_MEMBERS} members")));
                }
                out.push(self.member(unit, &entry)?);
            }
        }
        Ok(out)
    }

    fn member(&self, unit: &Unit<'a>, entry: &Entry<'a>) -> Result<Member, KernelError> {
        let name = self.name(unit, entry)?.to_owned();
        let (ty, size) = self.type_of(unit, entry, 0)?;
        let cannot = || bad(format!("member `{name}` lies at no fixed place"));
        let at = match entry.get(gimli::DW_AT_data_member_location) {
            None => 0,
            Some(attribute) => match (attribute.udata_value(), attribute.exprloc_value()) {
                (Some(at), _) => at,
                (None, Some(expression)) => {
                    let mut operations = expression.operations(unit.header.encoding());
                    match operations.next().map_err(bad)? {
                        Some(Operation::PlusConstant { value }) => value,
                        _ => return Err(cannot()),
                    }
                }
                _ => return Err(cannot()),
            },
        };
        let (offset, bits) = match entry.number(gimli::DW_AT_bit_size) {
            None => (at, None),
            Some(width) => {
                let first = at.checked_mul(8).ok_or_else(cannot)?;
                let above = entry.get(gimli::DW_AT_bit_offset);
                let start = match (
                    entry.number(gimli::DW_AT_data_bit_offset),
                    above.and_then(Attribute::sdata_value),
                ) {
                    (Some(start), _) => first.checked_add(start),
                    // The older form counts from the highest bit of the integer that holds it,
                    // and from above that for a packed struct's field that ends in the next one.
                    (None, Some(above)) => {
                        let bytes = entry.number(gimli::DW_AT_byte_size).unwrap_or(size);
                        let end = bytes.checked_mul(8).and_then(|all| first.checked_add(all));
                        let end = end.and_then(|end| end.checked_sub_signed(above));
                        end.and_then(|end| end.checked_sub(width))
                    }
                    (None, None) => Some(first),
                };
                let start = start.ok_or_else(cannot)?;
                let (offset, start) = place(start, size);
                (offset, Some((start, width)))
            }
        };
        Ok(Member {
            name,
            ty,
            offset,
            size,
            bits,
        })
    }

    /// The type that an entry names, and its size; `void` where it names none.
    fn type_of(
        &self,
        unit: &Unit<'a>,
        entry: &Entry<'a>,
        depth: usize,
    ) -> Result<(CType, u64), KernelError> {
        match entry.get(gimli::DW_AT_type).map(Attribute::value) {
            None => Ok((CType::void(), 0)),
            Some(AttributeValue::UnitRef(offset)) => self.resolve(unit, offset, depth),
            Some(AttributeValue::DebugInfoRef(offset)) => {
                let (unit, offset) = self.elsewhere(offset)?;
                self.resolve(&unit, offset, depth)
            }
            Some(AttributeValue::DebugTypesRef(_)) => {
                Err(bad("a type in a type unit, which is not read"))
            }
            Some(AttributeValue::DebugInfoRefSup(_)) => {
                Err(bad("a type in a supplementary file, which is not read"))
            }
            Some(_) => Err(bad("a damaged reference to a type")),
        }
    }

    /// The unit that holds `offset`, and where therein.
    fn elsewhere(&self, offset: DebugInfoOffset) -> Result<(Unit<'a>, UnitOffset), KernelError> {
        let nowhere = || bad("a reference to a type that lies in no unit");
        let before = self.units.partition_point(|start| *start <= offset.0);
        let start = before.checked_sub(1).and_then(|at| self.units.get(at));
        let start = start.copied().ok_or_else(nowhere)?;
        let header = self.info.header_from_offset(DebugInfoOffset(start));
        let unit = self.unit(header.map_err(bad)?)?;
        let offset = offset.to_unit_offset(&unit.header).ok_or_else(nowhere)?;
        Ok((unit, offset))
    }

    fn resolve(
        &self,
        unit: &Unit<'a>,
        offset: UnitOffset,
        depth: usize,
    ) -> Result<(CType, u64), KernelError> {
        if depth > MAX_CHAIN {
            return Err(bad("a type that never ends"));
        }
        let found = self.again(&mut unit.entries(Some(offset))?)?;
        let found = found.ok_or_else(|| bad("a reference to a type where there is none"))?;
        let size = found.number(gimli::DW_AT_byte_size);
        let inner = || self.type_of(unit, &found, depth + 1);
        let qualified =
            |qualifier: &str| inner().map(|(inner, size)| (inner.qualified(qualifier), size));
        let name = || self.name(unit, &found);
        let tagged = |kind: &str| Ok((CType::tagged(kind, name()?), size.unwrap_or(0)));
        match found.tag {
            gimli::DW_TAG_base_type => {
                let size = size.unwrap_or(0);
                let name = name()?;
                let ty = match found.get(gimli::DW_AT_encoding).map(Attribute::value) {
                    Some(AttributeValue::Encoding(encoding)) => match encoding {
                        gimli::DW_ATE_boolean => CType::plain(name, "bool"),
                        gimli::DW_ATE_signed | gimli::DW_ATE_signed_char => {
                            CType::integer(name, size, true)
                        }
                        gimli::DW_ATE_unsigned | gimli::DW_ATE_unsigned_char => {
                            CType::integer(name, size, false)
                        }
                        _ => CType::same(name),
                    },
                    _ => CType::same(name),
                };
                Ok((ty, size))
            }
            gimli::DW_TAG_unspecified_type => Ok((CType::same(name()?), 0)),
            gimli::DW_TAG_typedef => {
                let (inner, size) = inner()?;
                Ok((inner.typedef(name()?), size))
            }
            gimli::DW_TAG_const_type => qualified("const"),
            gimli::DW_TAG_volatile_type => qualified("volatile"),
            gimli::DW_TAG_restrict_type | gimli::DW_TAG_atomic_type | gimli::DW_TAG_packed_type => {
                inner()
            }
            gimli::DW_TAG_pointer_type => {
                let (to, _) = inner()?;
                let size = size.unwrap_or_else(|| u64::from(unit.header.address_size()));
                Ok((CType::pointer(&to), size))
            }
            gimli::DW_TAG_subroutine_type => Ok((CType::same("function"), 0)),
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => tagged("struct"),
            gimli::DW_TAG_union_type => tagged("union"),
            gimli::DW_TAG_enumeration_type => tagged("enum"),
            gimli::DW_TAG_array_type => {
                let (mut array, mut size) = inner()?;
                // The innermost dimension comes last.
                for count in self.dimensions(unit, offset)?.into_iter().rev() {
                    let longer = array.array(count).zip(size.checked_mul(count));
                    (array, size) = longer.ok_or_else(|| bad("an array too long for memory"))?;
                }
                Ok((array, size))
            }
            tag => Err(bad(format!("a member's type is a {tag}"))),
        }
    }

    /// How many elements each dimension of the array at `offset` has; none for a flexible one.
    fn dimensions(&self, unit: &Unit<'a>, offset: UnitOffset) -> Result<Vec<u64>, KernelError> {
        let mut out = Vec::new();
        for entry in self.children(unit, offset, MAX_DIMENSIONS)? {
            if entry.tag != gimli::DW_TAG_subrange_type {
                continue;
            }
            let last = entry.get(gimli::DW_AT_upper_bound);
            // The bound of an array of none is -1.
            let last = last.and_then(|last| match (last.udata_value(), last.sdata_value()) {
                (Some(last), _) => Some(last),
                (None, Some(-1)) => Some(u64::MAX),
                _ => None,
            });
            let count = entry.number(gimli::DW_AT_count);
            let count = count.or(last.map(|last| last.wrapping_add(1)));
            out.push(count.unwrap_or(0));
        }
        if out.is_empty() {
            out.push(0);
        }
        Ok(out)
    }

    /// The children of the entry at `offset`, not theirs; with theirs, at most `max`.
    fn children(
        &self,
        unit: &Unit<'a>,
        offset: UnitOffset,
        max: usize,
    ) -> Result<Vec<Entry<'a>>, KernelError> {
        let mut entries = unit.entries(Some(offset))?;
        let parent = self.again(&mut entries)?;
        let mut out = Vec::new();
        if !parent.is_some_and(|parent| parent.children) {
            return Ok(out);
        }
        let mut seen = 0;
        while entries.next_depth() > 0 && !entries.is_empty() {
            let depth = entries.next_depth();
            let Some(child) = self.again(&mut entries)? else {
                continue;
            };
            seen += 1;
            if seen > max {
                return Err(bad(format!("a type of more than {max} parts")));
            }
            if depth == 1 {
                out.push(child);
            }
        }
        Ok(out)
    }

    /// An entry's name; empty where it has none.
    fn name<'n>(&self, unit: &Unit<'a>, entry: &'n Entry<'a>) -> Result<&'n str, KernelError>
    where
        'a: 'n,
    {
        let Some(attribute) = entry.get(gimli::DW_AT_name) else {
            return Ok("");
        };
        let name = match attribute.raw_value() {
            AttributeValue::String(name) => Some(name.slice()),
            AttributeValue::DebugStrRef(offset) => string_at(self.sections.str, offset.0),
            AttributeValue::DebugLineStrRef(offset) => string_at(self.sections.line_str, offset.0),
            AttributeValue::DebugStrOffsetsIndex(index) => {
                let offset = self.string_offset(unit, index.0);
                offset.and_then(|offset| string_at(self.sections.str, offset))
            }
            _ => None,
        };
        let name = name.filter(|name| name.len() <= super::MAX_NAME);
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        name.ok_or_else(|| bad("a name is damaged, too long or in another file"))
    }

    /// The string's offset that is number `index` of the unit's part of the table.
    fn string_offset(&self, unit: &Unit<'a>, index: usize) -> Option<usize> {
        let width = usize::from(unit.header.format().word_size());
        let at = index.checked_mul(width)?.checked_add(unit.strings)?;
        let bytes = self.sections.str_offsets.get(at..)?.get(..width)?;
        let mut word = [0; 8];
        word.get_mut(..width)?.copy_from_slice(bytes);
        usize::try_from(u64::from_le_bytes(word)).ok()
    }
}

impl<'a> Unit<'a> {
    /// Its entries, from `offset` on or all.
    fn entries(&self, offset: Option<UnitOffset>) -> Result<Entries<'_, 'a>, KernelError> {
        let entries = self.header.entries_raw(&self.abbreviations, offset);
        entries.map_err(bad)
    }
}
