//! The modules that an initrd has: cpio archives in a row, of which one may be compressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use kho_image::Unpacker;

/// No initrd unpacks to more.
const UNPACKED_MAX: u64 = 4 << 30;
/// The kernel's own limit of a path.
const NAME_MAX: usize = 4096;
/// No initrd has nearly as many modules.
const MODULES_MAX: usize = 1 << 16;
const HEADER: usize = 110;

/// An initrd.
#[derive(Clone, Debug)]
pub(crate) struct Initrd {
    /// Where it is.
    pub(crate) of: String,
    pub(crate) bytes: u64,
    /// The names of its modules, without what compresses them; or why they are not known.
    pub(crate) modules: Result<Vec<String>, String>,
}

impl Initrd {
    /// The one in the file `path`, which is called `of`: the bytes `range` of it.
    pub(crate) fn part(path: &Path, range: Range<u64>, of: String) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(range.start))?;
        let bytes = range.end.saturating_sub(range.start);
        let mut modules = Vec::new();
        let listed = list(&mut BufReader::new(file.take(bytes)), &mut modules, true);
        Ok(Self {
            of,
            bytes,
            modules: listed.map(|()| modules).map_err(|error| error.to_string()),
        })
    }

    /// Whether the module `path` is in it; `None` where that is not known.
    pub(crate) fn has(&self, path: &str) -> Option<bool> {
        let modules = self.modules.as_ref().ok()?;
        Some(modules.contains(&stem(path)?))
    }
}

/// The name of the module in the file `path`: `x_y` of `kernel/x-y.ko.zst`.
fn stem(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let (stem, _) = name
        .split_once(".ko")
        .filter(|(_, rest)| rest.is_empty() || rest.starts_with('.'))?;
    Some(stem.replace('-', "_"))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Adds the modules of the archives in `input`.
fn list(input: &mut dyn BufRead, modules: &mut Vec<String>, packed: bool) -> io::Result<()> {
    let mut listed = false;
    loop {
        // Zeros stand between archives.
        let rest = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Padding of less than a block's header, which lz4 has no word for.
            Err(error) if listed && error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            rest => rest?,
        };
        let Some(&first) = rest.first() else {
            return Ok(());
        };
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        if zeros > 0 {
            input.consume(zeros);
        } else if first == b'0' {
            archive(input, modules)?;
            listed = true;
        } else {
            let unpacker = Unpacker::open(input)?.filter(|_| packed);
            let unpacker =
                unpacker.ok_or_else(|| damaged("neither a cpio archive nor compressed"))?;
            let unpacked = unpacker.lenient().take(UNPACKED_MAX);
            return list(&mut BufReader::new(unpacked), modules, false);
        }
    }
}

/// Adds the modules of one archive, up to its trailer.
fn archive(input: &mut dyn BufRead, modules: &mut Vec<String>) -> io::Result<()> {
    loop {
        let mut header = [0; HEADER];
        input.read_exact(&mut header)?;
        if !header.starts_with(b"070701") && !header.starts_with(b"070702") {
            return Err(damaged("invalid cpio header: expected 070701 or 070702"));
        }
        let field = |index: usize| {
            let digits = header.get(6 + 8 * index..14 + 8 * index);
            let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
            let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            number.ok_or_else(|| damaged("invalid cpio header: expected digits"))
        };
        let (bytes, name_len) = (field(6)?, field(11)? as usize);
        if name_len > NAME_MAX {
            return Err(damaged(
                "invalid cpio header: expected a name of at most 4096 bytes",
            ));
        }
        let padded = (HEADER + name_len).next_multiple_of(4) - HEADER;
        let mut name = vec![0; padded];
        input.read_exact(&mut name)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if name == b"TRAILER!!!" {
            return Ok(());
        }
        if let Some(stem) = stem(&String::from_utf8_lossy(name)) {
            if modules.len() == MODULES_MAX {
                return Err(damaged("more modules than any initrd has"));
            }
            modules.push(stem);
        }
        let bytes = u64::from(bytes).next_multiple_of(4);
        if io::copy(&mut input.take(bytes), &mut io::sink())? < bytes.saturating_sub(3) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn archive_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, contents) in files.iter().chain(&[("TRAILER!!!", &b""[..])]) {
            let mut fields = [0; 13];
            (fields[6], fields[11]) = (contents.len(), name.len() + 1);
            bytes.extend(b"070701");
            fields
                .iter()
                .for_each(|field| write!(bytes, "{field:08x}").unwrap());
            for part in [&[name.as_bytes(), b"\0"].concat(), *contents] {
                bytes.extend(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
        }
        bytes
    }

    fn modules(bytes: &[u8]) -> Result<Vec<String>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"head").unwrap();
        file.write_all(bytes).unwrap();
        let range = 4..4 + bytes.len() as u64;
        Initrd::part(file.path(), range, String::new())
            .unwrap()
            .modules
    }

    #[test]
    fn modules_of_archives_in_a_row() {
        let early = archive_of(&[("kernel/x86/microcode.bin", &[0; 5])]);
        let of = |name| {
            archive_of(&[
                ("lib", b""),
                (name, &[7; 9]),
                ("lib/modules.order", b"x.ko"),
            ])
        };
        let main = of("usr/lib/modules/7.3.4/kernel/a-b.ko.xz");
        let zeros = [0; 512];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&main).unwrap();
        let packed = [
            gzip.finish().unwrap(),
            zstd::encode_all(&main[..], 1).unwrap(),
        ];
        for packed in packed.iter().chain([&main]) {
            let all = [&early[..], &zeros, packed].concat();
            assert_eq!(modules(&all), Ok(vec!["a_b".to_owned()]));
            let cut = &all[..all.len() - packed.len() / 2];
            assert!(modules(cut).is_err());
        }
        let two = [&of("c.ko")[..], &zeros, &of("d.ko")].concat();
        assert_eq!(modules(&two), Ok(vec!["c".to_owned(), "d".to_owned()]));
        assert_eq!(modules(&[]), Ok(Vec::new()));
        for other in [&b"BZh9"[..], b"070707", b"0707"] {
            assert!(modules(other).is_err());
        }
        let mut long = main;
        long[94..102].copy_from_slice(b"ffffffff");
        assert!(modules(&long).is_err());
    }
}
