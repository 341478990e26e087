//! The root FDT.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};
use kho_compat::{Carrier, Compat, Manifest, Place};
use kho_mem::{Damage, Defect, Link, PhysAddr, PhysMem, PhysMemExt};
use kho_radix::Preserved;
use vm_fdt::FdtWriter;

use crate::Entry;
use crate::fdt::{self, Tree};
use crate::listed::{self, Listed};
use crate::v4::{PROP_BLOB, PROP_BLOB_SIZE, PROP_COMPATIBLE, PROP_TRACKER};

/// A subtree of the root FDT: a blob that some component preserved under its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subtree {
    /// The node's name: `LUO`.
    pub name: String,
    /// Where the blob lies.
    pub addr: PhysAddr,
    /// Its bytes.
    pub size: u64,
}

/// The root FDT, read and well-formed. What it says is not judged yet: its version may be one
/// whose subtrees look different, so those are read on demand.
#[derive(Clone, Debug)]
pub struct RootFdt {
    at: PhysAddr,
    bytes: Vec<u8>,
    compatible: String,
}

const NAME: &str = "root FDT";

/// What the node lists components as; `None` for a subtree.
fn lists(node: &FdtNode<'_>) -> Option<Carrier> {
    let carrier = Carrier::ALL
        .into_iter()
        .find(|carrier| carrier.node() == Some(node.name()))?;
    let is_blob = node.properties().any(|found| found.name() == PROP_BLOB);
    (!is_blob).then_some(carrier)
}

impl RootFdt {
    /// Reads the root FDT that a handover begins with: at an address, one page of 4 KiB, or as an [`Entry`] says.
    /// The first step of [`Handover::open`](crate::Handover::open), for a caller that wants to show what each step
    /// finds.
    ///
    /// # Errors
    ///
    /// It lies outside memory or is not page-aligned; the entry's size is not a page; its header, structure or
    /// names are damaged; it has no `compatible` string.
    pub fn read(mem: &dyn PhysMem, entry: impl Into<Entry>) -> Result<Self, Damage> {
        let entry = entry.into();
        let (at, size) = (entry.fdt_addr, entry.page_size()?);
        if at.is_null() || !size.is_aligned(at) {
            let defect = if at.is_null() {
                Defect::Null
            } else {
                Defect::Unaligned
            };
            return Err(Damage::new(defect, NAME, at)
                .found(at)
                .expected("a page's address"));
        }
        let page = mem
            .bytes(at, size.len())
            .map_err(|error| error.damage(NAME, at))?;
        let tree = Tree::check(&page, at, NAME)?;
        let compatible = tree.compat(&tree.root(), PROP_COMPATIBLE)?;
        Ok(Self {
            at,
            bytes: page.into_owned(),
            compatible,
        })
    }

    /// Where it lies.
    #[must_use]
    pub const fn at(&self) -> PhysAddr {
        self.at
    }

    /// Its compat string, as it stands there; of a list all its strings, as [`Strings::List`] shows them.
    ///
    /// [`Strings::List`]: kho_compat::Strings::List
    #[must_use]
    pub fn compatible(&self) -> &str {
        &self.compatible
    }

    /// Adds its compat string to `manifest`, and the components that it lists. Of a damaged list it
    /// adds nothing: [`RootFdt::listed`] says what is wrong with it, and a handover does not open.
    pub fn add_to(&self, manifest: &mut Manifest) {
        self.add_some(manifest, |_| true);
    }

    /// As [`RootFdt::add_to`], of what it lists those components alone whose names `keep` takes.
    pub(crate) fn add_some(&self, manifest: &mut Manifest, keep: impl Fn(&str) -> bool) {
        let place = Place::new(self.at.get(), "root FDT, compatible");
        manifest.add(Carrier::Root, &self.compatible, place);
        let listed = self.listed().unwrap_or_default();
        for listed in listed.iter().filter(|listed| keep(&listed.name)) {
            listed.add_to(manifest, self.at.get());
        }
    }

