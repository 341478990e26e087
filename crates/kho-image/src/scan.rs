//! Finding handovers in memory.

use kho_core::v4::{KhoData, PROP_TRACKER, SETUP_KHO, SETUP_KHO_LEN, ScratchEntry};
use kho_core::{Entry, RootFdt};
use kho_mem::{
    Chunk, Damage, Defect, Link, MemErrorKind, PAGE_SIZE, PAGE_SIZE_U64, PageSize, PhysAddr,
    PhysMem, PhysMemExt,
};
use memchr::memmem::Finder;

use crate::Progress;

const FDT_MAGIC: [u8; 4] = [0xd0, 0x0d, 0xfe, 0xed];
/// More than this many of a kind are of no use to a reader.
const LIMIT: usize = 1000;
/// Entries of a scratch table: one of each NUMA node, and two.
const FEW: u64 = 1 << 10;

/// A page that holds a handover's root FDT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootPage {
    /// Its address.
    pub addr: PhysAddr,
    /// Its compat string.
    pub compatible: String,
    /// The smallest page size for which its tracker holds what it points to: nothing in memory states it.
    pub page_size: PageSize,
}

/// A page that looks like a root FDT but is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NearMiss {
    /// Its address.
    pub addr: PhysAddr,
    /// What is wrong with it.
    pub damage: Damage,
}

/// An x86 setup_data node of type 10.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetupNode {
    /// The node's address.
    pub addr: PhysAddr,
    /// The root FDT's address.
    pub fdt_addr: PhysAddr,
    /// The root FDT's bytes.
    pub fdt_size: u64,
    /// The scratch table's address.
    pub scratch_addr: PhysAddr,
    /// The scratch table's bytes.
    pub scratch_size: u64,
}

/// What a scan found.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Root FDTs in order of address.
    pub roots: Vec<RootPage>,
    /// What looked like one.
    pub near: Vec<NearMiss>,
    /// setup_data nodes of type 10 that name a root FDT's page.
    pub setup: Vec<SetupNode>,
    /// Those of them that name a page whose contents are not stored.
    pub not_stored: Vec<SetupNode>,
    /// Whether the progress function stopped the scan before its end.
    pub stopped: bool,
}

/// No handover, or more than one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FindError {
    /// No page of the memory is a root FDT.
    #[error("no handover found: {}", near_text(.0))]
    None(Vec<NearMiss>),
    /// Several are.
    #[error("{} handovers found, at {}: choose one by its root FDT's address", .0.len(), roots_text(.0))]
    Several(Vec<RootPage>),
    /// Several setup_data nodes name different scratch tables for one root FDT.
    #[error(
        "setup_data nodes name different scratch tables for the root FDT at {fdt}, at {}: choose one by its address and length",
        scratch_text(.nodes)
    )]
    SeveralScratch {
        /// The root FDT.
        fdt: PhysAddr,
        /// The nodes.
        nodes: Vec<SetupNode>,
    },
}

fn near_text(near: &[NearMiss]) -> String {
    match near {
        [] => "no page holds an FDT with a `kho-v*` root and a `preserved-memory-map`".to_owned(),
        near => {
            let near: Vec<_> = near
                .iter()
                .take(3)
                .map(|miss| format!("page {}: {}", miss.addr, miss.damage))
                .collect();
            near.join("; ")
        }
    }
}

fn roots_text(roots: &[RootPage]) -> String {
    let roots: Vec<_> = roots
        .iter()
        .map(|root| format!("{} ({})", root.addr, root.compatible))
        .collect();
    roots.join(", ")
}

fn scratch_text(nodes: &[SetupNode]) -> String {
    let nodes: Vec<_> = nodes
        .iter()
        .map(|n| format!("{}:{}", n.scratch_addr, n.scratch_size))
        .collect();
    nodes.join(", ")
}

impl Scan {
    /// The one handover that was found.
    ///
    /// # Errors
    ///
    /// None or several were found: the choice is the caller's.
    pub fn entry(&self) -> Result<Entry, FindError> {
        match self.roots.as_slice() {
            [] if !self.near.is_empty() => Err(FindError::None(self.near.clone())),
            [] => match self.not_stored.as_slice() {
                [first, rest @ ..] if rest.iter().all(|n| n.fdt_addr == first.fdt_addr) => {
                    self.entry_of(first.fdt_addr)
                }
                _ => Err(FindError::None(Vec::new())),
            },
            [root] => self.entry_of(root.addr),
            roots => Err(FindError::Several(roots.to_vec())),
        }
    }

