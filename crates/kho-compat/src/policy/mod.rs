//! Policies: how a handover is judged. One file each behind one trait.

mod restorable;

pub use restorable::Restorable;

use crate::{Manifest, Side, Verdict};

/// Judges what is handed over against what the receiving side can restore.
///
/// A policy is deterministic: the same manifest and side give the same verdict.
pub trait Policy {
    /// The policy's name, as commands take and print it.
    fn name(&self) -> &'static str;

    /// What it promises, in a line.
    fn summary(&self) -> &'static str;

    /// Judges `manifest`: one finding per entry, in the manifest's order.
    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict;
}
