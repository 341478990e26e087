//! Descriptions of what lies in memory.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use zerocopy::little_endian::{I32, I64, U16, U32, U64};

use crate::{Generation, Variant};

/// A struct that lies in handed-over memory and can say how. Derive it.
///
/// ```
/// use kho_compat::AbiLayout;
/// use zerocopy::little_endian::{U32, U64};
///
/// #[derive(AbiLayout)]
/// #[repr(C)]
/// #[abi(c_name = "example_ser")]
/// struct ExampleSer {
///     start: U64,
///     flags: U32,
///     reserved: U32,
/// }
///
/// let layout = ExampleSer::layout();
/// assert_eq!((layout.size, layout.align), (16, 8));
/// assert_eq!(layout.fields[1].offset, 8);
/// ```
///
/// A `usize`, a pointer, a `bool` or an enum has no fixed form in memory and does not compile:
///
/// ```compile_fail
/// #[derive(kho_compat::AbiLayout)]
/// #[repr(C)]
/// struct Bad {
///     count: usize,
/// }
/// ```
///
/// Neither does a field that C would align elsewhere:
///
/// ```compile_fail
/// use zerocopy::little_endian::{U32, U64};
///
/// #[derive(kho_compat::AbiLayout)]
/// #[repr(C)]
/// struct Bad {
///     flags: U32,
///     start: U64,
/// }
/// ```
pub trait AbiLayout: AbiType {
    /// The struct's description.
    fn layout() -> Layout;
}

/// A type that a handover format's field may have.
pub trait AbiType {
    /// The alignment that the kernel's C gives the type. Ours is 1: a dump may lie anywhere.
    const C_ALIGN: usize;

    /// How descriptions name the type.
    fn type_name() -> TypeName;

    /// The type's own layout, where it is a struct.
    fn nested() -> Option<Layout> {
        None
    }
}

macro_rules! integers {
    ($($ty:ty: $name:literal, $align:literal;)*) => {$(
        impl AbiType for $ty {
            const C_ALIGN: usize = $align;

            fn type_name() -> TypeName {
                TypeName($name.to_owned())
            }
        }
    )*};
}

integers! {
    u8: "u8", 1;
    U16: "u16", 2;
    U32: "u32", 4;
    U64: "u64", 8;
    I32: "i32", 4;
    I64: "i64", 8;
}

impl<T: AbiType, const N: usize> AbiType for [T; N] {
    const C_ALIGN: usize = T::C_ALIGN;

    fn type_name() -> TypeName {
        TypeName(format!("{}[{N}]", T::type_name().0))
    }

    fn nested() -> Option<Layout> {
        T::nested()
    }
}

/// A type as descriptions name it: `u64`, `u8[48]`, `struct kho_vmalloc`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TypeName(String);

impl TypeName {
    /// The type that descriptions name `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The name of a struct: its C name where it has one.
    #[must_use]
    pub fn of_struct(name: &str, c_name: Option<&str>) -> Self {
        Self(format!("struct {}", c_name.unwrap_or(name)))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A struct's description.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The Rust name.
    pub name: String,
    /// The kernel's name for it.
    pub c_name: Option<String>,
    /// Bytes.
    pub size: usize,
    /// Alignment as the kernel's C has it.
    pub align: usize,
    /// Whether C declares it packed.
    pub packed: bool,
    /// Its fields in order of offset; a bit field's members stand in its place.
    pub fields: Vec<Field>,
    /// Constants that belong to it.
    pub constants: Vec<Constant>,
    /// The structs that its fields are made of.
    pub nested: Vec<Layout>,
}

/// A field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: TypeName,
    /// Bytes from the struct's start.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
    /// Which bits of the bytes, for a member of a bit field.
    pub bits: Option<Bits>,
}

/// Bits of an integer, counted from the lowest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bits {
    /// The lowest bit.
    pub start: u16,
    /// How many.
    pub width: u16,
}

/// A constant of the format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Constant {
    /// Its name.
    pub name: String,
    /// Its value as text.
    pub value: String,
}

