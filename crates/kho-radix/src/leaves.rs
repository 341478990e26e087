//! The leaves of a tree in untrusted memory, for threads to share out.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use kho_mem::{Damage, PageSize, PhysAddr, PhysMem, PhysMemExt};

use crate::leaf::OpenRun;
use crate::walk::{Keys, Stretches, Visit, check_zero, each_leaf, short};
use crate::{Key, KeyRun, Root};

/// A leaf of a tree: where it lies, and which keys it may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    addr: PhysAddr,
    base: u64,
}

impl Leaf {
    /// The leaf's address.
    #[must_use]
    pub const fn addr(&self) -> PhysAddr {
        self.addr
    }

    /// The number of its first bit: the smallest key that it may hold. 0 for the first leaf, where that bit
    /// is no key.
    #[must_use]
    pub const fn first_key(&self) -> u64 {
        self.base
    }
}

/// The leaves of a tree in memory that is not trusted, in order of key, their bits not looked at yet.
///
/// Holding one proves what [`walk_keys`](crate::walk_keys) finds out of a tree: each node lies in memory and
/// was reached once, each key is in the format's grammar. What is left, the bits, is nearly all of the work,
/// and threads can share it out: every method takes a range of leaves, from 0 to [`Leaves::len`].
///
/// ```
/// use kho_mem::{Arena, ArenaConfig, Link, Order, PhysAddr};
/// use kho_radix::{Key, Leaves, Tracker};
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let mut tracker = Tracker::new(arena.clone())?;
/// for page in 0..100_000u64 {
///     tracker.add(Key::encode(PhysAddr::new(page << 12), Order::ZERO).unwrap())?;
/// }
/// let root = Link::given(tracker.root(), "root");
/// tracker.hand_over();
///
/// let handed = arena.into_handed().unwrap();
/// let leaves = Leaves::read(&handed, root)?;
/// assert_eq!(leaves.len(), 4);
/// let keys: u64 = std::thread::scope(|scope| {
///     let leaves = &leaves;
///     let threads: Vec<_> = leaves
///         .parts(2)
///         .map(|part| scope.spawn(move || leaves.keys(part, |key| drop(key))))
///         .collect();
///     threads.into_iter().map(|thread| thread.join().unwrap()).sum::<Result<u64, _>>()
/// })?;
/// assert_eq!(keys, 100_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Leaves<'m> {
    mem: &'m dyn PhysMem,
    page_size: PageSize,
    leaves: Vec<Leaf>,
}

/// Notes each leaf down.
struct Skeleton(Vec<Leaf>);

impl Visit for Skeleton {
    fn leaf(&mut self, page: &[u8], addr: PhysAddr, base: u64) -> Result<(), Damage> {
        // Here, so that all damage that a walk finds is found before any key is visited.
        check_zero(page, addr, base)?;
        self.0.push(Leaf { addr, base });
        Ok(())
    }
}

impl<'m> Leaves<'m> {
    /// Finds the leaves of the tree whose root node `root` points to: every table is read and checked. O(nodes), in time and in memory.
    ///
    /// # Errors
    ///
    /// The tree is damaged, as [`walk_keys`](crate::walk_keys) has it.
    pub fn read(mem: &'m dyn PhysMem, root: impl Into<Root>) -> Result<Self, Damage> {
        let root = root.into();
        let mut skeleton = Skeleton(Vec::new());
        each_leaf(mem, root, &mut skeleton)?;
        Ok(Self {
            mem,
            page_size: root.page_size,
            leaves: skeleton.0,
        })
    }

    /// How many leaves there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// The leaves, in order of key.
    #[must_use]
    pub fn as_slice(&self) -> &[Leaf] {
        &self.leaves
    }

    /// `count` ranges of leaves in a row, as equal as can be, which are all of them.
    pub fn parts(&self, count: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (each, more) = match self.len().checked_div(count) {
            Some(each) => (each, self.len() % count),
            None => (0, 0),
        };
        (0..count).scan(0, move |at, part| {
            let from = *at;
            *at += each + usize::from(part < more);
            Some(from..*at)
        })
    }

    /// Calls `visit` with each key of the leaves `range`, in order. Returns how many there are.
    ///
    /// All leaves' keys, range after range, are what [`walk_keys`](crate::walk_keys) visits. A range that goes
    /// beyond the leaves ends with them.
    ///
    /// # Errors
    ///
    /// Memory does not hold any more what was read: it is not to change.
    pub fn keys(&self, range: Range<usize>, visit: impl FnMut(Key)) -> Result<u64, Damage> {
        let mut keys = Keys { visit, count: 0 };
        self.each(range, &mut keys)?;
        Ok(keys.count)
    }

    /// As [`Leaves::keys`], with runs of keys of one order in a row: by the word. A run that goes on in the
    /// next range is two.
    ///
    /// # Errors
    ///
    /// As [`Leaves::keys`].
    pub fn runs(&self, range: Range<usize>, mut visit: impl FnMut(KeyRun)) -> Result<u64, Damage> {
        let mut count = 0;
        let mut counted = |run: KeyRun| {
            count += run.keys;
            visit(run);
        };
        let mut stretches = Stretches {
            visit: &mut counted,
            open: OpenRun::default(),
        };
        self.each(range, &mut stretches)?;
        stretches.open.close(&mut counted);
        Ok(count)
    }

    fn each(&self, range: Range<usize>, visit: &mut impl Visit) -> Result<(), Damage> {
        let count = range.end.saturating_sub(range.start);
        for leaf in self.leaves.iter().skip(range.start).take(count) {
            self.leaf(leaf, visit)
                .map_err(|damage| damage.within("tracker"))?;
        }
        Ok(())
    }

    fn leaf(&self, leaf: &Leaf, visit: &mut impl Visit) -> Result<(), Damage> {
        let page = self
            .mem
            .bytes(leaf.addr, self.page_size.len())
            .map_err(|error| error.damage("leaf", leaf.addr))?;
        if page.len() != self.page_size.len() {
            return Err(short(leaf.addr));
        }
        visit.leaf(&page, leaf.addr, leaf.base)
    }
}

impl fmt::Debug for Leaves<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.leaves).finish()
    }
}
