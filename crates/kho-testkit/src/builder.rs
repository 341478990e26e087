//! Handovers built byte by byte.

use std::collections::BTreeMap;

use vm_fdt::FdtWriter;

use crate::Memory;

/// Builds a handover in memory of its own, from 0x1000_0000 on.
pub struct Builder {
    /// The memory as far as it is built: anything may be changed in it.
    pub mem: Memory,
    /// The root FDT's `compatible`; with `, ` between the strings of a list.
    pub root_compatible: String,
    /// LUO's compat string.
    pub luo_compatible: String,
    /// What LUO counts.
    pub liveupdate_num: u64,
    /// The version of the headers of blocks: 1 or 2.
    pub block_version: u32,
    /// The version of the descriptors of vmalloc areas in memfds: 1 or 2, which makes the memfd's 2 or 3.
    pub vmalloc_version: u32,
    // log2 of the page size.
    shift: u32,
    next: u64,
    keys: Vec<(u64, u32)>,
    subtrees: Vec<(String, u64, u64)>,
    lists: BTreeMap<String, Vec<(String, Vec<u8>)>>,
    sessions: Vec<[u8; 80]>,
    flbs: Vec<[u8; 64]>,
    scratch: Vec<(u64, u64)>,
}

/// A handover that was built.
pub struct Built {
    /// Its memory: what the handover reaches, and the boot parameters' node.
    pub mem: Memory,
    /// The root FDT's address.
    pub fdt: u64,
    /// Its bytes: a page.
    pub fdt_size: u64,
    /// The scratch table's address and bytes.
    pub scratch: (u64, u64),
}

/// A memfd to build.
#[derive(Clone)]
pub struct MemfdSpec {
    /// Its contents; their length is its size.
    pub contents: Vec<u8>,
    /// The order of its folios.
    pub order: u32,
    /// File position.
    pub pos: u64,
    /// Seals.
    pub seals: u32,
    /// Pages (by folio) that are recorded as holes.
    pub holes: Vec<u64>,
    /// Pages (by folio) that are recorded as not up to date; their contents are put into memory all the same.
    pub unused: Vec<u64>,
    /// The order of the runs in the vmalloc area that lists the folios.
    pub list_order: u32,
}

