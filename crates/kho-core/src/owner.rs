//! Who owns a subtree of the root FDT, and what it does with it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt::Debug;

use kho_compat::describe::Members;
use kho_compat::{Branch, Component, Fact, Judge, Manifest, RegistryError};
use kho_mem::{Damage, MemError, MemErrorKind, PhysAddr, Piece};
use kho_radix::{Reading, RestoreError, Restoring};

use crate::{Handover, Subtree};

/// The owner of a subtree: how a component surveys its subtree, beside the component itself.
///
/// A constant in the crate that implements it, registered with [`submit!`](kho_compat::submit). What
/// it finds is a [`Contents`], which announces, describes and restores itself.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The component whose [`subtree`](Component::subtree) it is.
    pub component: &'static Component,
    /// Where its part stands in a survey.
    pub position: Position,
    survey: Survey,
    peek: Option<Peek>,
}

/// Reads and checks a subtree and claims what it leads to. Restores nothing.
pub type Survey = fn(&mut Surveying<'_, '_>, &Subtree) -> Result<Box<dyn Contents>, Damage>;

/// Decodes the bytes of a subtree, which lie at an address and may be followed by others, without memory to
/// follow a link in: facts, and a line to stand beside the subtree's name.
pub type Peek = fn(&[u8], PhysAddr) -> Result<(Members, Branch), Damage>;

/// Where an owner's part stands in a survey. Those of one position go by their components' names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Position {
    /// Before all else: it is about the handover as a whole.
    First,
    /// After the list of subtrees.
    #[default]
    Middle,
    /// At the end: the largest part.
    Last,
}

/// What a survey of a subtree is given.
pub struct Surveying<'s, 'm> {
    /// The handover.
    pub handover: &'s Handover<'s>,
    /// The context of reading.
    pub reading: &'s mut Reading<'m>,
    /// Who says which versions are read.
    pub judge: Judge<'s>,
    /// Is called with how much is done of how much. Returns whether to go on.
    pub progress: &'s mut dyn FnMut(u64, u64) -> bool,
}

/// Why a survey of what hangs on a subtree ended early.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Stopped {
    /// It is damaged.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Whoever is told of the progress asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What was found in a subtree.
pub trait Contents: Any + Debug + Send + Sync {
    /// Adds its strings to `manifest`.
    fn add_to(&self, manifest: &mut Manifest);

    /// Surveys what hangs on it and announces nothing. Called once, after [`add_to`](Self::add_to).
    ///
    /// # Errors
    ///
    /// A part of it is damaged, or the survey was interrupted.
    fn follow(&mut self, surveying: &mut Surveying<'_, '_>) -> Result<(), Stopped> {
        let _ = surveying;
        Ok(())
    }

    /// Describes it for programs: the name of a member, and its value.
    fn facts(&self) -> (&'static str, Fact);

    /// Describes it for people; of long lists `limit` entries.
    fn tree(&self, limit: usize) -> Branch;

    /// Where it leads to what others restore, sessions and their files: that this was not read, in words,
    /// since it is of a version that is not read here.
    fn unread(&self) -> Option<String> {
        None
    }

    /// The release of the kernel that handed over, where it says so.
    fn release(&self) -> Option<&str> {
        None
    }

    /// What a restore notes of it beside the files: members of its manifest.
    fn noted(&self) -> Members {
        Members::new()
    }

    /// Restores its contents as files: the name and the bytes of each.
    ///
    /// # Errors
    ///
    /// The verdict does not cover it, or it is damaged.
    fn restore<'m>(&self, restoring: &mut Restoring<'_, 'm>) -> Result<Files<'m>, RestoreError> {
        let _ = restoring;
        Ok(Files::new())
    }
}

/// Files by name.
pub type Files<'m> = Vec<(String, Box<dyn RestoredFile + 'm>)>;

/// The bytes of a file, as they lie in memory.
pub trait RestoredFile {
    /// How many there are.
    fn size(&self) -> u64;

    /// The bytes in order. An error is the last item, unless it is
    /// [`NotStored`](kho_mem::MemErrorKind::NotStored): the bytes go on behind its `len`.
    fn pieces(&self) -> Box<dyn Iterator<Item = Result<Piece<'_>, MemError>> + '_>;

