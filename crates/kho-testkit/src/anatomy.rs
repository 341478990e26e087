//! A good handover taken apart: where in memory each of its structures lies.

use crate::Memory;

/// A node of the tracker.
#[derive(Clone, Copy, Debug)]
pub struct NodeAt {
    /// 5 for the root, 0 for leaves.
    pub level: u32,
    /// Its page.
    pub pa: u64,
    /// Where its address stands: a table entry, or the root FDT's property.
    pub entry: u64,
}

/// A file entry.
#[derive(Clone, Debug)]
pub struct FileAt {
    /// The entry: compatible (48), data, token.
    pub pa: u64,
    /// The memfd's state.
    pub data: u64,
    /// Chunk pages of its folio list.
    pub chunks: Vec<u64>,
    /// Pages of its folio list.
    pub list: Vec<u64>,
    /// Records of its folios.
    pub folios: Vec<u64>,
}

/// A session entry.
#[derive(Clone, Debug)]
pub struct SessionAt {
    /// The entry: name (64), files, count.
    pub pa: u64,
    /// Blocks of its file set.
    pub blocks: Vec<u64>,
    /// Its files.
    pub files: Vec<FileAt>,
}

/// Where everything lies.
#[derive(Clone, Debug)]
pub struct Anatomy {
    /// The root FDT.
    pub fdt: u64,
    /// Nodes of the tracker in order of the walk.
    pub nodes: Vec<NodeAt>,
    /// Preserved ranges: address and order.
    pub keys: Vec<(u64, u32)>,
    /// The LUO header.
    pub luo: u64,
    /// The kexec metadata.
    pub metadata: u64,
    /// Blocks of the session set.
    pub blocks: Vec<u64>,
    /// The sessions.
    pub sessions: Vec<SessionAt>,
    /// The FLB area.
    pub flbs: u64,
}

impl Anatomy {
    /// Takes the handover whose root FDT lies at `fdt` apart. Plain `luo-v5` only.
    pub fn of(mem: &Memory, fdt: u64) -> Self {
        let mut out = Self {
            fdt,
            nodes: Vec::new(),
            keys: Vec::new(),
            luo: mem.u64(prop(mem, fdt, "LUO", "preserved-data")),
            metadata: mem.u64(prop(mem, fdt, "kexec-metadata", "preserved-data")),
            blocks: Vec::new(),
            sessions: Vec::new(),
            flbs: 0,
        };
        let root_entry = prop(mem, fdt, "", "preserved-memory-map");
        out.node(mem, 5, root_entry, 0);
        out.flbs = mem.u64(out.luo + 24);
        let (blocks, sessions) = set(mem, mem.u64(out.luo + 16), 80);
        out.blocks = blocks;
        for pa in sessions {
            let (blocks, files) = set(mem, mem.u64(pa + 64), 64);
            let files = files.into_iter().map(|pa| file(mem, pa)).collect();
            out.sessions.push(SessionAt { pa, blocks, files });
        }
        out
    }

    fn node(&mut self, mem: &Memory, level: u32, entry: u64, prefix: u64) {
        let pa = mem.u64(entry);
        self.nodes.push(NodeAt { level, pa, entry });
        for index in 0..512 {
            let word = mem.u64(pa + 8 * index);
            if level == 0 {
                for bit in (0..64).filter(|bit| word >> bit & 1 == 1) {
                    let key = prefix << 15 | index << 6 | bit;
                    let order = 52 - key.ilog2();
                    // The marker bit leaves the 64 bits.
                    self.keys.push((key << (12 + order), order));
                }
            } else if word != 0 {
                self.node(mem, level - 1, pa + 8 * index, prefix << 9 | index);
            }
        }
    }

    /// The first node of `level`.
    pub fn level(&self, level: u32) -> NodeAt {
        *self
            .nodes
            .iter()
            .find(|node| node.level == level)
            .expect("a node of each level")
    }
}

fn file(mem: &Memory, pa: u64) -> FileAt {
    let data = mem.u64(pa + 48);
    let count = mem.u64(data + 24);
    let order = mem.u32(data + 44) >> 16;
    let (mut chunks, mut list, mut folios) = (Vec::new(), Vec::new(), Vec::new());
    let mut chunk = mem.u64(data + 32);
    while chunk != 0 {
        chunks.push(chunk);
        let runs = (1..512)
            .map(|index| mem.u64(chunk + 8 * index))
            .take_while(|run| *run != 0);
        list.extend(runs);
        chunk = mem.u64(chunk);
    }
    for run in &list {
        folios.extend((0..256 << order).map(|index| run + 16 * index));
    }
    folios.truncate(count as usize);
    FileAt {
        pa,
        data,
        chunks,
        list,
        folios,
    }
}

fn set(mem: &Memory, head: u64, entry: u64) -> (Vec<u64>, Vec<u64>) {
    let (mut blocks, mut entries) = (Vec::new(), Vec::new());
    let mut block = head;
    while block != 0 {
        blocks.push(block);
        entries.extend((0..mem.u64(block + 8)).map(|index| block + 16 + entry * index));
        block = mem.u64(block);
    }
    (blocks, entries)
}

/// Where the value of `property` of the node `node` (empty: the root) of the tree at `fdt` lies.
pub fn prop(mem: &Memory, fdt: u64, node: &str, property: &str) -> u64 {
    let (value, _) =
        find(mem, fdt, node, Some(property)).unwrap_or_else(|| panic!("no {node}/{property}"));
    value
}

/// Where the token of the node `node` of the tree at `fdt` lies.
pub fn node(mem: &Memory, fdt: u64, node: &str) -> u64 {
    find(mem, fdt, node, None)
        .unwrap_or_else(|| panic!("no {node}"))
        .0
}

fn find(mem: &Memory, fdt: u64, node: &str, property: Option<&str>) -> Option<(u64, u64)> {
    let be = |at: u64| u64::from(u32::from_be_bytes(mem.read(at, 4).try_into().unwrap()));
    let text = |at: u64| {
        let bytes = mem.read(at, 64.min(4096 - (at as usize & 4095)));
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let strings = fdt + be(fdt + 12);
    let mut at = fdt + be(fdt + 8);
    let mut path: Vec<String> = Vec::new();
    loop {
        match be(at) {
            1 => {
                let name = text(at + 4);
                if property.is_none() && name == node {
                    return Some((at, 0));
                }
                let len = name.len() as u64 + 1;
                path.push(name);
                at += 4 + len.next_multiple_of(4);
            }
            2 => {
                path.pop();
                at += 4;
            }
            3 => {
                let len = be(at + 4);
                let name = text(strings + be(at + 8));
                if path.last().map(String::as_str) == Some(node) && Some(name.as_str()) == property
                {
                    return Some((at + 12, len));
                }
                at += 12 + len.next_multiple_of(4);
            }
            4 => at += 4,
            _ => return None,
        }
    }
}
