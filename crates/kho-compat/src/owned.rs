//! Strings of components that own a subtree.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

use crate::Token;

/// The most bytes of a carrier's id: those of a property's name in the root FDT.
const ID_MAX: usize = 31;

/// What carries the string of a component that owns a subtree of the root FDT: an FDT's `compatible`,
/// a version number, whatever its owner chose.
///
/// ```
/// use kho_compat::{Carrier, Component, Generation, Owned};
///
/// const PCI: Owned = Owned::new("pci", "PCI devices").in_subtree("pci");
/// const COMPONENT: Component = Component::new("pci", &[Generation::new(1)]).owned(PCI);
/// assert_eq!(COMPONENT.carrier, Some(Carrier::Owned(PCI)));
/// assert_eq!(COMPONENT.subtree, Some("pci"));
/// ```
///
/// Two of one id are equal.
#[derive(Clone, Copy)]
pub struct Owned {
    id: [u8; ID_MAX],
    len: u8,
    title: &'static str,
    subtree: &'static str,
    number: bool,
}

impl Owned {
    /// The version number of the kexec metadata, written as a token in manifests.
    pub const KEXEC_METADATA: Self = Self::new("kexec-metadata", "kexec metadata")
        .in_subtree("kexec-metadata")
        .number();
    /// The `compatible` of the memblock FDT.
    pub const MEMBLOCK: Self = Self::new("memblock", "memblock FDT").in_subtree("memblock");
    /// The `compatible` of a region in the memblock FDT.
    pub const RESERVE_MEM: Self =
        Self::new("reserve-mem", "reserve_mem region").in_subtree("memblock");
    // Files name carriers by their ids alone, also where the crate that owns them is not linked.
    pub(crate) const OF_LINUX: [Self; 3] =
        [Self::KEXEC_METADATA, Self::MEMBLOCK, Self::RESERVE_MEM];

    /// A carrier called `id`, in a sentence `title`.
    ///
    /// # Panics
    ///
    /// `id` has more than 31 bytes. In a constant that is an error of compilation.
    #[must_use]
    pub const fn new(id: &str, title: &'static str) -> Self {
        let bytes = id.as_bytes();
        assert!(bytes.len() <= ID_MAX, "an id of at most 31 bytes");
        let mut owned = Self {
            id: [0; ID_MAX],
            #[allow(clippy::cast_possible_truncation, reason = "at most 31")]
            len: bytes.len() as u8,
            title,
            subtree: "",
            number: false,
        };
        let (head, _) = owned.id.split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        owned
    }

    /// The carrier `id` of a component that is not known here; `None` for what is no component's name.
    pub(crate) fn unknown(id: &str) -> Option<Self> {
        let is_name = Token::new(id, 0).is_ok() && id.len() <= ID_MAX;
        is_name.then(|| Self::new(id, ""))
    }

    /// Names the subtree of the root FDT that it hangs on.
    #[must_use]
    pub const fn in_subtree(mut self, subtree: &'static str) -> Self {
        self.subtree = subtree;
        self
    }

    /// Says that memory holds a version number and no string: manifests write it as a token.
    #[must_use]
    pub const fn number(mut self) -> Self {
        self.number = true;
        self
    }

    /// The carrier as programs see it.
    #[must_use]
    pub fn id(&self) -> &str {
        let bytes = self.id.get(..usize::from(self.len)).unwrap_or_default();
        str::from_utf8(bytes).unwrap_or_default()
    }

    /// The carrier in a sentence: its id where its component is not known here.
    #[must_use]
    pub fn title(&self) -> &str {
        match self.title {
            "" => self.id(),
            title => title,
        }
    }

    /// The subtree of the root FDT that it hangs on, where that is known.
    #[must_use]
    pub const fn subtree(&self) -> Option<&'static str> {
        match self.subtree.is_empty() {
            true => None,
            false => Some(self.subtree),
        }
    }

    /// Whether memory holds a number and no string.
    #[must_use]
    pub const fn is_number(&self) -> bool {
        self.number
    }
}

impl PartialEq for Owned {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Owned {}

impl PartialOrd for Owned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Owned {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id().cmp(other.id())
    }
}

impl Hash for Owned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl fmt::Debug for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}
