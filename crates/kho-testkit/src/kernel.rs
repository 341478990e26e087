//! Kernel images and modules, as far as their strings go.

/// The banner of a kernel of release 7.3.4.
pub const BANNER: &[u8] = b"Linux version 7.3.4 (a@b) (gcc) #1 SMP\n\0";
/// A section that is in memory.
pub const ALLOC: u64 = 2;
/// A section of code.
pub const EXEC: u64 = 4;
/// What the sections of versions and of features begin with.
pub const MAGIC: u32 = 0x4c56_5550;

/// A section: name, type, flags, bytes.
#[derive(Clone)]
pub struct Section(pub &'static str, pub u32, pub u64, pub Vec<u8>);

/// An ELF file of type `kind`. The first section lies at 0x200 of the file and is linked at
/// 0x81000000, each next one 0x10000 higher.
pub fn elf(kind: u16, wide: bool, big: bool, sections: &[Section]) -> Vec<u8> {
    let put = |out: &mut Vec<u8>, value: u64, size: usize| {
        if big {
            out.extend(&value.to_be_bytes()[8 - size..]);
        } else {
            out.extend(&value.to_le_bytes()[..size]);
        }
    };
    let word = if wide { 8 } else { 4 };
    let mut names = vec![0];
    let mut body = vec![0; 0x200];
    let mut headers = Vec::new();
    let header = |headers: &mut Vec<u8>, fields: [u64; 6]| {
        let [name, kind, flags, addr, offset, len] = fields;
        put(headers, name, 4);
        put(headers, kind, 4);
        for value in [flags, addr, offset, len] {
            put(headers, value, word);
        }
        put(headers, 0, 8); // link, info
        put(headers, 1, word); // alignment
        put(headers, 0, word); // size of an entry
    };
    header(&mut headers, [0; 6]);
    for (index, Section(name, kind, flags, bytes)) in sections.iter().enumerate() {
        body.resize(body.len().next_multiple_of(16), 0);
        let addr = 0x8100_0000 + index as u64 * 0x1_0000;
        let place = [
            names.len() as u64,
            u64::from(*kind),
            *flags,
            addr,
            body.len() as u64,
            bytes.len() as u64,
        ];
        header(&mut headers, place);
        names.extend(name.bytes().chain([0]));
        body.extend(bytes);
    }
    let own = names.len() as u64;
    names.extend(b".shstrtab\0");
    let at = body.len() as u64;
    header(&mut headers, [own, 3, 0, 0, at, names.len() as u64]);
    body.extend(names);
    let table = body.len() as u64;
    body.extend(&headers);

    let mut head = b"\x7fELF".to_vec();
    head.extend([1 + u8::from(wide), 1 + u8::from(big), 1, 0]);
    head.extend([0; 8]);
    put(&mut head, u64::from(kind), 2);
    put(&mut head, 62, 2); // x86-64
    put(&mut head, 1, 4);
    for value in [0, 0, table] {
        put(&mut head, value, word); // entry, program headers, section headers
    }
    put(&mut head, 0, 4);
    for value in [0, 0, 0, if wide { 64 } else { 40 }] {
        put(&mut head, value, 2);
    }
    put(&mut head, sections.len() as u64 + 2, 2);
    put(&mut head, sections.len() as u64 + 1, 2);
    body[..head.len()].copy_from_slice(&head);
    body
}

/// Strings, each with its NUL.
pub fn texts(texts: &[&str]) -> Vec<u8> {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    bytes.collect()
}

/// Strings, each with its NUL, behind the banner.
pub fn strings(list: &[&str]) -> Vec<u8> {
    [BANNER, &texts(list)].concat()
}

fn field(bytes: &mut Vec<u8>, text: &str) {
    let end = bytes.len() + 48;
    bytes.extend(text.bytes());
    bytes.resize(end, 0);
}

/// A handler as it is registered: a pointer, the string in 48 bytes, more pointers.
pub fn handler(text: &str) -> Vec<u8> {
    let mut bytes = 0xffff_ffff_8141_f360u64.to_le_bytes().to_vec();
    field(&mut bytes, text);
    bytes.extend(0xffff_ffff_8169_ac98u64.to_le_bytes());
    bytes
}

/// A minimal x86 boot image of one setup sector around `payload`.
pub fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 0x400];
    image[0x1f1] = 1;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
    image[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
    image[0x300..0x30b].copy_from_slice(b"7.3.4 (a@b)");
    image[0x248..0x24c].copy_from_slice(&0x10u32.to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image.extend([0; 0x10]);
    image.extend(payload);
    image.extend([0xcc; 100]);
    image
}

/// A number in the byte order `big`.
fn word<const N: usize>(little: [u8; N], big: bool) -> [u8; N] {
    let mut bytes = little;
    if big {
        bytes.reverse();
    }
    bytes
}

/// The header of a section of versions or of features.
pub fn header(magic: u32, version: u32, big: bool) -> Vec<u8> {
    [magic, version]
        .map(|value| word(value.to_le_bytes(), big))
        .concat()
}

/// The section `.liveupdate_versions`.
pub fn versions(texts: &[&str], big: bool) -> Vec<u8> {
    let mut bytes = header(MAGIC, 1, big);
    texts.iter().for_each(|text| field(&mut bytes, text));
    bytes
}

/// The section `.liveupdate_features`: name, supported, required and active.
pub fn features(entries: &[(&str, u64, u64, u64)], big: bool) -> Vec<u8> {
    let mut bytes = header(MAGIC, 1, big);
    for (name, supported, required, active) in entries {
        field(&mut bytes, name);
        bytes.extend(word(8u32.to_le_bytes(), big));
        bytes.extend([0; 4]);
        for value in [supported, required, active] {
            bytes.extend(word(value.to_le_bytes(), big));
        }
    }
    bytes
}

/// Where the section headers of [`pe`] are.
pub const PE_TABLE: usize = 0x80 + 24 + 0xf0;

/// A PE file with sections of these names and bytes, as a unified kernel image is: padded to 0x200 bytes in the
/// file, with their own length in memory.
pub fn pe(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut image = vec![0; (PE_TABLE + 40 * sections.len()).next_multiple_of(0x200)];
    image[..2].copy_from_slice(b"MZ");
    image[0x3c] = 0x80;
    image[0x80..0x84].copy_from_slice(b"PE\0\0");
    image[0x84..0x86].copy_from_slice(&0x8664u16.to_le_bytes());
    image[0x86..0x88].copy_from_slice(&(sections.len() as u16).to_le_bytes());
    image[0x94..0x96].copy_from_slice(&0xf0u16.to_le_bytes());
    for (index, (name, bytes)) in sections.iter().enumerate() {
        let at = PE_TABLE + 40 * index;
        image[at..at + name.len()].copy_from_slice(name.as_bytes());
        let stored = bytes.len().next_multiple_of(0x200);
        let places = [bytes.len(), 0x1_0000 * (index + 1), stored, image.len()];
        for (field, place) in places.into_iter().enumerate() {
            let at = at + 8 + 4 * field;
            image[at..at + 4].copy_from_slice(&(place as u32).to_le_bytes());
        }
        image.extend(*bytes);
        image.resize(image.len().next_multiple_of(0x200), 0);
    }
    image
}