    /// The components that it lists, in the nodes `compat` (the version table) and `features` (the
    /// feature masks). A node of that name with a blob is a subtree like any other.
    ///
    /// # Errors
    ///
    /// A property is no component's name, or has another size than its node's values have, or flags
    /// that are not known; a node lists nothing, or has a node of its own.
    pub fn listed(&self) -> Result<Vec<Listed>, Damage> {
        let tree = self.tree()?;
        let mut all = Vec::new();
        for node in tree.children() {
            let Some(carrier) = lists(&node) else {
                continue;
            };
            let damage = |defect, what: String| Damage::new(defect, what, self.at).within(NAME);
            if let Some(child) = node.children().next() {
                let what = alloc::format!("node `{}` of node `{}`", child.name(), node.name());
                return Err(damage(Defect::Malformed, what)
                    .found("a node")
                    .expected("a property per component"));
            }
            let before = all.len();
            for property in node.properties() {
                let listed = Listed::read(carrier, property.name(), property.value());
                all.push(listed.map_err(|(defect, found, expected)| {
                    let (name, node) = (property.name(), node.name());
                    let what = alloc::format!("property `{name}` of node `{node}`");
                    damage(defect, what).found(found).expected(expected)
                })?);
            }
            if all.len() == before {
                let what = alloc::format!("node `{}`", node.name());
                return Err(damage(Defect::Empty, what).expected("a property per component"));
            }
        }
        Ok(all)
    }

    fn tree(&self) -> Result<Tree<'_>, Damage> {
        Tree::check(&self.bytes, self.at, NAME)
    }

    /// The link to the tracker's root node, as `kho-v4` has it.
    ///
    /// # Errors
    ///
    /// The property is missing or not 8 bytes.
    pub fn tracker(&self) -> Result<Link, Damage> {
        let tree = self.tree()?;
        Ok(Link {
            to: PhysAddr::new(tree.u64(&tree.root(), PROP_TRACKER)?),
            at: self.at,
            name: Preserved::ROOT,
        })
    }

    /// The subtrees, as `kho-v4` has them, in the FDT's order. Their names are unique.
    ///
    /// # Errors
    ///
    /// A property is missing or not 8 bytes, or a blob has no bytes.
    pub fn subtrees(&self) -> Result<Vec<Subtree>, Damage> {
        let tree = self.tree()?;
        tree.children()
            .filter(|node| lists(node).is_none())
            .map(|node| {
                let name = node.name().to_string();
                let addr = PhysAddr::new(tree.u64(&node, PROP_BLOB)?);
                let size = tree.u64(&node, PROP_BLOB_SIZE)?;
                if size == 0 {
                    let what = alloc::format!("blob-size of subtree `{name}`");
                    return Err(Damage::new(Defect::BadSize, what, self.at)
                        .found(0)
                        .expected("at least 1 byte")
                        .within(NAME));
                }
                Ok(Subtree { name, addr, size })
            })
            .collect()
    }
}

/// What a root FDT says of a subtree, to be written.
pub(crate) struct Blob<'s> {
    pub(crate) name: &'s str,
    pub(crate) addr: PhysAddr,
    pub(crate) size: u64,
    // Whether it lists the regions of the handover's own.
    pub(crate) regions: bool,
}

/// The root FDT whose string is `compatible`: the tracker, the components that it lists, the subtrees.
pub(crate) fn encode(
    compatible: &str,
    tracker: PhysAddr,
    list: Option<listed::Node<'_>>,
    subtrees: &[Blob<'_>],
) -> Result<Vec<u8>, vm_fdt::Error> {
    let mut tree = FdtWriter::new()?;
    let root = tree.begin_node("")?;
    let strings = compatible.split(Compat::BETWEEN_STRINGS);
    let strings = strings.map(ToString::to_string).collect();
    tree.property_string_list(PROP_COMPATIBLE, strings)?;
    // Little-endian, unlike the cells of other device trees.
    tree.property(PROP_TRACKER, &tracker.get().to_le_bytes())?;
    if let Some(list) = list {
        let node = fdt::begin(&mut tree, list.name)?;
        for (name, value) in list.properties {
            tree.property(name, &value)?;
        }
        tree.end_node(node)?;
    }
    for subtree in subtrees {
        let node = fdt::begin(&mut tree, subtree.name)?;
        tree.property(PROP_BLOB, &subtree.addr.get().to_le_bytes())?;
        tree.property(PROP_BLOB_SIZE, &subtree.size.to_le_bytes())?;
        tree.end_node(node)?;
    }
    tree.end_node(root)?;
    tree.finish()
}