    /// The entry of the root FDT at `fdt`, with the scratch table where a setup_data node names
    /// it.
    ///
    /// # Errors
    ///
    /// Several nodes name different scratch tables for it.
    pub fn entry_of(&self, fdt: PhysAddr) -> Result<Entry, FindError> {
        let mut nodes: Vec<_> = self
            .setup
            .iter()
            .filter(|node| node.fdt_addr == fdt)
            .copied()
            .collect();
        nodes.dedup_by_key(|node| (node.fdt_size, node.scratch_addr, node.scratch_size));
        match nodes.as_slice() {
            [] => {
                let root = self.roots.iter().find(|root| root.addr == fdt);
                let size = root.map_or(PageSize::K4, |root| root.page_size);
                Ok(Entry::new(fdt).with_page_size(size))
            }
            [node] => {
                let mut entry = Entry::new(fdt).with_scratch(node.scratch_addr, node.scratch_size);
                entry.fdt_size = node.fdt_size;
                Ok(entry)
            }
            _ => Err(FindError::SeveralScratch { fdt, nodes }),
        }
    }
}

/// Looks through all of `mem` for root FDTs, at the start of pages, and for setup_data nodes of
/// type 10, anywhere. `progress` is told how many bytes were looked at.
pub fn scan(mem: &dyn PhysMem, progress: &mut Progress<'_>) -> Scan {
    let mut found = Scan::default();
    let mut head = [0; 8];
    let (kind, len) = head.split_at_mut(4);
    kind.copy_from_slice(&SETUP_KHO.to_le_bytes());
    len.copy_from_slice(&SETUP_KHO_LEN.to_le_bytes());
    let node = Finder::new(&head);
    let property = Finder::new(PROP_TRACKER.as_bytes());

    let mut total = 0u64;
    let mut next = Some(PhysAddr::NULL);
    while let Some(region) = next.and_then(|from| mem.region(from)) {
        total = total.saturating_add(region.len());
        next = u64::try_from(region.end()).ok().map(PhysAddr::new);
    }

    let mut done = 0u64;
    // The last bytes of the piece before, and where they end: a node may lie across.
    let mut tail: (u64, Vec<u8>) = (0, Vec::new());
    found.stopped = !mem.sweep(&mut |at, piece| {
        if let Chunk::Bytes(bytes) = piece {
            look_for_roots(mem, at, bytes, &property, &mut found);
            let (end, before) = &mut tail;
            if *end != at.get() {
                before.clear();
            }
            let start = at.get().wrapping_sub(before.len() as u64);
            before.extend(bytes.iter().take(head.len() - 1));
            look_for_nodes(mem, PhysAddr::new(start), before, &node, &mut found);
            look_for_nodes(mem, at, bytes, &node, &mut found);
            *end = at.get().wrapping_add(bytes.len() as u64);
            let last = if bytes.len() < head.len() {
                before.as_slice()
            } else {
                bytes
            };
            *before = last
                .get(last.len().saturating_sub(head.len() - 1)..)
                .unwrap_or_default()
                .to_vec();
        }
        done = done.saturating_add(piece.len() as u64);
        progress(done, Some(total))
    });
    if found.stopped {
        return found;
    }
    let roots = &found.roots;
    found
        .setup
        .retain(|node| roots.iter().any(|root| root.addr == node.fdt_addr) || roots.is_empty());
    found
        .setup
        .sort_by_key(|n| (n.fdt_addr, n.fdt_size, n.scratch_addr, n.scratch_size));
    tracing::debug!(
        roots = found.roots.len(),
        near = found.near.len(),
        setup = found.setup.len(),
        bytes = done,
        "memory scanned"
    );
    found
}

/// Looks at the pages that begin in `bytes`, which lie at `at`.
fn look_for_roots(
    mem: &dyn PhysMem,
    at: PhysAddr,
    bytes: &[u8],
    property: &Finder<'_>,
    found: &mut Scan,
) {
    // Bytes up to the first page that begins here.
    let skew = (PAGE_SIZE_U64 - at.get() % PAGE_SIZE_U64) % PAGE_SIZE_U64;
    let skew = usize::try_from(skew).unwrap_or(usize::MAX);
    for (index, page) in bytes
        .get(skew..)
        .unwrap_or_default()
        .chunks(PAGE_SIZE)
        .enumerate()
    {
        let addr = PhysAddr::new(at.get() + (skew + index * PAGE_SIZE) as u64);
        if page.starts_with(&FDT_MAGIC) {
            root(mem, addr, property, page, found);
        } else if page.len() == PAGE_SIZE && is_headless_root(page, property) {
            let magic = page.get(..4).unwrap_or_default();
            let damage = Damage::new(Defect::BadMagic, "root FDT", addr)
                .found(format!("{}, with a `{PROP_TRACKER}` behind it", hex(magic)))
                .expected(hex(&FDT_MAGIC));
            miss(found, addr, damage);
        }
    }
}

/// The page size of the handover whose root FDT lies at `fdt`, as a [`RootPage`] has it: 4 KiB where no size
/// fits.
#[must_use]
pub fn page_size(mem: &dyn PhysMem, fdt: PhysAddr) -> PageSize {
    let root = read_root(mem, fdt).ok();
    let size = root.and_then(|root| Some(by_evidence(mem, &root, root.tracker().ok()?)));
    size.unwrap_or_default()
}

