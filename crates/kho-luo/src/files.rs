//! What is known of the files of a handler: how they are surveyed, described and restored.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt::Debug;

use kho_compat::describe::Members;
use kho_compat::{Compat, Component, Grammar, RegistryError};
use kho_core::RestoredFile;
use kho_mem::Damage;
use kho_radix::{Reading, RestoreError, Restoring};

use crate::{AdmittedFile, File};

/// The owner of the files of a handler, registered beside its component with
/// [`submit!`](kho_compat::submit).
#[derive(Clone, Copy, Debug)]
pub struct FileOwner {
    /// The component whose string the entries of its files carry.
    pub component: &'static Component,
    survey: SurveyFile,
    restore: Option<RestoreFile>,
}

/// Reads and checks what a file's entry leads to, and claims it. Restores nothing.
pub type SurveyFile = fn(&mut Reading<'_>, &File) -> Result<Box<dyn FileContents>, Damage>;

/// Opens the contents of a file of an admitted handover.
pub type RestoreFile = for<'m> fn(
    &mut Restoring<'_, 'm>,
    &AdmittedFile<'_>,
) -> Result<Box<dyn RestoredFile + 'm>, RestoreError>;

/// What was found of a file.
pub trait FileContents: Any + Debug + Send + Sync {
    /// Its bytes, where they are handed over.
    fn size(&self) -> Option<u64> {
        None
    }

    /// Describes it for programs: named facts beside its token and its handler.
    fn facts(&self) -> Members;

    /// What a restore notes of it beside its contents.
    fn noted(&self) -> Members {
        self.facts()
    }

    /// Describes it for people: columns of a line, which stand below each other in a session.
    fn columns(&self) -> Vec<Column>;
}

/// A column: a value, which is aligned to the right, between two constants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Column {
    /// What stands before the value.
    pub before: &'static str,
    /// The value.
    pub value: String,
    /// What stands after it.
    pub after: &'static str,
}

impl Column {
    /// A text that is not aligned.
    #[must_use]
    pub fn text(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            ..Self::default()
        }
    }

    /// Whether its value is aligned: one between constants.
    pub(crate) const fn is_aligned(&self) -> bool {
        !(self.before.is_empty() && self.after.is_empty())
    }
}

impl FileOwner {
    /// The owner of the files whose entries carry the string of `component`.
    #[must_use]
    pub const fn new(component: &'static Component, survey: SurveyFile) -> Self {
        Self {
            component,
            survey,
            restore: None,
        }
    }

    /// Says how the contents of a file are opened.
    #[must_use]
    pub const fn restored_by(mut self, restore: RestoreFile) -> Self {
        self.restore = Some(restore);
        self
    }

    /// Surveys `file`.
    ///
    /// # Errors
    ///
    /// It is damaged.
    pub fn survey(
        &self,
        reading: &mut Reading<'_>,
        file: &File,
    ) -> Result<Box<dyn FileContents>, Damage> {
        (self.survey)(reading, file)
    }

    /// Opens the contents of `file`; `None` for files without contents of their own.
    ///
    /// # Errors
    ///
    /// The verdict does not cover it, or it is damaged.
    pub fn restore<'m>(
        &self,
        restoring: &mut Restoring<'_, 'm>,
        file: &AdmittedFile<'_>,
    ) -> Result<Option<Box<dyn RestoredFile + 'm>>, RestoreError> {
        self.restore
            .map(|restore| restore(restoring, file))
            .transpose()
    }
}

inventory::collect!(FileOwner);

/// The owners of files.
#[derive(Clone, Debug, Default)]
pub struct FileOwners(Vec<&'static FileOwner>);

impl FileOwners {
    /// The owners that are linked into this program. Where nothing runs constructors there are none:
    /// use [`FileOwners::new`].
    ///
    /// # Errors
    ///
    /// Two own the files of one component.
    pub fn linked() -> Result<Self, RegistryError> {
        Self::new(inventory::iter::<FileOwner>)
    }

    /// These owners.
    ///
    /// # Errors
    ///
    /// Two own the files of one component.
    pub fn new(
        owners: impl IntoIterator<Item = &'static FileOwner>,
    ) -> Result<Self, RegistryError> {
        let mut all: Vec<&'static FileOwner> = Vec::new();
        for owner in owners {
            let mut others = all.iter();
            if let Some(other) = others.find(|o| o.component.name == owner.component.name) {
                let (one, two) = (other.component.crate_name, owner.component.crate_name);
                return Err(RegistryError::Duplicate(owner.component.name, one, two));
            }
            all.push(owner);
        }
        Ok(Self(all))
    }

    /// The owner of the files whose entries carry `compatible`.
    #[must_use]
    pub fn of(&self, compatible: &str) -> Option<&'static FileOwner> {
        let compat = Compat::parse_as(compatible, Grammar::Lenient).ok()?;
        let mut owners = self.0.iter().copied();
        owners.find(|owner| owner.component.name == compat.base().name())
    }
}
