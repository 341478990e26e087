//! The sections of an ELF file that hold types.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Read;

use object::elf::{FileHeader32, FileHeader64, SHT_NOBITS};
use object::read::elf::{ElfFile, FileHeader, SectionHeader};
use object::read::{ReadCache, ReadCacheOps, ReadRef};
use object::{
    CompressionFormat, Endianness, Object, ObjectKind, ObjectSection, ObjectSymbol,
    RelocationEncoding, RelocationKind, RelocationTarget, SectionIndex,
};

use super::{KernelError, Structs, btf, dwarf};

/// The largest section that is read, in bytes.
const MAX_SECTION: u64 = 2 << 30;
/// How much longer than its compressed form a section may be; beyond, the size is not believed.
const MAX_RATIO: u64 = 512;

/// The structs called `names`, and what they were read from. BTF comes first, which is quicker to
/// read; what it does not have is looked for in DWARF.
pub(super) fn structs<R: ReadCacheOps>(
    data: &ReadCache<R>,
    names: &BTreeSet<String>,
) -> Result<(Structs, &'static str), KernelError> {
    let class = data.read_bytes_at(4, 1);
    match class.ok().and_then(<[u8]>::first) {
        Some(1) => File::<FileHeader32<Endianness>, R>::parse(data)?.structs(names),
        _ => File::<FileHeader64<Endianness>, R>::parse(data)?.structs(names),
    }
}

fn bad(error: impl ToString) -> KernelError {
    KernelError::Elf(error.to_string())
}

struct File<'a, Elf: FileHeader<Endian = Endianness>, R: ReadCacheOps> {
    elf: ElfFile<'a, Elf, &'a ReadCache<R>>,
    data: &'a ReadCache<R>,
}

impl<'a, Elf: FileHeader<Endian = Endianness>, R: ReadCacheOps> File<'a, Elf, R> {
    fn parse(data: &'a ReadCache<R>) -> Result<Self, KernelError> {
        let elf = ElfFile::parse(data).map_err(bad)?;
        if elf.endian() == Endianness::Big {
            return Err(bad(
                "of a big-endian machine, which no handover format is for",
            ));
        }
        Ok(Self { elf, data })
    }

    fn structs(&self, names: &BTreeSet<String>) -> Result<(Structs, &'static str), KernelError> {
        let btf = match self.section(b".BTF")? {
            None => None,
            Some(blob) => match btf::structs(&blob, names) {
                Ok(structs) => Some(structs),
                // A module may have DWARF, too.
                Err(KernelError::SplitBtf) if self.has_dwarf()? => None,
                Err(error) => return Err(error),
            },
        };
        let mut missing = names.clone();
        if let Some(found) = &btf {
            missing.retain(|name| !found.contains_key(name));
        }
        match btf {
            Some(found) if missing.is_empty() || !self.has_dwarf()? => return Ok((found, "BTF")),
            None if !self.has_dwarf()? => return Err(KernelError::NoTypes),
            _ => {}
        }
        let section = |name: &[u8]| Ok::<_, KernelError>(self.section(name)?.unwrap_or_default());
        let sections = dwarf::Sections {
            info: &section(b".debug_info")?,
            abbrev: &section(b".debug_abbrev")?,
            str: &section(b".debug_str")?,
            line_str: &section(b".debug_line_str")?,
            str_offsets: &section(b".debug_str_offsets")?,
        };
        let mut out = dwarf::structs(&sections, &missing)?;
        let apart = self.find(b".debug_info")?.1 || self.find(b".debug_types")?.0.is_some();
        if out.len() < missing.len() && apart {
            let text = "type units in sections of their own, which are not read";
            return Err(KernelError::Dwarf(text.to_owned()));
        }
        match btf {
            None => Ok((out, "DWARF")),
            Some(found) if out.is_empty() => Ok((found, "BTF")),
            Some(found) => {
                out.extend(found);
                Ok((out, "BTF and DWARF"))
            }
        }
    }

    fn has_dwarf(&self) -> Result<bool, KernelError> {
        Ok(self.find(b".debug_info")?.0.is_some())
    }

