//! A set of an admitted handover.

use kho_compat::Admitted;
use kho_core::{Handover, RestoreError};
use kho_mem::PhysAddr;
use kho_radix::Claims;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::{BlockSet, Format};

impl<'m, T: FromBytes + Immutable + KnownLayout + Unaligned> BlockSet<'m, T> {
    /// Restores the set whose head address `head` was found at `at`: reads it for an admitted
    /// handover. Its blocks are claimed, so a set is restored once.
    ///
    /// They are of the version that the root's string says, the table, or any other string that the
    /// verdict is of; version 1 where none does. A set whose user has a string of its own is restored
    /// by [`BlockSet::restore_as`].
    ///
    /// # Errors
    ///
    /// As [`BlockSet::restore_as`].
    pub fn restore(
        admitted: &Admitted,
        handover: &Handover<'m>,
        claims: &mut Claims,
        head: PhysAddr,
        at: PhysAddr,
        name: &'static str,
    ) -> Result<Self, RestoreError> {
        let format = Format::admitted(admitted, handover)?;
        Self::restore_as(format, admitted, handover, claims, head, at, name)
    }

    /// As [`BlockSet::restore`], where the blocks are of `format`: see [`Format::handed_over`].
    ///
    /// # Errors
    ///
    /// The verdict does not cover that version of `block`, or the set is damaged: see
    /// [`BlockSet::read_as`].
    pub fn restore_as(
        format: Format,
        admitted: &Admitted,
        handover: &Handover<'m>,
        claims: &mut Claims,
        head: PhysAddr,
        at: PhysAddr,
        name: &'static str,
    ) -> Result<Self, RestoreError> {
        format.require(admitted)?;
        Ok(Self::read_as(
            format,
            handover.mem(),
            claims,
            head,
            at,
            name,
        )?)
    }
}
