//! A set of an admitted handover.

use kho_compat::Admitted;
use kho_core::{Handover, RestoreError};
use kho_mem::PhysAddr;
use kho_radix::Claims;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::BlockSet;
use crate::abi::{NAME, VERSION};

impl<'m, T: FromBytes + Immutable + KnownLayout + Unaligned> BlockSet<'m, T> {
    /// Restores the set whose head address `head` was found at `at`: reads it for an admitted
    /// handover. Its blocks are claimed, so a set is restored once.
    ///
    /// # Errors
    ///
    /// The verdict does not cover `block`, or the set is damaged: see [`BlockSet::read`].
    pub fn restore(
        admitted: &Admitted,
        handover: &Handover<'m>,
        claims: &mut Claims,
        head: PhysAddr,
        at: PhysAddr,
        name: &'static str,
    ) -> Result<Self, RestoreError> {
        admitted.require(NAME, VERSION)?;
        Ok(Self::read(handover.mem(), claims, head, at, name)?)
    }
}