impl MemfdSpec {
    /// A memfd of single pages.
    pub fn new(contents: Vec<u8>) -> Self {
        Self {
            contents,
            order: 0,
            pos: 0,
            seals: 0,
            holes: Vec::new(),
            unused: Vec::new(),
            list_order: 0,
        }
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

fn le(values: &[u64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out[..text.len()].copy_from_slice(text);
    out
}

impl Builder {
    /// An empty handover of 4 KiB pages with two scratch areas.
    pub fn new() -> Self {
        Self::with_page(4096)
    }

    /// An empty handover of pages of `page` bytes: 4096, 16384 or 65536.
    pub fn with_page(page: u64) -> Self {
        Self {
            mem: Memory::new(),
            root_compatible: "kho-v4".into(),
            luo_compatible: "luo-v5".into(),
            liveupdate_num: 1,
            block_version: 1,
            vmalloc_version: 1,
            shift: page.ilog2(),
            next: 0x1000_0000,
            keys: Vec::new(),
            subtrees: Vec::new(),
            lists: BTreeMap::new(),
            sessions: Vec::new(),
            flbs: Vec::new(),
            scratch: vec![
                (0x4000_0000, 0x400_0000),
                (0x4000_0000, 0),
                (0x5000_0000, 0x400_0000),
            ],
        }
    }

    fn page(&self) -> usize {
        1 << self.shift
    }

    /// 2^order zero pages, naturally aligned, not preserved yet.
    pub fn alloc(&mut self, order: u32) -> u64 {
        let size = 1 << (self.shift + order);
        let pa = self.next.next_multiple_of(size);
        self.next = pa + size;
        self.mem.add(pa, size);
        pa
    }

    /// Preserves 2^order pages at `pa` as one key.
    pub fn preserve(&mut self, pa: u64, order: u32) {
        self.keys.push((pa, order));
    }

    /// A preserved folio.
    pub fn folio(&mut self, order: u32) -> u64 {
        let pa = self.alloc(order);
        self.preserve(pa, order);
        pa
    }

    /// A preserved folio that begins with `bytes`.
    pub fn blob(&mut self, bytes: &[u8]) -> u64 {
        let order = bytes.len().div_ceil(self.page()).max(1).next_power_of_two();
        let order = order.ilog2();
        let pa = self.folio(order);
        self.mem.write(pa, bytes);
        pa
    }

    /// A vmalloc area with `bytes` in it, in runs of 2^order pages; its descriptor.
    pub fn vmalloc(&mut self, bytes: &[u8], order: u32) -> [u8; 16] {
        let run = self.page() << order;
        let entries = self.page() / 8 - 1;
        let runs: Vec<u64> = bytes
            .chunks(run)
            .map(|part| {
                let pa = self.folio(order);
                self.mem.write(pa, part);
                pa
            })
            .collect();
        if runs.is_empty() {
            return [0; 16];
        }
        let first = self.folio(0);
        let mut chunk = first;
        for part in runs.chunks(entries) {
            self.mem.write(chunk + 8, &le(part));
            if part.len() == entries {
                // A chunk that fills up is followed by a new one, even if no page is left.
                let next = self.folio(0);
                self.mem.set_u64(chunk, next);
                chunk = next;
            }
        }
        let mut out = [0; 16];
        out[..8].copy_from_slice(&first.to_le_bytes());
        out[8..12].copy_from_slice(&((runs.len() as u32) << order).to_le_bytes());
        out[12..14].copy_from_slice(&1u16.to_le_bytes());
        out[14..].copy_from_slice(&(order as u16).to_le_bytes());
        out
    }

    /// A block set of `entries`, which all have one size; its head.
    pub fn blocks<const N: usize>(&mut self, entries: &[[u8; N]]) -> u64 {
        let mut head = 0;
        let mut last = 0;
        let header = if self.block_version == 1 { 16 } else { 24 };
        for part in entries.chunks((self.page() - header) / N) {
            let block = self.folio(0);
            if last == 0 {
                head = block
            } else {
                self.mem.set_u64(last, block)
            }
            self.mem.set_u64(block + 8, part.len() as u64);
            if self.block_version == 2 {
                // entry_size, then 4 reserved bytes.
                self.mem.set_u32(block + 16, N as u32);
            }
            self.mem.write(block + header as u64, &part.concat());
            last = block;
        }
        head
    }

    /// A memfd; its state's address.
    pub fn memfd(&mut self, spec: &MemfdSpec) -> u64 {
        let size = spec.contents.len() as u64;
        let mut records = Vec::new();
        let mut count = 0u64;
        for (index, part) in (0u64..).zip(spec.contents.chunks(self.page() << spec.order)) {
            let page = index << spec.order;
            let word = if spec.holes.contains(&page) {
                0
            } else {
                let pa = self.folio(spec.order);
                self.mem.write(pa, part);
                let flags = if spec.unused.contains(&page) { 1 } else { 3 };
                pa >> self.shift | flags << 52
            };
            records.extend(le(&[word, page]));
            count += 1;
        }
        let area = self.vmalloc(&records, spec.list_order);
        let runs = records.len().div_ceil(self.page() << spec.list_order);
        let mut ser = le(&[spec.pos, size]);
        ser.extend(spec.seals.to_le_bytes());
        ser.extend(0u32.to_le_bytes());
        ser.extend(count.to_le_bytes());
        ser.extend(area);
        if self.vmalloc_version == 2 {
            let chunks = if runs > 0 {
                runs / (self.page() / 8 - 1) + 1
            } else {
                0
            };
            ser.extend((chunks as u64).to_le_bytes());
        }
        self.blob(&ser)
    }

    /// A file entry.
    pub fn file(compatible: &str, data: u64, token: u64) -> [u8; 64] {
        let mut out = padded::<64>(compatible.as_bytes());
        out[48..].copy_from_slice(&le(&[data, token]));
        out
    }

    /// Adds a session of file entries.
    pub fn session(&mut self, name: &[u8], files: &[[u8; 64]]) {
        let head = self.blocks(files);
        let mut ser = padded::<80>(name);
        ser[64..].copy_from_slice(&le(&[head, files.len() as u64]));
        self.sessions.push(ser);
    }

    /// Adds a session of memfds with tokens from 1 on.
    pub fn session_of(&mut self, name: &str, memfds: &[MemfdSpec]) {
        let files: Vec<_> = (1..)
            .zip(memfds)
            .map(|(token, spec)| {
                let data = self.memfd(spec);
                let version = self.vmalloc_version + 1;
                Self::file(&format!("memfd-v{version}"), data, token)
            })
            .collect();
        self.session(name.as_bytes(), &files);
    }

    /// Adds a file-lifecycle-bound object.
    pub fn flb(&mut self, name: &str, data: u64, count: u64) {
        let mut ser = padded::<64>(name.as_bytes());
        ser[48..].copy_from_slice(&le(&[data, count]));
        self.flbs.push(ser);
    }

    /// Adds a subtree.
    pub fn subtree(&mut self, name: &str, pa: u64, size: u64) {
        self.subtrees.push((name.into(), pa, size));
    }

    /// Lists a component in the version table: flag 1 is "optional".
    pub fn table(&mut self, name: &str, version: u32, flags: u32) {
        let value = [version.to_le_bytes(), flags.to_le_bytes()].concat();
        self.list("compat", name, &value);
    }

    /// Lists the feature masks of a component: supported, required, active.
    pub fn features(&mut self, name: &str, masks: [u64; 3]) {
        self.list("features", name, &le(&masks));
    }

    /// Adds a property to the node `node` of the root FDT.
    pub fn list(&mut self, node: &str, name: &str, value: &[u8]) {
        let properties = self.lists.entry(node.into()).or_default();
        properties.push((name.into(), value.into()));
    }

    /// Adds kexec metadata.
    pub fn metadata(&mut self, version: u32, release: &str, count: u32) {
        let mut ser = version.to_le_bytes().to_vec();
        ser.extend(padded::<65>(release.as_bytes()));
        ser.extend(count.to_le_bytes());
        let pa = self.blob(&ser);
        self.subtree("kexec-metadata", pa, 73);
    }

    /// Adds a memblock FDT of regions: name, address, bytes. The regions are made and preserved
    /// where they have no memory yet.
    pub fn memblock(&mut self, compatible: &str, regions: &[(&str, u64)]) -> Vec<u64> {
        let mut fdt = FdtWriter::new().unwrap();
        let mut starts = Vec::new();
        let root = fdt.begin_node("").unwrap();
        fdt.property_string("compatible", compatible).unwrap();
        for (name, size) in regions {
            let order = (*size as usize).div_ceil(self.page()).next_power_of_two();
            let order = order.ilog2();
            let start = self.folio(order);
            let node = fdt.begin_node(name).unwrap();
            fdt.property_string("compatible", "reserve-mem-v1").unwrap();
            fdt.property("start", &start.to_le_bytes()).unwrap();
            fdt.property("size", &size.to_le_bytes()).unwrap();
            fdt.end_node(node).unwrap();
            starts.push(start);
        }
        fdt.end_node(root).unwrap();
        let bytes = fdt.finish().unwrap();
        let pa = self.blob(&bytes);
        self.subtree("memblock", pa, bytes.len() as u64);
        starts
    }

    fn luo(&mut self) {
        let sessions = std::mem::take(&mut self.sessions);
        let head = self.blocks(&sessions);
        let area = self.folio(0);
        let mut ser = le(&[1, self.flbs.len() as u64]);
        ser.extend(self.flbs.concat());
        self.mem.write(area, &ser);
        let mut header = self.luo_compatible.clone().into_bytes();
        header.resize((header.len() + 1).next_multiple_of(8), 0);
        header.extend(le(&[self.liveupdate_num, head, area]));
        let pa = self.blob(&header);
        self.subtree("LUO", pa, header.len() as u64);
    }

    /// The tracker of `keys`; its root's address.
    fn tracker(&mut self) -> u64 {
        let root = self.alloc(0);
        let mut nodes: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        // Bits of a table's index and of a leaf's, and how many levels a key of 65 - shift bits takes.
        let (table, leaf) = (self.shift - 3, self.shift + 3);
        let depth = (65 - self.shift - leaf).div_ceil(table) + 1;
        for (pa, order) in self.keys.clone() {
            let key = 1u64 << (64 - self.shift - order) | pa >> self.shift >> order;
            let mut node = root;
            for level in (1..depth).rev() {
                let shift = leaf + table * (level - 1);
                let entry = node + 8 * (key >> shift & ((1 << table) - 1));
                node = match nodes.get(&(level, key >> shift)) {
                    Some(child) => *child,
                    None => {
                        let child = self.alloc(0);
                        self.mem.set_u64(entry, child);
                        nodes.insert((level, key >> shift), child);
                        child
                    }
                };
            }
            let word = node + 8 * (key >> 6 & ((1 << table) - 1));
            let bits = self.mem.u64(word);
            self.mem.set_u64(word, bits | 1 << (key & 63));
        }
        root
    }

    /// Writes LUO, where there is a session or an FLB, then tracker, root FDT, scratch table, and
    /// a setup_data node that names them.
    pub fn finish(mut self) -> Built {
        if !self.sessions.is_empty() || !self.flbs.is_empty() {
            self.luo();
        }
        let fdt = self.folio(0);
        let tracker = self.tracker();
        let mut writer = FdtWriter::new().unwrap();
        let root = writer.begin_node("").unwrap();
        writer
            .property_string_list(
                "compatible",
                self.root_compatible.split(", ").map(String::from).collect(),
            )
            .unwrap();
        writer
            .property("preserved-memory-map", &tracker.to_le_bytes())
            .unwrap();
        for (name, properties) in &self.lists {
            let node = writer.begin_node(name).unwrap();
            for (name, value) in properties {
                writer.property(name, value).unwrap();
            }
            writer.end_node(node).unwrap();
        }
        for (name, pa, size) in &self.subtrees {
            let node = writer.begin_node(name).unwrap();
            writer
                .property("preserved-data", &pa.to_le_bytes())
                .unwrap();
            writer.property("blob-size", &size.to_le_bytes()).unwrap();
            writer.end_node(node).unwrap();
        }
        writer.end_node(root).unwrap();
        let bytes = writer.finish().unwrap();
        assert!(bytes.len() <= self.page(), "the root FDT is one page");
        self.mem.write(fdt, &bytes);
        let table = self.alloc(0);
        let entries = self.scratch.iter();
        let entries: Vec<u64> = entries.flat_map(|(addr, size)| [*addr, *size]).collect();
        self.mem.write(table, &le(&entries));
        let scratch = (table, 16 * self.scratch.len() as u64);
        // setup_data: next, type 10, len 32, then kho_data.
        let node = self.alloc(0);
        let mut setup = le(&[0]);
        setup.extend(10u32.to_le_bytes());
        setup.extend(32u32.to_le_bytes());
        setup.extend(le(&[fdt, self.page() as u64, scratch.0, scratch.1]));
        self.mem.write(node + 0x108, &setup);
        Built {
            fdt_size: self.page() as u64,
            mem: self.mem,
            fdt,
            scratch,
        }
    }
}