    /// What the dump does not store of it: offset and bytes of each part, in order, apart. Where memory is packed,
    /// this is much cheaper than [`RestoredFile::pieces`] if the contents are not read for it, as they are by default.
    ///
    /// # Errors
    ///
    /// A part of its memory is not there.
    fn not_stored(&self) -> Result<Vec<(u64, u64)>, MemError> {
        let (mut out, mut offset): (Vec<(u64, u64)>, u64) = (Vec::new(), 0);
        for piece in self.pieces() {
            offset += match piece {
                Ok(piece) => piece.len(),
                Err(error) if error.kind == MemErrorKind::NotStored => {
                    match out.last_mut() {
                        Some((start, len)) if *start + *len == offset => *len += error.len,
                        _ => out.push((offset, error.len)),
                    }
                    error.len
                }
                Err(error) => return Err(error),
            };
        }
        Ok(out)
    }
}

impl Owner {
    /// The owner of the subtree of `component`.
    ///
    /// # Panics
    ///
    /// The component has no subtree. In a constant that is an error of compilation.
    #[must_use]
    pub const fn new(component: &'static Component, survey: Survey) -> Self {
        assert!(component.subtree.is_some(), "a component with a subtree");
        Self {
            component,
            position: Position::Middle,
            survey,
            peek: None,
        }
    }

    /// Says where its part stands in a survey.
    #[must_use]
    pub const fn at(mut self, position: Position) -> Self {
        self.position = position;
        self
    }

    /// Says how its subtree is decoded where the rest of memory is not there.
    #[must_use]
    pub const fn peeked_at(mut self, peek: Peek) -> Self {
        self.peek = Some(peek);
        self
    }

    /// The name of its subtree.
    #[must_use]
    pub fn subtree(&self) -> &'static str {
        self.component.subtree.unwrap_or_default()
    }

    /// Surveys its subtree; `None` where the handover has none. If it fails, nothing that it claimed
    /// stays claimed.
    ///
    /// # Errors
    ///
    /// The subtree is damaged.
    pub fn survey(
        &self,
        surveying: &mut Surveying<'_, '_>,
    ) -> Result<Option<Box<dyn Contents>>, Damage> {
        let handover = surveying.handover;
        let Some(subtree) = handover.subtree(self.subtree()) else {
            return Ok(None);
        };
        let (judge, progress) = (surveying.judge, &mut *surveying.progress);
        let contents = surveying.reading.all_or_none(|reading| {
            let mut surveying = Surveying {
                handover,
                reading,
                judge,
                progress,
            };
            (self.survey)(&mut surveying, subtree)
        })?;
        Ok(Some(contents))
    }

    /// Decodes the bytes of its subtree, which lie at `at`; `None` where it does not say how.
    ///
    /// # Errors
    ///
    /// They are damaged.
    pub fn peek(&self, blob: &[u8], at: PhysAddr) -> Option<Result<(Members, Branch), Damage>> {
        self.peek.map(|peek| peek(blob, at))
    }
}

inventory::collect!(Owner);

/// The owners of subtrees, in the order of a survey.
#[derive(Clone, Debug, Default)]
pub struct Owners(Vec<&'static Owner>);

impl Owners {
    /// The owners that are linked into this program. Where nothing runs constructors they are those of
    /// this crate: use [`Owners::new`].
    ///
    /// # Errors
    ///
    /// Two own one subtree.
    pub fn linked() -> Result<Self, RegistryError> {
        Self::new(inventory::iter::<Owner>)
    }

    /// The owners of this crate, and `more`.
    ///
    /// # Errors
    ///
    /// Two own one subtree.
    pub fn new(more: impl IntoIterator<Item = &'static Owner>) -> Result<Self, RegistryError> {
        let own = [&crate::metadata::OWNER, &crate::memblock::OWNER];
        let mut all: Vec<&'static Owner> = own.into_iter().chain(more).collect();
        all.sort_by_key(|owner| (owner.position, owner.component.name));
        for (index, owner) in all.iter().enumerate() {
            let mut before = all.iter().take(index);
            if let Some(other) = before.find(|other| other.subtree() == owner.subtree()) {
                let (one, two) = (other.component.crate_name, owner.component.crate_name);
                return Err(RegistryError::Duplicate(owner.component.name, one, two));
            }
        }
        Ok(Self(all))
    }

    /// The owners in the order of a survey.
    pub fn iter(&self) -> impl Iterator<Item = &'static Owner> + '_ {
        self.0.iter().copied()
    }

    /// The owner of the subtree `name`.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&'static Owner> {
        self.iter().find(|owner| owner.subtree() == name)
    }
}