/// The members of a struct or an enum that is written as JSON: `#[derive(AbiMembers)]` beside serde's derives.
///
/// Each member is a constant whose value is its type; `Ticket.*` says what a reader does with other members.
/// Whether a snapshot has a member more that a reader ignores, or that it refuses, shows in that.
///
/// ```
/// use kho_compat::AbiMembers;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, AbiMembers)]
/// struct Ticket {
///     size: u64,
///     #[serde(default)]
///     notes: Vec<String>,
/// }
///
/// let members = Ticket::members().into_iter();
/// let text: Vec<_> = members.map(|one| format!("{} = {}", one.name, one.value)).collect();
/// assert_eq!(
///     text,
///     ["Ticket.size = u64", "Ticket.notes = Vec<String>, optional", "Ticket.* = others are ignored"]
/// );
/// ```
pub trait AbiMembers {
    /// The members, in order, and what becomes of others.
    fn members() -> Vec<Constant>;
}

/// A value that a format's constant may have.
pub trait AbiConst {
    /// The value as snapshots show it.
    fn text(&self) -> String;
}

macro_rules! constants {
    ($($ty:ty)*) => {$(
        impl AbiConst for $ty {
            fn text(&self) -> String {
                if *self < 10 { self.to_string() } else { format!("{self} ({self:#x})") }
            }
        }
    )*};
}

constants!(u8 u16 u32 u64 usize);

impl AbiConst for &str {
    fn text(&self) -> String {
        format!("{self:?}")
    }
}

impl Constant {
    /// The constant `name` of value `value`.
    #[must_use]
    pub fn new(name: &str, value: &dyn AbiConst) -> Self {
        Self {
            name: name.to_owned(),
            value: value.text(),
        }
    }
}

impl Layout {
    /// A struct without fields yet. The derive calls this.
    #[must_use]
    pub fn new(name: &str, c_name: Option<&str>, size: usize, align: usize, packed: bool) -> Self {
        Self {
            name: name.to_owned(),
            c_name: c_name.map(ToOwned::to_owned),
            size,
            align,
            packed,
            fields: Vec::new(),
            constants: Vec::new(),
            nested: Vec::new(),
        }
    }

    /// Adds a field of type `T`.
    pub fn push<T: AbiType>(&mut self, name: &str, offset: usize) {
        self.fields.push(Field {
            name: name.to_owned(),
            ty: T::type_name(),
            offset,
            size: size_of::<T>(),
            bits: None,
        });
        self.nested.extend(T::nested());
    }

    /// Adds a member of a bit field of type `T`.
    pub fn push_bits<T: AbiType>(&mut self, name: &str, offset: usize, start: u16, width: u16) {
        self.fields.push(Field {
            name: name.to_owned(),
            ty: T::type_name(),
            offset,
            size: size_of::<T>(),
            bits: Some(Bits { start, width }),
        });
    }

    /// Adds a constant.
    pub fn push_constant(&mut self, name: &str, value: &dyn AbiConst) {
        self.constants.push(Constant::new(name, value));
    }

    /// The same struct with a last field of type `T`, and with these constants instead of its own: a page
    /// under another page size.
    ///
    /// ```
    /// use kho_compat::{AbiLayout, constant};
    /// use zerocopy::little_endian::U64;
    ///
    /// #[derive(AbiLayout)]
    /// #[repr(C)]
    /// struct Chunk {
    ///     next: U64,
    ///     pages: [U64; 511],
    /// }
    ///
    /// let chunk = Chunk::layout().with_tail::<[U64; 2047]>(&[constant!(ENTRIES = 2047_u32)()]);
    /// assert_eq!((chunk.size, chunk.fields[1].ty.as_str()), (16384, "u64[2047]"));
    /// ```
    #[must_use]
    pub fn with_tail<T: AbiType>(mut self, constants: &[Constant]) -> Self {
        if let Some(last) = self.fields.last_mut() {
            self.size = last.offset + size_of::<T>();
            (last.ty, last.size) = (T::type_name(), size_of::<T>());
        }
        self.constants = constants.to_vec();
        self
    }
}

impl Generation {
    /// The generation's structs and those that their fields are made of, each once. Two structs of one
    /// name are two, unless they are the same in every part.
    #[must_use]
    pub fn all_layouts(&self) -> Vec<Layout> {
        all(self.layouts)
    }
}

impl Variant {
    /// The structs that differ and those that their fields are made of, each once.
    #[must_use]
    pub fn all_layouts(&self) -> Vec<Layout> {
        all(self.layouts)
    }
}

fn all(layouts: &[fn() -> Layout]) -> Vec<Layout> {
    let mut out: Vec<Layout> = Vec::new();
    let mut queue: Vec<Layout> = layouts.iter().rev().map(|layout| layout()).collect();
    while let Some(layout) = queue.pop() {
        if !out.contains(&layout) {
            queue.extend(layout.nested.iter().cloned());
            out.push(layout);
        }
    }
    out
}
