//! Vectors: what a component's code writes, and reads, for given inputs.

use std::error::Error;
use std::fmt::{self, Write as _};

/// Why the function of a vector has no text: an error of any kind.
pub type Failure = Box<dyn Error>;

/// What a component's code does for a given input: the part of a format that no struct shows, such as
/// a key's bits or the order in which things are written. Snapshots keep it.
#[derive(Clone, Copy, Debug)]
pub struct Vector {
    /// What is written or read. Snapshots keep it.
    pub name: &'static str,
    /// Writes or reads it, and says what came out.
    pub make: fn() -> Result<Text, Failure>,
}

/// The vectors of a component. [`vectors!`](crate::vectors) registers them.
#[derive(Clone, Copy, Debug)]
pub struct Vectors {
    /// The component's name.
    pub component: &'static str,
    /// The number of the generation that they are of; `None` for the one that is written by default.
    pub generation: Option<u32>,
    /// The label of the variant that they are of: `16k`; `None` for the generation itself.
    pub variant: Option<&'static str>,
    /// In the order in which snapshots keep them.
    pub vectors: &'static [Vector],
}

inventory::collect!(Vectors);

/// Registers vectors of a component: its name, and for each vector a name and a function, in the order
/// in which snapshots keep them. They are of the generation that the component writes by default, or of the
/// one whose number is named: `vectors!("pci", 1, [...])`; or of a variant of that: `vectors!("pci", 1, under
/// "16k", [...])`.
///
/// Vectors belong in a test, or in a crate that tests alone depend on: what registers them is linked
/// with all that they call.
///
/// ```
/// use kho_abi_check::{Failure, Text, vectors};
///
/// fn page() -> Result<Text, Failure> {
///     let mut page = vec![0; 64];
///     page.get_mut(..4).ok_or("too small")?.copy_from_slice(b"kho!");
///     Ok(Text::bytes(&page))
/// }
///
/// vectors!("pci", ["a page" => page]);
///
/// # fn main() {
/// assert_eq!(
///     kho_abi_check::vectors_of("pci")[0].make().unwrap().to_string(),
///     "64 bytes\n\
///      0000  6b 68 6f 21 00 00 00 00  00 00 00 00 00 00 00 00\n\
///      *     zeros to 0040\n"
/// );
/// # }
/// ```
#[macro_export]
macro_rules! vectors {
    ($component:expr, [$($vector:tt)*]) => {
        $crate::vectors!(@ $component, None, None, [$($vector)*]);
    };
    ($component:expr, $generation:expr, under $variant:expr, [$($vector:tt)*]) => {
        $crate::vectors!(@ $component, Some($generation), Some($variant), [$($vector)*]);
    };
    ($component:expr, $generation:expr, [$($vector:tt)*]) => {
        $crate::vectors!(@ $component, Some($generation), None, [$($vector)*]);
    };
    (@ $component:expr, $generation:expr, $variant:expr, [$($name:expr => $make:expr),* $(,)?]) => {
        $crate::submit! {
            $crate::Vectors {
                component: $component,
                generation: $generation,
                variant: $variant,
                vectors: &[$($crate::Vector { name: $name, make: $make }),*],
            }
        }
    };
}

/// The vectors of the component `name` that are linked into this program, of what it writes by default.
#[must_use]
pub fn vectors_of(name: &str) -> Vec<Vector> {
    of(name, None, |of| {
        of.generation.is_none() && of.variant.is_none()
    })
}

/// Those vectors of the component `name` that `is` takes: of `given`, or of those that are linked.
pub(crate) fn of(
    name: &str,
    given: Option<&[Vectors]>,
    is: impl Fn(&Vectors) -> bool,
) -> Vec<Vector> {
    let all: Vec<&Vectors> = match given {
        Some(given) => given.iter().collect(),
        None => inventory::iter::<Vectors>.into_iter().collect(),
    };
    let mut all: Vec<_> = all
        .into_iter()
        .filter(|of| of.component == name && is(of))
        .collect();
    // The linker's order is none.
    all.sort_by_key(|of| of.vectors.first().map(|vector| vector.name));
    all.iter().flat_map(|of| of.vectors).copied().collect()
}

impl Vector {
    /// What the code does now.
    ///
    /// # Errors
    ///
    /// It refused, or panicked.
    pub fn make(&self) -> Result<Text, FailedVector> {
        let failed = |cause| FailedVector {
            name: self.name,
            cause,
        };
        match std::panic::catch_unwind(self.make) {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(failure)) => Err(failed(Cause::Refused(failure))),
            Err(payload) => {
                let text = payload.downcast_ref::<&str>().map(ToString::to_string);
                let text = text.or_else(|| payload.downcast_ref().cloned());
                Err(failed(Cause::Panicked(text.unwrap_or_default())))
            }
        }
    }
}

/// A vector that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("vector `{name}`: {cause}")]
pub struct FailedVector {
    /// Its name.
    pub name: &'static str,
    /// Why.
    pub cause: Cause,
}

/// Why a vector could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The code refused.
    #[error("error: {0}")]
    Refused(Failure),
    /// The code panicked, with this message.
    #[error("panicked: {0}")]
    Panicked(String),
}

/// What came out, in lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text(String);

impl Text {
    /// The bytes that were written, as a dump in which lines of zeros are left out.
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Self {
        // Writing to a String does not fail.
        let mut text = format!("{} bytes\n", bytes.len());
        let mut zeros = false;
        for (index, line) in bytes.chunks(16).enumerate() {
            let at = index * 16;
            if line.iter().all(|byte| *byte == 0) {
                zeros = true;
                continue;
            }
            if std::mem::take(&mut zeros) {
                let _ = writeln!(text, "*     zeros to {at:04x}");
            }
            let _ = write!(text, "{at:04x} ");
            for (column, byte) in line.iter().enumerate() {
                let gap = if column == 8 { "  " } else { " " };
                let _ = write!(text, "{gap}{byte:02x}");
            }
            text.push('\n');
        }
        if zeros {
            let _ = writeln!(text, "*     zeros to {:04x}", bytes.len());
        }
        Self(text)
    }
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
