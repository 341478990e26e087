//! Writes the kdump-compressed dump of a large machine, filtered: how long it takes to inspect, and in how much
//! memory, is measured with it.
//!
//!     cargo run --release -p kho-testkit --example large_kdump -- DUMP [GIB [DATA_MIB]]
//!     /usr/bin/time -v kho inspect DUMP
//!
//! Of GIB gibibytes (20) of memory, DATA_MIB mebibytes (1024) hold data, half of the rest is zero, and the other
//! half was left out. The handover of the capture `small` lies in it.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};

use kho_testkit::{Kdump, Random, capture};

const PAGE: u64 = 4096;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let path = args
        .next()
        .expect("usage: large_kdump DUMP [GIB [DATA_MIB]]");
    let mut number = |default: u64| {
        args.next()
            .map_or(default, |n| n.parse().expect("a number"))
    };
    let (pages, data_pages) = (number(20) << 18, number(1024) << 8);
    let handover = capture("small");
    let held: std::collections::BTreeMap<u64, Vec<u8>> = handover
        .runs()
        .into_iter()
        .flat_map(|(pa, len)| (pa..pa + len).step_by(4096))
        .map(|pa| (pa / PAGE, handover.read(pa, 4096)))
        .collect();
    // Data comes in pieces of 2 MiB, spread over all of memory.
    let every = (pages / data_pages.max(1)).max(1);
    let is_data = |page: u64| (page / 512).is_multiple_of(every);
    let is_stored =
        |page: u64| held.contains_key(&page) || is_data(page) || (page / 64).is_multiple_of(2);

    // The headers of a small dump, with the numbers of this one.
    let mut small = kho_testkit::Memory::new();
    small.add(0, PAGE);
    let laid = Kdump {
        level: 31,
        ..Kdump::default()
    }
    .write(&small);
    let mut head = laid.bytes[..laid.bitmaps[0]].to_vec();
    let bitmap = pages.div_ceil(8).next_multiple_of(PAGE);
    head[436..440].copy_from_slice(&((2 * bitmap / PAGE) as u32).to_le_bytes());
    head[440..444].copy_from_slice(&(pages as u32).to_le_bytes());
    head[laid.sub + 96..laid.sub + 104].copy_from_slice(&pages.to_le_bytes());

    let mut table = BufWriter::new(File::create(&path)?);
    table.write_all(&head)?;
    for stored in [false, true] {
        for byte in 0..bitmap {
            let bits = (byte * 8..byte * 8 + 8).filter(|page| *page < pages);
            let bits = bits.filter(|page| !stored || is_stored(*page));
            table.write_all(&[bits.fold(0, |byte, page| byte | 1 << (page % 8))])?;
        }
    }
    let count = (0..pages).filter(|page| is_stored(*page)).count() as u64;
    let mut at = head.len() as u64 + 2 * bitmap + 24 * count;
    let mut data = BufWriter::new(File::options().write(true).open(&path)?);
    data.seek(SeekFrom::Start(at))?;
    let mut descriptor = |packed: &[u8], data: &mut BufWriter<File>| -> std::io::Result<[u8; 24]> {
        let mut out = [0; 24];
        out[..8].copy_from_slice(&at.to_le_bytes());
        out[8..12].copy_from_slice(&(packed.len() as u32).to_le_bytes());
        out[12] = 1;
        at += packed.len() as u64;
        data.write_all(packed)?;
        Ok(out)
    };
    let zlib = |bytes: &[u8]| -> std::io::Result<Vec<u8>> {
        let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes)?;
        out.finish()
    };
    let zero = descriptor(&zlib(&[0; 4096])?, &mut data)?;
    let mut random = Random(1);
    for page in (0..pages).filter(|page| is_stored(*page)) {
        let bytes = match held.get(&page) {
            Some(bytes) => bytes.clone(),
            // Half of it does not become shorter.
            None if is_data(page) => (0..512u64)
                .flat_map(|word| if word % 2 == 0 { page } else { random.next() }.to_le_bytes())
                .collect(),
            None => {
                table.write_all(&zero)?;
                continue;
            }
        };
        let descriptor = descriptor(&zlib(&bytes)?, &mut data)?;
        table.write_all(&descriptor)?;
    }
    table.flush()?;
    data.flush()
}