/// The root FDT at `addr`, in the smallest page under which it reads: with larger pages it may be longer than
/// 4 KiB. The damage is the one under 4 KiB.
fn read_root(mem: &dyn PhysMem, addr: PhysAddr) -> Result<RootFdt, Damage> {
    let read = |size| RootFdt::read(mem, Entry::new(addr).with_page_size(size));
    read(PageSize::K4).or_else(|damage| {
        let larger = PageSize::ALL.into_iter().skip(1);
        larger.flat_map(read).next().ok_or(damage)
    })
}

fn by_evidence(mem: &dyn PhysMem, root: &RootFdt, tracker: Link) -> PageSize {
    let blobs = root.subtrees().unwrap_or_default();
    let fits = |size: &PageSize| {
        let tree = kho_radix::Root::new(tracker, *size);
        blobs.iter().all(|blob| tree.holds(mem, blob.addr))
    };
    PageSize::ALL.into_iter().find(fits).unwrap_or_default()
}

/// Looks for setup_data nodes in `bytes`, which lie at `at`.
fn look_for_nodes(
    mem: &dyn PhysMem,
    at: PhysAddr,
    bytes: &[u8],
    node: &Finder<'_>,
    found: &mut Scan,
) {
    for offset in node.find_iter(bytes) {
        let head = at.get() + offset as u64;
        let Ok(data) = mem.read::<KhoData>(PhysAddr::new(head.wrapping_add(8))) else {
            continue;
        };
        let setup = SetupNode {
            addr: PhysAddr::new(head.wrapping_sub(8)),
            fdt_addr: PhysAddr::new(data.fdt_addr.get()),
            fdt_size: data.fdt_size.get(),
            scratch_addr: PhysAddr::new(data.scratch_addr.get()),
            scratch_size: data.scratch_size.get(),
        };
        // Its numbers are not rare in full memory: what it points to decides.
        let magic = mem.bytes(setup.fdt_addr, FDT_MAGIC.len());
        let lost = matches!(&magic, Err(error) if error.kind == MemErrorKind::NotStored);
        // Where that is not stored, whether they are such numbers at all.
        let entries = setup.scratch_size / size_of::<ScratchEntry>() as u64;
        let likely = PageSize::of(setup.fdt_size).is_some()
            && (1..=FEW).contains(&entries)
            && setup.scratch_addr.is_page_aligned();
        let points = magic.is_ok_and(|magic| *magic == FDT_MAGIC) || lost && likely;
        if points && setup.fdt_addr.is_page_aligned() && found.setup.len() < LIMIT {
            found.setup.push(setup);
            found.not_stored.extend(lost.then_some(setup));
        }
    }
}

fn root(mem: &dyn PhysMem, addr: PhysAddr, property: &Finder<'_>, page: &[u8], found: &mut Scan) {
    match read_root(mem, addr) {
        Ok(root) if is_kho(root.compatible()) => {
            // A version that is not known may call it differently; "kho-v*" with it is a root.
            match root.tracker() {
                Ok(tracker) if found.roots.len() < LIMIT => {
                    found.roots.push(RootPage {
                        addr,
                        compatible: root.compatible().to_owned(),
                        page_size: by_evidence(mem, &root, tracker),
                    });
                }
                Ok(_) => {}
                Err(damage) => miss(found, addr, damage),
            }
        }
        // Some other device tree, unless it has the property that only a root has.
        Ok(root) if root.tracker().is_ok() => {
            let damage = Damage::new(Defect::BadText, "compatible of the root FDT", addr)
                .found(root.compatible())
                .expected("kho-v and a number");
            miss(found, addr, damage);
        }
        Ok(_) => {}
        Err(damage) => {
            let whole = mem
                .page(addr)
                .is_ok_and(|page| property.find(&page).is_some());
            if whole || property.find(page).is_some() {
                miss(found, addr, damage);
            }
        }
    }
}

fn miss(found: &mut Scan, addr: PhysAddr, damage: Damage) {
    if found.near.len() < LIMIT {
        found.near.push(NearMiss { addr, damage });
    }
}

fn is_kho(compatible: &str) -> bool {
    let token = compatible.split([';', ',']).next().unwrap_or_default();
    token
        .strip_prefix("kho-v")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// A page that would be a root FDT but for its magic: the property's name in its strings, and a
/// header whose total size and version are a device tree's.
fn is_headless_root(page: &[u8], property: &Finder<'_>) -> bool {
    let word = |offset: usize| {
        page.get(offset..offset + 4)
            .and_then(|w| w.try_into().ok())
            .map(u32::from_be_bytes)
    };
    word(20) == Some(17)
        && word(4).is_some_and(|total| total as usize <= PAGE_SIZE)
        && property.find(page).is_some()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
