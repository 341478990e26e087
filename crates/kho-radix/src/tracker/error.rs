//! What a tracker refuses.

use kho_mem::{Errno, Order, OutOfMemory, PageRun, PhysAddr};

use crate::Key;

/// What a tracker refuses. It is as it was then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrackerError {
    /// The key is in the tree already.
    #[error("order {order} at {addr} is preserved already")]
    Present {
        /// The first byte's address.
        addr: PhysAddr,
        /// The key's order.
        order: Order,
    },
    /// The key is not in the tree. What was preserved with one order is not found with another.
    #[error("order {order} at {addr} is not preserved")]
    Absent {
        /// The first byte's address.
        addr: PhysAddr,
        /// The key's order.
        order: Order,
    },
    /// The address is not aligned to the order, or the range leaves the address space.
    #[error("{run} is no range of the address space that an order {order} key has")]
    NoKey {
        /// The range.
        run: PageRun,
        /// The order.
        order: Order,
    },
    /// Memory of another arena: its numbers name other pages here.
    #[error("{0} is memory of another arena")]
    Foreign(PageRun),
    /// No page is left.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// A [`SharedTracker`](crate::SharedTracker) was made with this many nodes, and has used them up.
    #[error("all {0} nodes that the tracker was made with are used")]
    NoNode(usize),
    /// The tracker's own parts contradict each other: a defect of this crate, never of the caller. The step
    /// that found it is called off, and what it did is undone.
    #[error("invalid tracker state: expected {0}")]
    Broken(&'static str),
}

impl TrackerError {
    /// What a kernel returns in its place.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Present { .. } => Errno::EEXIST,
            Self::Absent { .. } => Errno::ENOENT,
            Self::NoKey { .. } | Self::Foreign(_) | Self::Broken(_) => Errno::EINVAL,
            Self::OutOfMemory(error) => error.errno(),
            Self::NoNode(_) => Errno::ENOMEM,
        }
    }
}

#[cold]
pub(crate) const fn present(key: Key) -> TrackerError {
    TrackerError::Present {
        addr: key.addr(),
        order: key.order(),
    }
}

#[cold]
pub(crate) const fn absent(key: Key) -> TrackerError {
    TrackerError::Absent {
        addr: key.addr(),
        order: key.order(),
    }
}