    /// The first section called `name`, which `.debug_` may be spelled `.zdebug_` of, and whether
    /// there are more.
    ///
    /// Names are compared in place: one that never ends costs nothing.
    fn find(&self, name: &[u8]) -> Result<(Option<SectionIndex>, bool), KernelError> {
        let endian = self.elf.endian();
        let table = self.elf.elf_section_table();
        if table.is_empty() {
            return Ok((None, false));
        }
        let names = self.elf.elf_header().shstrndx(endian, self.data);
        let names = names.map_err(bad)?;
        let names = table
            .section(SectionIndex(usize::try_from(names).map_err(bad)?))
            .map_err(bad)?;
        if names.sh_size(endian).into() > MAX_SECTION {
            return Err(bad("section names of more than 2 GiB"));
        }
        let names = names.data(endian, self.data).map_err(bad)?;
        let called = |at: u32| {
            let rest = usize::try_from(at).ok().and_then(|at| names.get(at..));
            let plain = rest.and_then(|rest| rest.strip_prefix(name));
            let gnu = || {
                let rest = rest?.strip_prefix(b".zdebug_")?;
                rest.strip_prefix(name.strip_prefix(b".debug_")?)
            };
            plain
                .or_else(gnu)
                .is_some_and(|rest| rest.first() == Some(&0))
        };
        let mut found = table.enumerate().filter(|(_, section)| {
            section.sh_type(endian) != SHT_NOBITS && called(section.sh_name(endian))
        });
        let first = found.next().map(|(index, _)| index);
        Ok((first, found.next().is_some()))
    }

    /// The content of the section called `name`, decompressed and relocated.
    fn section(&self, name: &[u8]) -> Result<Option<Cow<'a, [u8]>>, KernelError> {
        let (Some(index), _) = self.find(name)? else {
            return Ok(None);
        };
        let shown = String::from_utf8_lossy(name);
        let named = |error: &dyn ToString| bad(format!("{shown}: {}", error.to_string()));
        let section = self.elf.section_by_index(index).map_err(|e| named(&e))?;
        let range = section.compressed_file_range().map_err(|e| named(&e))?;
        if range.uncompressed_size > MAX_SECTION || range.compressed_size > MAX_SECTION {
            return Err(named(&"more than 2 GiB"));
        }
        let compressed = section.compressed_data().map_err(|e| named(&e))?;
        let data = match compressed.format {
            CompressionFormat::None => Cow::Borrowed(compressed.data),
            format => {
                let size = compressed.uncompressed_size;
                let most = (compressed.data.len() as u64).saturating_mul(MAX_RATIO);
                if size > most.max(1 << 20) {
                    return Err(named(&"decompressed, it would be beyond belief"));
                }
                Cow::Owned(decompress(format, compressed.data, size).map_err(|e| named(&e))?)
            }
        };
        if self.elf.kind() != ObjectKind::Relocatable {
            return Ok(Some(data));
        }
        let mut data = data.into_owned();
        for (offset, relocation) in section.relocations() {
            // Others are of code, which types do not refer to.
            if relocation.kind() != RelocationKind::Absolute
                || relocation.encoding() != RelocationEncoding::Generic
            {
                continue;
            }
            let target = match relocation.target() {
                RelocationTarget::Symbol(index) => {
                    let symbol = self.elf.symbol_by_index(index);
                    symbol.map_err(|e| named(&e))?.address()
                }
                RelocationTarget::Absolute => 0,
                _ => continue,
            };
            let outside = || named(&"a relocation outside of it");
            let len = usize::from(relocation.size() / 8);
            let start = usize::try_from(offset).map_err(|_| outside())?;
            let place = start
                .checked_add(len)
                .and_then(|end| data.get_mut(start..end))
                .ok_or_else(outside)?;
            let mut value = target.wrapping_add_signed(relocation.addend());
            if relocation.has_implicit_addend() {
                let mut there = [0; 8];
                if let Some(there) = there.get_mut(..len) {
                    there.copy_from_slice(place);
                }
                value = value.wrapping_add(u64::from_le_bytes(there));
            }
            match value.to_le_bytes().get(..len) {
                Some(bytes) => place.copy_from_slice(bytes),
                None => return Err(outside()),
            }
        }
        Ok(Some(Cow::Owned(data)))
    }
}

/// `data` decompressed, which must come to `size` bytes.
fn decompress(format: CompressionFormat, data: &[u8], size: u64) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let limit = size.saturating_add(1);
    let read = match format {
        CompressionFormat::Zlib => flate2::read::ZlibDecoder::new(data)
            .take(limit)
            .read_to_end(&mut out),
        CompressionFormat::Zstandard => zstd::stream::read::Decoder::new(data)
            .and_then(|decoder| decoder.take(limit).read_to_end(&mut out)),
        _ => return Err("compressed in an unknown way".to_owned()),
    };
    read.map_err(|error| error.to_string())?;
    if out.len() as u64 == size {
        Ok(out)
    } else {
        Err(format!("not the {size} bytes that it should decompress to"))
    }
}
